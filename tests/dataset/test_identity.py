"""Strings that may identify somebody, planted wherever they occur: none is in what a run writes or says.

The strings are made when the test runs, so that this file, which may be part of a run's provenance, holds none of them.
"""

import hashlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support import poison
from tests.support.poisons import POISONS
from tests.support.runs import REPO, write_config

# what is planted, by where; a name in front of a colon is a DICOM keyword
TEXTS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientAddress", "PatientComments",
    "PatientMotherBirthName", "IssuerOfPatientID", "AccessionNumber", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "NameOfPhysiciansReadingStudy", "RequestingPhysician", "StationName", "StudyDescription", "SeriesDescription",
    "ProtocolName", "StudyID", "ImageComments", "DeviceSerialNumber", "Manufacturer", "ManufacturerModelName",
    "ConvolutionKernel", "CardiacSynchronizationTechnique", "BodyPartExamined", "RequestedProcedureDescription",
    "PerformedProcedureStepDescription", "AdmittingDiagnosesDescription", "Occupation", "PatientReligiousPreference",
    "ImageType",
)  # fmt: skip
DIGITS = (
    "PatientBirthDate", "StudyDate", "SeriesDate", "ContentDate", "StudyTime", "PatientTelephoneNumbers",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "AcquisitionNumber",
)  # fmt: skip
PLACES = (
    "private text", "private bytes", "private sequence", "sequence", "group 2", "preamble", "behind the pixels",
    "folder", "file", "file that is no image", "link", "target of a link", "its text", "sheet: column",
    "sheet: other column", "sheet: patient",
)  # fmt: skip
FOLDER = "study folder"


def canary(place: str) -> str:
    """A string that occurs nowhere by chance; digits where only digits fit."""
    digest = hashlib.sha256(f"{place} {os.getpid()}".encode()).hexdigest()
    return str(int(digest[:9], 16)).zfill(11) if place in DIGITS else f"Qz{digest[:9]}".upper()


def plant(path: Path) -> None:
    """Put a string into every place of a file that can hold one; pydicom warns of what has another form."""
    ds = pydicom.dcmread(path)
    for keyword in (*TEXTS, *DIGITS):
        vr, value = pydicom.datadict.dictionary_VR(keyword), canary(keyword)
        value = f"1.2.{value}" if vr == "UI" else value
        setattr(ds, keyword, ["ORIGINAL", "PRIMARY", value] if keyword == "ImageType" else value)
    inner = Dataset()
    inner.StudyDescription = canary("sequence")
    ds.RequestAttributesSequence = Sequence([inner])
    block = ds.private_block(0x0043, "MAKER 2", create=True)
    block.add_new(1, "LO", canary("private text"))
    block.add_new(2, "OB", canary("private bytes").encode() + b"\0")
    inner = Dataset()
    inner.PatientName = canary("private sequence")
    block.add_new(3, "SQ", Sequence([inner]))
    ds.file_meta.SourceApplicationEntityTitle = canary("group 2")
    ds.preamble = canary("preamble").encode().ljust(128, b"\0")
    ds.add_new(0xFFFCFFFC, "OB", canary("behind the pixels").encode())
    ds.save_as(path)


