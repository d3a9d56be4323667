"""With every group asked for, nothing that tells who a patient is comes into anything that a run leaves.

Names, numbers, dates and exact ages are planted in the headers and in the sheet of two cohorts that are alike in what
is coarse: sex, decade, scanner. Whatever a run leaves of both is the same, byte for byte, as far as it is no measure of
time; and what was planted is in none of it.
"""

import datetime
import hashlib
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from subprocess import CompletedProcess

import h5py
import pydicom
import pytest
from PIL import Image

from cac_hpc.dataset import packing, sealed, sealing, splits
from cac_hpc.run.paths import RunPaths
from tests.support.reports import write_fold
from tests.support.runs import job_here, prepare, write_config, write_scans

FACTS = ["sex", "age_group", "scanner", "kernel", "kvp", "thickness", "noise", "body_size"]
NUM_STUDIES = 12
SCANNER = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ManufacturerModelName": "Discovery CT",
    "ConvolutionKernel": "STANDARD",
}
COMPRESSED, SHORT = (".png", ".tar", ".pt", ".h5"), 7  # what they hold is looked at once more as it is inside
STUDIED = datetime.date(2019, 5, 17)


def person(number: int, twin: int) -> dict[str, str]:
    """Who is planted in a study: of both twins another, of the same sex and decade, and the same place in the order."""
    age = 62 + 10 * (number % 2) + 3 * twin
    digest = hashlib.sha256(f"{number} {twin}".encode()).hexdigest()
    born = datetime.date(STUDIED.year - age, 3, 7 + number)
    return {
        "PatientName": f"Qx{number:02d}{digest[:8]}^{digest[8:16]}",
        "PatientID": f"Id{digest[16:24]}",
        "PatientBirthDate": f"{born:%Y%m%d}",
        "PatientAge": f"{age:03d}Y",
        "PatientSex": "FM"[number // 2 % 2],
        "StudyDate": f"{STUDIED:%Y%m%d}",
        "InstitutionName": f"Hospital{digest[24:30]}",
        "AccessionNumber": digest[30:40],
        "StationName": f"St{digest[40:48]}",
    }


def telling(people: list[dict[str, str]]) -> set[str]:
    """What may be nowhere: names and numbers in parts, dates and ages in the ways in which people write them."""
    found = set()
    for one in people:
        found |= {*one["PatientName"].split("^"), one["InstitutionName"], one["PatientID"], one["AccessionNumber"]}
        found |= {one["StationName"], one["PatientAge"], one["PatientAge"].lstrip("0")}
        for day in (one["PatientBirthDate"], one["StudyDate"]):
            date = datetime.datetime.strptime(day, "%Y%m%d")
            found |= {
                f"{date:{form}}" for form in ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y.%m.%d")
            }
        years = int(one["PatientAge"][:3])
        found |= {f"{years} years", f"{years} y", f"age {years}", f"age: {years}", f'"age": {years}', f"{years}-year"}
        found |= {f"PatientAge={years}", f"aged {years}", f"{years}yo"}
    return found


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Two cohorts of the same images, whose patients are others."""
    folder, found = tmp_path_factory.mktemp("canaries"), []
    write_scans(folder / "plain", NUM_STUDIES)
    for twin in (0, 1):
        root = Path(shutil.copytree(folder / "plain", folder / f"cohort-{twin}"))
        people = [person(number, twin) for number in range(NUM_STUDIES)]
        for one, study in zip(people, sorted(path for path in root.iterdir() if path.is_dir()), strict=True):
            for path in study.iterdir():
                ds = pydicom.dcmread(path)
                for keyword, value in (one | SCANNER).items():
                    setattr(ds, keyword, value)
                ds.save_as(path)
        rows = (root / "labels.csv").read_text(encoding="utf-8").splitlines()
        more = [f"{row},{one['PatientName'].replace('^', ' ')},{'NS'[number // 6]}"
                for number, (row, one) in enumerate(zip(rows[1:], people, strict=True))]  # fmt: skip
        (root / "labels.csv").write_text("\n".join([f"{rows[0]},patient,hospital", *more]) + "\n", encoding="utf-8")
        found.append((root, people))
    return found


def sections(root: Path) -> dict[str, dict[str, object]]:
    return {
        "data": {"dicom_root": str(root), "subgroups": FACTS, "smallest_group": 2},
        "labels": {"sheet": str(root / "labels.csv"), "patient_column": "patient", "group_columns": ["hospital"]},
        "split": {"folds": 2},
        "train": {"epochs": 1},
        "report": {"draws": 200},
        "cluster": {"kind": "local", "ranks_per_node": 1},
    }


def everything(root: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, and what is compressed in it once more as it is inside."""
    found: dict[str, bytes] = {}
    for path in (path for path in root.rglob("*") if path.is_file()):
        found[str(path)] = str(path.relative_to(root)).encode() + b"\n" + path.read_bytes()
        if path.suffix == ".h5":
            with h5py.File(path) as shard:
                found[f"{path} inside"] = b"".join(shard[name][...].tobytes() for name in shard if name != "study")
        if path.suffix == ".png":
            with Image.open(path) as picture:
                found[f"{path} text"] = repr(picture.info).encode()
        if path.suffix in (".gz", ".tar", ".tgz"):
            with tarfile.open(path) as archive:
                for member in filter(tarfile.TarInfo.isfile, archive):
                    content = archive.extractfile(member)
                    found[f"{path} {member.name}"] = content.read() if content else b""
        for stream in re.finditer(rb"zTXt[^\0]*\0\0", found[str(path)]):
            found[f"{path} {stream.start()}"] = zlib.decompressobj().decompress(found[str(path)][stream.end() :])
    return found


def in_none(planted: set[str], texts: dict[str, bytes]) -> list[str]:
    """What is in something: no letter or digit stands beside it. In compressed bytes short texts occur by chance."""
    found = []
    for name, content in texts.items():
        least = SHORT if name.endswith(COMPRESSED) else 1
        wanted = sorted((text for text in planted if len(text) >= least), key=len, reverse=True)
        each = "|".join(map(re.escape, wanted))
        for encoded in (content, content.replace(b"\0", b"")):  # as UTF-16 has it
            match = re.search(rf"(?<![0-9A-Za-z.])(?:{each})(?![0-9A-Za-z])".encode(), encoded, re.IGNORECASE)
            found += [f"{match[0]!r} is in {name}"] if match else []
    return found


def test_what_is_planted_is_in_the_scans_and_would_be_found(cohorts):
    root, people = cohorts[0]
    planted = telling(people)
    assert in_none(planted, everything(root))
    assert in_none({"62 years"}, {"a": b"a man of 62 years."})
    assert not in_none({"062Y"}, {"a": b"0062Y 062YY .062Y"})


def test_datasets_of_patients_who_are_alike_in_what_is_coarse_are_the_same(cohorts, tmp_path):
    packed = []
    for twin, (root, people) in enumerate(cohorts):
        (tmp_path / str(twin)).mkdir()
        run = prepare(tmp_path / str(twin), root, **sections(root))
        packing.pack_shards(run)
        sealing.seal(run)
        texts = everything(run / "dataset")
        assert not in_none(telling(people), texts)
        names = ("studies.csv", "rejected.csv", "intake.json", "shard-00000.h5", "shard-00000.json", "shard-00001.json")
        packed.append(
            {name: (run / "dataset" / ("shards" if "shard-" in name else "") / name).read_bytes() for name in names}
        )
    assert packed[0] == packed[1]
    table = packed[0]["studies.csv"].decode()
    assert all(text in table for text in ("60-69", "70-79", "female", "male", "GE DISCOVERY", "withheld"))


def test_nothing_planted_is_in_what_a_run_leaves(cohorts, tmp_path):
    """Packed, sealed and reported as in a run; what a training would have predicted is written in its place."""
    root, people = cohorts[0]
    config = write_config(tmp_path / "settings.yaml", root, tmp_path / "run", **sections(root))
    texts = {"launcher": said(job_here("launch_cv.py", "--config", config, "--dry_run"))}
    texts["pack"] = said(job_here("pack.py", "--run", tmp_path / "run"))
    run = RunPaths(tmp_path / "run")
    studies = sealed.read_studies(run.dataset(None)).set_index("study")
    for index, fold in enumerate(splits.read_splits(run.splits)):
        each = studies.loc[list(fold.test)]
        found = zip(each.index, each["category"], each["slices"], strict=True)
        write_fold(run, index, {(study, label): [label] * slices for study, label, slices in found})
    assert b"  sex: female 6, male 6" in texts["pack"]
    texts["aggregate"] = said(job_here("aggregate.py", "--run", run.root))
    texts["report"] = said(job_here("report.py", run.root, "--out", tmp_path / "taken"))
    for folder in ("run", "taken"):
        texts |= everything(tmp_path / folder)
    assert not in_none(telling(people), texts)
    report = next(content for name, content in texts.items() if name.endswith("report/report.json"))
    assert b'"fact": "age_group"' in report
    assert any("subgroups.csv" in name for name in texts)
    assert any(name.startswith(str(tmp_path / "taken")) for name in texts)


def said(done: CompletedProcess[str]) -> bytes:
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).encode()
