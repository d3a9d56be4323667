"""What other programs make of a DICOM study scores as the study does, to the last digit, however the patient lies."""

import subprocess

import pandas as pd
import pytest

from tests.support import turning
from tests.support.chests import chest, with_lesion, write_study
from tests.support.runs import job_here
from tests.support.turning import write_turned

EXTRA = 'needs the extra converters: pip install -e ".[converters]"'
LYING = {"HFS": "", "HFP": "RC", "FFS": "C", "FFP": "R"}  # by position: which sides are stored the other way round


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A chest with two lesions, four times: on the back and prone, head first and feet first."""
    root = tmp_path_factory.mktemp("studies")
    hu_ZHW = with_lesion(chest(140, num_slices=24).hu_ZHW, -60, 4, slice(10, 12))
    write_study(root / "source", with_lesion(hu_ZHW, -12, 50, slice(9, 10), 250))
    turns = {name: turn for turn, name in turning.NAMES.items()}
    for position, sides in LYING.items():
        write_turned(root / "source", root / "dicom" / position, turns[sides], position)
    return root / "dicom"


@pytest.fixture(scope="module")
def expected(studies, tmp_path_factory):
    found = scores(studies, tmp_path_factory.mktemp("scores"))
    assert found[0]["agatston"].nunique() == 1
    assert float(found[0]["agatston"][0]) > 100
    return found


def scores(folder, out):
    """scores.csv and lesions.csv as they are written, without what a volume is warned of."""
    done = job_here("score_calcium.py", folder, "--out", out)
    assert done.returncode == 0, done.stderr + done.stdout
    tables = (pd.read_csv(out / name, dtype=str, keep_default_na=False) for name in ("scores.csv", "lesions.csv"))
    return [table.drop(columns="warnings", errors="ignore") for table in tables]


def check_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_nifti_of_dcm2niix_scores_as_the_dicom_study(tmp_path, studies, expected):
    dcm2niix = pytest.importorskip("dcm2niix", reason=EXTRA)
    (tmp_path / "nifti").mkdir()
    for study in studies.iterdir():
        options = [
            "-z",
            "y" if study.name.startswith("H") else "n",
            "-b",
            "n",
            "-f",
            study.name,
            "-o",
            str(tmp_path / "nifti"),
        ]
        subprocess.run([dcm2niix.bin, *options, str(study)], check=True, capture_output=True, timeout=60)
    check_same(scores(tmp_path / "nifti", tmp_path / "out"), expected)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_volumes_of_simpleitk_score_as_the_dicom_study(tmp_path, studies, expected, ending):
    sitk = pytest.importorskip("SimpleITK", reason=EXTRA)
    for study in studies.iterdir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(study)))
        (tmp_path / "volumes" / study.name).mkdir(parents=True)
        sitk.WriteImage(reader.Execute(), str(tmp_path / "volumes" / study.name / f"ct{ending}"))
    check_same(scores(tmp_path / "volumes", tmp_path / "out"), expected)
