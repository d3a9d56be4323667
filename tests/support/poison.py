"""One small cardiac CT series, and how to make wrong with it whatever can be wrong with a study."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import struct
import warnings
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000, JPEG2000Lossless, RLELossless

from cac_hpc.dataset import intake
from cac_hpc.run import digests
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import dicom, files
from cac_hpc.volumes.study import Study

NUM_SLICES, SIZE, SPACING_MM, FIRST_MM = 12, 32, 3.0, -118.25
PIXEL_DATA = b"\xe0\x7f\x10\x00OW\x00\x00"
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))

EXAM: dict[str, object] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": "CaSc 3.0", "StudyDate": "20200102",
    "Manufacturer": "Maker", "PatientName": "", "PatientID": "", "BodyPartExamined": "HEART", "KVP": 120,
    "SliceThickness": SPACING_MM, "SpacingBetweenSlices": SPACING_MM, "ReconstructionDiameter": 16,
    "ConvolutionKernel": "Qr36d", "PatientPosition": "HFS", "TriggerTime": 560, "AcquisitionNumber": 2,
    "CardiacSynchronizationTechnique": "PROSPECTIVE", "NominalPercentageOfCardiacPhase": 70.0,
    "WindowCenter": 50, "WindowWidth": 400,
}  # fmt: skip


def write_chest(folder: Path, num_slices: int = NUM_SLICES, size: int = SIZE, **attributes: object) -> np.ndarray:
    """Write a series of noisy tissue with air above it, with padding, a sequence and private elements; returns HU."""
    hu_ZHW = np.random.default_rng(7).normal(40, 15, (num_slices, size, size)).astype(np.int16)
    hu_ZHW[:, : size // 3] = np.random.default_rng(8).integers(-1000, -900, (num_slices, size // 3, size))
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    dicom.write_series(
        folder,
        hu_ZHW,
        pixel_spacing_mm=0.5,
        slice_spacing_mm=SPACING_MM,
        first_z_mm=FIRST_MM,
        uid_entropy=["poison"],
        attributes={**EXAM, "ReferencedImageSequence": Items([reference]), **attributes},
    )
    for path in folder.glob("IM*.dcm"):
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "US", 0)
        block = ds.private_block(0x0019, "MAKER 1", create=True)
        block.add_new(1, "LO", "some text")
        block.add_new(2, "UN", bytes(range(40)))
        ds.save_as(path)
    return hu_ZHW


@dataclass
class Reading:
    """What became of a study: its slices as (position in mm, digest of the HU), and what is said of its files."""

    study: Study
    slices: list[tuple[float, bytes]]
    names: list[str]  # of its files, in the order of their numbers

    @property
    def reasons(self) -> dict[str, str]:
        """Reason code by the name of the file."""
        return {self.names[refusal.file - 1]: refusal.reason for refusal in self.study.refusals}

    @property
    def codes(self) -> set[str]:
        return {refusal.reason for refusal in self.study.refusals}


def read(folder: Path, **settings: object) -> Reading:
    """Read a study and check that every file of it ended in exactly one place."""
    entries = files.list_files(folder)
    slices: list[tuple[float, bytes]] = []

    def keep(hu_SS: np.ndarray, position_mm: float) -> None:
        slices.append((round(position_mm, 4), digests.of_bytes(np.ascontiguousarray(hu_SS).data)))

    study = intake.read_study(entries, PackConfig(**{"size": SIZE, **settings}), keep)  # type: ignore[arg-type]
    names = [os.fsdecode(entry.name).removeprefix("./") for entry in entries]
    numbers = [refusal.file for refusal in study.refusals]
    assert numbers == sorted(set(numbers)), "a file is refused twice"
    if study.facts is None:
        assert len(numbers) == study.num_files, "a file of a refused study has no reason"
        assert study.slice_files == ()
        return Reading(study, [], names)
    assert [position for position, _ in slices] == sorted({position for position, _ in slices})
    assert len(study.slice_files) == len(slices)
    assert sorted({*study.slice_files, *numbers}) == list(range(1, study.num_files + 1))
    assert not set(study.slice_files) & set(numbers)
    return Reading(study, slices, names)


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a .csv table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def packed(run: Path) -> defaultdict[str, list[tuple[float, bytes]]]:
    """Of each study of a packed run, its slices as (position in mm, digest of the HU)."""
    found = defaultdict(list)
    for path in sorted((run / "dataset" / "shards").glob("*.h5")):
        with h5py.File(path) as shard:
            columns = shard["study"].asstr()[:], shard["position_mm"][:], shard["digest"][:]
            for study, position_mm, digest in zip(*columns, strict=True):
                found[study].append((round(position_mm, 4), digest.tobytes()))
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Let pydicom write nonsense without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# what makers use


def slices_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("IM*.dcm"))


def edit(path: Path, **values: object) -> None:
    """Set attributes of a file; None takes one away, a tuple (VR, value) gives it that VR."""
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            ds.pop(keyword)
        elif isinstance(value, tuple):
            ds.add_new(keyword, *value)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a file where they first occur; lengths are left as they were."""
    data = path.read_bytes()
    assert old in data, old
    path.write_bytes(data.replace(old, new, 1))


