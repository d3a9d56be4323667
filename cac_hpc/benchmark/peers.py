"""What others pack with, each as plainly as its documentation shows: programs to be measured beside ours.

``python -m cac_hpc.benchmark.peers NAME SOURCE OUT`` makes one file below OUT of each study folder below SOURCE.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.machine import workers
from cac_hpc.run import digests

if TYPE_CHECKING:
    import numpy as np

NIFTI_HEADER = 352  # bytes
NIFTI_TYPES = {4: "<i2", 512: "<u2"}


def read_only(source: Path, _: Path) -> None:
    """What the input costs to read, nothing else."""
    for path in source.glob("*/*"):
        path.read_bytes()


def copy_only(source: Path, out: Path) -> None:
    """What nobody can beat who writes as many bytes as he reads."""
    for folder in source.iterdir():
        with (out / folder.name).open("wb", buffering=0) as file:
            for path in folder.iterdir():
                file.write(path.read_bytes())


def floor(source: Path, out: Path) -> None:
    """What nobody can beat who takes a digest, too, and has what he wrote on the disk: one process, nothing else."""
    _copy_safely(source.iterdir(), out)


def floor_of_two(source: Path, out: Path) -> None:
    """The same by two processes, of which each has half of the studies."""
    folders = sorted(source.iterdir())
    workers.each([partial(_copy_safely, folders[half::2], out) for half in range(2)])


def _copy_safely(folders: Iterable[Path], out: Path) -> None:
    """Read each byte once, write it, take its digest as shards have it, and bring each file to the disk."""
    for folder in folders:
        with (out / folder.name).open("wb", buffering=0) as file:
            for path in folder.iterdir():
                data = path.read_bytes()
                digests.of_bytes(data)
                file.write(data)
            os.fsync(file)


def pydicom_h5py(source: Path, out: Path) -> None:
    import h5py
    import numpy as np
    import pydicom

    for folder in source.iterdir():
        slices = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda ds: ds.ImagePositionPatient[2])
        with h5py.File(out / f"{folder.name}.h5", "w") as file:
            images = file.create_dataset("images", (len(slices), slices[0].Rows, slices[0].Columns), "<i2")
            for row, ds in enumerate(slices):
                stored = ds.pixel_array.astype(np.int16)
                images[row] = stored * np.int16(ds.RescaleSlope) + np.int16(ds.RescaleIntercept)


def pydicom_rescaled(source: Path, _: Path) -> None:
    """What it takes to have the HU of each study, its slices in order; nothing is written."""
    import numpy as np
    import pydicom

    for folder in source.iterdir():
        slices = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda ds: ds.ImagePositionPatient[2])
        for ds in slices:
            stored = ds.pixel_array.astype(np.int16)
            stored * np.int16(ds.RescaleSlope) + np.int16(ds.RescaleIntercept)


def compress(path: Path, syntax: str) -> None:
    """Have a file's pixels in another transfer syntax, without loss: a name of `SYNTAXES`."""
    import pydicom

    ds = pydicom.dcmread(path)
    if syntax == "JPEG Lossless":  # pydicom has no encoder of it
        ds.PixelData, ds["PixelData"].is_undefined_length = _jpeg_lossless(ds.pixel_array), True
        ds["PixelData"].VR, ds.file_meta.TransferSyntaxUID = "OB", pydicom.uid.UID(SYNTAXES[syntax])
    else:
        ds.compress(SYNTAXES[syntax], generate_instance_uid=False)
    ds.save_as(path)


def _jpeg_lossless(stored_HW: np.ndarray) -> bytes:
    """The encapsulated pixels of one slice, as GDCM makes them."""
    import numpy as np
    import pydicom
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(f"{folder}/slice.dcm")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(SimpleITK.GetImageFromArray(stored_HW.astype(np.uint16)[None]))
        return bytes(pydicom.dcmread(f"{folder}/slice.dcm").PixelData)


def simple_itk(source: Path, out: Path) -> None:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    for folder in source.iterdir():
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = SimpleITK.Cast(reader.Execute(), SimpleITK.sitkInt16)
        SimpleITK.WriteImage(image, str(out / f"{folder.name}.nii"))


def monai(source: Path, out: Path) -> None:
    import numpy as np
    from monai.transforms import LoadImage

    load = LoadImage(reader="PydicomReader", dtype=np.int16)
    for folder in source.iterdir():
        np.save(out / f"{folder.name}.npy", load(folder).numpy())


def dcm2niix_each(source: Path, out: Path) -> None:
    """A call for each study."""
    for folder in source.iterdir():
        subprocess.run(_dcm2niix(folder, out), check=True)


def _dcm2niix(source: Path, out: Path) -> list[str]:
    """All studies in one call: no compression, no sidecar."""
    import dcm2niix as program

    return [program.bin, "-z", "n", "-b", "n", "-f", "%j", "-o", str(out), str(source)]


def command(name: str, source: Path, out: Path) -> list[str]:
    """What is measured of a program: of one with a command line of its own nothing but that."""
    if name == "dcm2niix":
        return _dcm2niix(source, out)
    return [sys.executable, "-m", "cac_hpc.benchmark.peers", name, str(source), str(out)]


PROGRAMS: dict[str, tuple[Callable[[Path, Path], object], tuple[str, ...]]] = {  # and the distributions it needs
    "read only": (read_only, ()),
    "copy only": (copy_only, ()),
    "floor": (floor, ()),  # read, digest, write, fsync
    "floor, two": (floor_of_two, ()),
    "pydicom, rescaled": (pydicom_rescaled, ("pydicom",)),  # writes nothing
    "pydicom + h5py": (pydicom_h5py, ("pydicom", "h5py")),
    "SimpleITK": (simple_itk, ("SimpleITK",)),
    "MONAI": (monai, ("monai",)),
    "dcm2niix": (lambda source, out: subprocess.run(_dcm2niix(source, out), check=True), ("dcm2niix",)),
    "dcm2niix, each": (dcm2niix_each, ("dcm2niix",)),
}

SYNTAXES = {
    "JPEG Lossless": "1.2.840.10008.1.2.4.70", "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90", "RLE": "1.2.840.10008.1.2.5",
}  # fmt: skip


def version(name: str) -> str | None:
    """Version of the program's first distribution, "" if it needs none, None if any is not installed."""
    try:
        versions = [metadata.version(needed) for needed in PROGRAMS[name][1]]
    except metadata.PackageNotFoundError:
        return None
    return versions[0] if versions else ""


def contents(out: Path) -> tuple[int, int]:
    """Number of pixels and sum of their HU in the files below a folder, whoever wrote them."""
    import numpy as np

    pixels, total = 0, 0
    for path in out.rglob("*"):
        if path.suffix in (".h5", ".npy", ".nii"):
            hu = _volume(path)
            pixels, total = pixels + hu.size, total + int(hu.sum(dtype=np.int64))
    return pixels, total


def _volume(path: Path) -> np.ndarray:
    import h5py
    import numpy as np

    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            return np.asarray(file["images"])
    if path.suffix == ".npy":
        return np.asarray(np.load(path))
    with path.open("rb") as nifti:
        header = nifti.read(NIFTI_HEADER)
        (code,), (slope, intercept) = struct.unpack_from("<h", header, 70), struct.unpack_from("<2f", header, 112)
        stored = np.fromfile(nifti, NIFTI_TYPES[code]).astype(np.int16)
    return np.asarray(stored * np.int16(slope or 1) + np.int16(intercept))


def main(name: str, source: str, out: str) -> None:
    PROGRAMS[name][0](Path(source), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