def planted_study(folder: Path) -> Path:
    """The good series, every name and text of it telling."""
    poison.write_chest(folder)
    for path in poison.slices_of(folder):
        plant(path)
        path.rename(path.with_name(f"{path.stem} {canary('file')}.dcm"))
    (folder / canary("folder")).mkdir()
    (folder / canary("folder") / canary("file that is no image")).write_text(canary("its text"), encoding="utf-8")
    (folder / canary("link")).symlink_to(f"/nowhere/{canary('target of a link')}")
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Studies that are fine or fail in the ways that we know, and a sheet with names; the folders are named, too."""
    scans = tmp_path_factory.mktemp("cohort") / "scans"
    lines = [f"study,score,patient,{canary('sheet: column')}"]
    with poison.quiet():
        template = planted_study(scans.with_name("template"))
        fitting = [case for case in POISONS if case.name != "text that is no text"]  # it needs the text that was there
        for number, case in enumerate(fitting[::3]):
            name = f"{number:03d} {canary(FOLDER)}"
            case.make(shutil.copytree(template, scans / name, symlinks=True))
            cells = (f"{canary('sheet: patient')}-{number}", canary("sheet: other column"))
            lines.append(",".join([name, str(number % 6 * 300), *cells]))
    (scans / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scans


def settings(folder: Path, scans: Path, **data: object) -> Path:
    return write_config(
        folder / "settings.yaml", scans, folder / "run",
        data={"dicom_root": str(scans), **data},
        labels={"sheet": str(scans / "labels.csv"), "patient_column": "patient"},
        pack={"min_slices": 10, "studies_per_shard": 16, "limits": {"rejected_studies": 1.0}},
        split={"folds": 2},
    )  # fmt: skip


def said(*command: object, code: int = 0) -> bytes:
    """What a job says on a terminal, its bars and tables included."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, *map(str, command)], stdout=theirs, stderr=theirs, stdin=theirs) as job:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert job.returncode == code, text.decode()
    return text


def logged(*command: object, code: int = 0) -> bytes:
    """What a job says in SLURM's log."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout + done.stderr


def written(root: Path) -> dict[str, bytes]:
    """Name and bytes of every file below a folder, shards once more as HDF5 gives them."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[str(path)] = str(path).encode() + b"\n" + path.read_bytes()
        if path.suffix == ".h5":
            with h5py.File(path) as shard:
                found[f"{path} unpacked"] = b"".join(shard[name][...].tobytes() for name in shard if name != "study")
                found[f"{path} studies"] = b"\n".join(shard["study"][...])
    return found


def assert_absent(strings: dict[str, str], texts: dict[str, bytes]) -> None:
    for name, content in texts.items():
        lower = content.lower()
        for place, string in strings.items():
            for encoding in ("ascii", "utf-16-le"):
                assert string.lower().encode(encoding) not in lower, f"{place} is in {name}"


COPIES = b"studies of different patients share slices"  # as these do: packed and sealed, then refused


def everything_planted() -> dict[str, str]:
    return {place: canary(place) for place in (*TEXTS, *DIGITS, *PLACES)}


def test_sixty_strings_are_planted(cohort):
    planted = everything_planted()
    content = b""
    for folder, _, names in os.walk(cohort):
        for path in (Path(folder, name) for name in names):
            content += os.fsencode(path) + os.fsencode(path.readlink() if path.is_symlink() else "")
            content += path.read_bytes() if path.is_file() else b""
    assert len(planted) > 60
    assert [place for place, string in planted.items() if string.encode() not in content] == []


def test_nothing_planted_is_in_the_run_or_on_the_terminal(cohort, tmp_path):
    config = settings(tmp_path, cohort)
    texts = {
        "launcher": said(REPO / "jobs" / "launch_cv.py", "--config", config, "--dry_run"),
        "pack": said(REPO / "jobs" / "pack.py", "--run", tmp_path / "run", code=2),
    }
    assert COPIES in texts["pack"]
    texts |= written(tmp_path / "run")
    assert any(name.endswith("rejected.csv") for name in texts)
    assert_absent(everything_planted(), texts)
    with pytest.raises(AssertionError, match=r"studies\.csv"):  # the study key may be there, so it would be found
        assert_absent({FOLDER: canary(FOLDER)}, {name: text for name, text in texts.items() if "studies" in name})


def test_with_a_key_the_folder_names_are_not_there_either(cohort, tmp_path):
    (tmp_path / "key").write_text("0123456789abcdef secret", encoding="utf-8")
    config = settings(tmp_path, cohort, pseudonym_key=str(tmp_path / "key"))
    texts = {
        "launcher": logged(REPO / "jobs" / "launch_cv.py", "--config", config, "--dry_run"),
        "pack": logged(REPO / "jobs" / "pack.py", "--run", tmp_path / "run", code=2),
    }
    assert COPIES in texts["pack"]
    texts |= written(tmp_path / "run")
    assert_absent(everything_planted() | {FOLDER: canary(FOLDER)}, texts)