def set_text(path: Path, keyword: str, text: str) -> None:
    """Write any text as an attribute's value, however wrong."""
    ds = pydicom.dcmread(path)
    ds.add_new(keyword, "UT", text)  # takes anything
    ds.save_as(path)


def nested(depth: int) -> bytes:
    """An explicit (0008,113F) sequence of undefined length that holds another, and so on."""
    head = struct.pack("<HH2sHI", 0x0008, 0x113F, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    tail = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return head * depth + tail * depth


def put_before(path: Path, tag: bytes, inserted: bytes) -> None:
    """Insert bytes in front of the element with that tag."""
    data = path.read_bytes()
    path.write_bytes(data.replace(tag, inserted + tag, 1))


def file_meta(syntax: str) -> bytes:
    """A preamble and a minimal group 2."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x0010, b"UI", len(uid)) + uid


# what can be done to a study

Make = Callable[[Path], None]  # takes the folder that holds the good series


@dataclass(frozen=True)
class Poison:
    """A fault, by its number in the list of faults, and what must come of it.

    code: of the culprit in rejected.csv, None where nothing is wrong. used: slices that are packed, which must be what
    they are in the good series; 0 if the study is refused. settings: of the section pack.
    """

    fault: str
    name: str
    make: Make
    code: str | None
    used: int
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.fault} {self.name}"


FIRST, MIDDLE, LAST, ALL = slice(0, 1), slice(5, 6), slice(-1, None), slice(None)


def on(which: slice, **values: object) -> Make:
    """Set attributes of the first, the middle, the last or all slices."""

    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            edit(path, **values)

    return make


def text(which: slice, keyword: str, value: str) -> Make:
    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            set_text(path, keyword, value)

    return make


def raw(which: slice, change: Callable[[bytes], bytes]) -> Make:
    """Change the bytes of files."""

    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            path.write_bytes(change(path.read_bytes()))

    return make


def swap(which: slice, old: bytes, new: bytes) -> Make:
    """Change bytes in the headers of files, where they first occur."""

    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            replace_bytes(path, old, new)

    return make


def add(name: str, content: bytes) -> Make:
    """Put another file beside the slices."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return make


def another(name: str, source: int = 3, **values: object) -> Make:
    """Put a changed copy of a slice beside the slices."""

    def make(folder: Path) -> None:
        shutil.copy(slices_of(folder)[source], folder / name)
        edit(folder / name, **values)

    return make


def without(*indices: int) -> Make:
    def make(folder: Path) -> None:
        for path in [slices_of(folder)[index] for index in indices]:
            path.unlink()

    return make


def moved(which: slice, x_mm: float = 0, z_mm: float = 0) -> Make:
    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            x, y, z = pydicom.dcmread(path).ImagePositionPatient
            edit(path, ImagePositionPatient=[x + x_mm, y, z + z_mm])

    return make


def tilted(degrees: float) -> Make:
    """Lean every slice, and leave the table's way as it is: a gantry tilt."""
    lean = np.radians(degrees)
    return on(ALL, ImageOrientationPatient=[1, 0, 0, 0, round(np.cos(lean), 7), round(np.sin(lean), 7)])


def compressed(syntax: str, which: slice = ALL) -> Make:
    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            ds = pydicom.dcmread(path)
            ds.compress(syntax, generate_instance_uid=False)
            ds.save_as(path)

    return make


def in_syntax(syntax: str, which: slice = ALL) -> Make:
    """Write slices in another uncompressed transfer syntax."""

    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            ds = pydicom.dcmread(path)
            ds.decode()  # else values are written as they were read
            ds.file_meta.TransferSyntaxUID = syntax
            if syntax == BIG_ENDIAN:
                ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            pydicom.dcmwrite(path, ds, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN)

    return make


def both(*makers: Make) -> Make:
    def make(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return make


def other_series(num_slices: int, **attributes: object) -> Make:
    """Put a second series into a folder of its own; positions can be given as rows of ImagePositionPatient."""

    def make(folder: Path) -> None:
        second = {"SeriesInstanceUID": "1.2.826.0.2", "SeriesNumber": 9, **attributes}
        write_chest(folder / "other", num_slices, **second)

    return make


def coronal(num_slices: int) -> Make:
    """A coronal reformat of the same study, with more slices than the axial series."""

    def make(folder: Path) -> None:
        other_series(num_slices, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImageType=["DERIVED", "SECONDARY"])(
            folder
        )
        for index, path in enumerate(slices_of(folder / "other")):
            edit(path, ImagePositionPatient=[-8, -20 + 3 * index, -100])

    return make


def phases(keyword: str, values: Sequence[object], marked: bool = True) -> Make:
    """Several phases in one series: the same positions again, other pixels, told apart by one attribute."""

    def make(folder: Path) -> None:
        originals = slices_of(folder)
        for number, value in enumerate(values):
            for path in originals:
                copy = path if number == 0 else path.with_name(f"phase{number}-{path.name}")
                if number:
                    shutil.copy(path, copy)
                    ds = pydicom.dcmread(copy)
                    edit(copy, PixelData=(np.frombuffer(ds.PixelData, "<u2") + np.uint16(number)).tobytes())
                if marked:
                    edit(copy, **{keyword: value})

    return make


def slabs(folder: Path) -> None:
    """Two table positions that overlap in one slice, each an acquisition of its own."""
    for index, path in enumerate(slices_of(folder)):
        edit(path, AcquisitionNumber=1 if index < 10 else 2)
    ds = pydicom.dcmread(slices_of(folder)[9])
    another("overlap", 9, AcquisitionNumber=2, PixelData=np.frombuffer(ds.PixelData, "<u2")[::-1].tobytes())(folder)


def renumbered(numbers: Sequence[int]) -> Make:
    def make(folder: Path) -> None:
        for path, number in zip(slices_of(folder), numbers, strict=False):
            edit(path, InstanceNumber=number)

    return make


def shuffled_names(folder: Path) -> None:
    for index, path in enumerate(slices_of(folder)):
        path.rename(folder / f"{index * 7 % NUM_SLICES}")


def no_uids(folder: Path) -> None:
    """Take every UID away that names a study, a series or an image."""
    for path in slices_of(folder) + slices_of(folder / "other"):
        edit(path, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)


def hostile_names(folder: Path) -> None:
    target = folder / "Pro Gated_3.0 70%d %s" / 'it\'s a "name"\n' / "Größe 心"
    target.mkdir(parents=True)
    for index, path in enumerate(slices_of(folder)):
        path.rename(target / f"slice {index:02d}%\n{index}")


def all_twice(folder: Path) -> None:
    shutil.copytree(folder, folder / "again", symlinks=True)


def other_pixels(folder: Path) -> None:
    """Put a slice beside the others that is at the place of one of them, and another."""
    another("twin", 5, PixelData=pydicom.dcmread(slices_of(folder)[6]).PixelData)(folder)


def colour_page(folder: Path) -> None:
    """A page in colour that claims to be a CT image, as scanners make of dose and patient information."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    another("page", **colour, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(3 * SIZE * SIZE))(folder)


def oblique(folder: Path) -> None:
    """Slices that lean and are stacked along their normal."""
    lean = np.radians(20)
    for index, path in enumerate(slices_of(folder)):
        along = [-8, -8 - 3 * index * np.sin(lean), 3 * index * np.cos(lean)]
        cosines = [1, 0, 0, 0, np.cos(lean), np.sin(lean)]
        edit(
            path,
            ImagePositionPatient=np.round(along, 6).tolist(),
            ImageOrientationPatient=np.round(cosines, 7).tolist(),
        )


def said_lossy(folder: Path) -> None:
    compressed(JPEG2000Lossless)(folder)
    for path in slices_of(folder):
        replace_bytes(path, JPEG2000Lossless.encode(), JPEG2000.encode())


def named_syntax(syntax: str, which: slice = ALL) -> Make:
    """Say another transfer syntax than the one that was written."""

    def make(folder: Path) -> None:
        for path in slices_of(folder)[which]:
            ds = pydicom.dcmread(path)
            ds.compress(RLELossless, generate_instance_uid=False)
            ds.file_meta.TransferSyntaxUID = syntax
            ds.save_as(path, implicit_vr=False, little_endian=True)

    return make


def mixed_syntaxes(folder: Path) -> None:
    compressed(RLELossless, slice(0, 2))(folder)
    compressed(JPEG2000Lossless, slice(2, 4))(folder)
    in_syntax(IMPLICIT, slice(4, 6))(folder)
    in_syntax(DEFLATED, slice(6, 8))(folder)
    in_syntax(BIG_ENDIAN, slice(8, 10))(folder)


def eight_bit_codestream(folder: Path) -> None:
    """A codestream of bytes in a file that says 16 bits."""
    path = slices_of(folder)[-1]
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = bytes(range(256)) * (SIZE * SIZE // 256)
    ds["PixelData"].VR = "OB"
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.save_as(path)
    edit(path, BitsAllocated=16, BitsStored=16, HighBit=15)


def few_bits_compressed(folder: Path) -> None:
    compressed(JPEG2000Lossless)(folder)
    on(ALL, BitsStored=10, HighBit=9)(folder)


def zeroed(folder: Path) -> None:
    """Pixels of zeros in one slice, as a crash of the file system leaves them; without padding, which may be zero."""
    on(ALL, PixelPaddingValue=None)(folder)
    on(LAST, PixelData=bytes(2 * SIZE * SIZE))(folder)


def codestream_cut_short(folder: Path) -> None:
    compressed(JPEG2000Lossless)(folder)
    raw(LAST, lambda data: data[:-40])(folder)


def sequences(depth: int) -> Make:
    """Put nested sequences into the last slice."""

    def make(folder: Path) -> None:
        put_before(slices_of(folder)[-1], b"\x08\0\x40\x11SQ", nested(depth))

    return make


def sequences_big_endian(depth: int) -> Make:
    def make(folder: Path) -> None:
        in_syntax(BIG_ENDIAN, LAST)(folder)
        head = struct.pack(">HH2sHIHHI", 0x0008, 0x113F, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
        tail = struct.pack(">HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        put_before(slices_of(folder)[-1], b"\0\x08\x11\x40SQ", head * depth + tail * depth)

    return make


def all_unknown(folder: Path) -> None:
    """Write every element with the VR UN."""
    for path in slices_of(folder):
        ds = pydicom.dcmread(path)
        implicit = path.with_suffix(".implicit")
        ds.file_meta.TransferSyntaxUID = IMPLICIT
        ds.save_as(implicit, implicit_vr=True, little_endian=True)
        elements = pydicom.dcmread(implicit)
        implicit.unlink()
        body = b""
        for tag in sorted(elements.keys()):
            value = elements.get_item(tag).value
            value = value if isinstance(value, bytes) else b""
            body += (
                struct.pack("<HH2sHI", tag.group, tag.element, b"OW" if tag == 0x7FE00010 else b"UN", 0, len(value))
                + value
            )
        path.write_bytes(file_meta(EXPLICIT) + body)


def links(folder: Path) -> None:
    """A link out of the study, one to a folder, one to itself, one to nothing."""
    (folder / "out").symlink_to("/etc/hostname")
    (folder / "root").symlink_to("/")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "parent").symlink_to(folder)
    (folder / "nowhere").symlink_to("/nothing/here")


def pipe_and_socket(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)


def endless_folders(folder: Path) -> None:
    """Folders in folders, beyond the longest path that there is."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(60):
        name = "deep" * 25
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def zip_file(folder: Path) -> None:
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        archive.write(slices_of(folder)[0], "../../escaped.dcm")


def dicomdir(folder: Path) -> None:
    another("DICOMDIR", SOPClassUID="1.2.840.10008.1.3.10", PixelData=None)(folder)


def deflated_bomb(folder: Path) -> None:
    """Some hundred kilobytes that inflate to more than a gigabyte."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = deflater.compress(struct.pack("<HH2sHI", 0x0008, 0x0000, b"OB", 0, 0x7FFFFFFE))
    head += deflater.flush(zlib.Z_FULL_FLUSH)  # what follows can be unpacked without what was before
    zeros = deflater.compress(bytes(1 << 24)) + deflater.flush(zlib.Z_FULL_FLUSH)
    (folder / "bomb").write_bytes(file_meta(DEFLATED) + head + 70 * zeros + deflater.flush())


def jpeg2000_bomb(folder: Path) -> None:
    """A codestream that claims to be 60000 x 60000 in a slice of 32 x 32."""
    path = slices_of(folder)[-1]
    compressed(JPEG2000Lossless, LAST)(folder)
    data = path.read_bytes()
    start = data.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(data[:start] + struct.pack(">II", 60000, 60000) + data[start + 8 :])


def rle_bomb(folder: Path) -> None:
    """Segments that unpack to a hundred times what the header says."""
    path = slices_of(folder)[-1]
    compressed(RLELossless, LAST)(folder)
    ds = pydicom.dcmread(path)
    runs = b"\x81\x00" * 50_000  # 128 zeros each
    header = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13)
    ds.PixelData = pydicom.encaps.encapsulate([header + runs + runs])
    ds.save_as(path)


def cut_short(end: int) -> Make:
    return raw(LAST, lambda data: data[:end])


def enhanced_with(**values: object) -> Make:
    """An enhanced CT of the whole series in place of the single files."""

    def make(folder: Path) -> None:
        write_enhanced(folder)
        edit(folder / "enhanced", **values)

    return make


def write_enhanced(folder: Path, own: Sequence[str] = (), syntax: str | None = None) -> None:
    """Put the slices of a folder into one enhanced CT.

    Args:
        own: functional groups that each frame has for itself though all say the same.
    """
    paths = slices_of(folder)
    sources = [pydicom.dcmread(path) for path in paths]
    ds = pydicom.dcmread(paths[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    groups = {
        group: known
        for group, keywords in dicom._GROUPS.items()
        if (known := [keyword for keyword in keywords if keyword in ds])
    }
    for keyword in (keyword for keywords in groups.values() for keyword in keywords):
        del ds[keyword]
    ds.NumberOfFrames = len(sources)
    frames, shared = [Dataset() for _ in sources], Dataset()
    for group, keywords in groups.items():
        per_frame = group == "PlanePositionSequence" or group in own
        for source, target in zip(sources, frames, strict=True) if per_frame else [(sources[0], shared)]:
            item = Dataset()
            for keyword in keywords:
                setattr(item, keyword, source[keyword].value)
            setattr(target, group, Items([item]))
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Items([shared]), Items(frames)
    ds.PixelData = b"".join(source.PixelData for source in sources)
    if syntax:
        ds.compress(syntax, generate_instance_uid=False)
    for path in paths:
        path.unlink()
    ds.save_as(folder / "enhanced")


def enhanced_of_two(folder: Path) -> None:
    """Two series in one enhanced CT: frames of another orientation."""
    write_enhanced(folder, own=["PlaneOrientationSequence"])
    ds = pydicom.dcmread(folder / "enhanced")
    for frame in ds.PerFrameFunctionalGroupsSequence[:2]:
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    ds.save_as(folder / "enhanced")


def enhanced_cut_short(folder: Path) -> None:
    write_enhanced(folder)
    data = (folder / "enhanced").read_bytes()
    (folder / "enhanced").write_bytes(data[:-100])


def enhanced_too(folder: Path) -> None:
    """The same slices once as single files and once as an enhanced CT."""
    shutil.copytree(folder, folder / "single", symlinks=True)
    write_enhanced(folder)


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200)
DOSE_REPORT, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.5.1.4.1.1.7"
