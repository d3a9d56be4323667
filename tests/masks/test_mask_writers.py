"""One drawing, written by every writer in three orientations of the patient, gives one score, to the last digit."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cac_hpc.calcium import agatston
from cac_hpc.dataset import intake, scoring
from cac_hpc.dataset.intake import Volume
from cac_hpc.dataset.scoring import ScoreTask
from cac_hpc.masks import mask_formats
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.score_command import RuleConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.frame import AS_STORED, Turn
from tests.support import dicom_mask_writers, mask_writers
from tests.support.chests import chest, write_study
from tests.support.mask_writers import NAMED, WRITERS, Drawing, nifti, slicer
from tests.support.poison import edit
from tests.support.turning import write_turned

LYING = {  # how three patients' slices are stored
    "supine": (AS_STORED, "HFS"),
    "prone": (Turn(rows_reversed=True, columns_reversed=True), "FFP"),
    "on his side": (Turn(transposed=True, rows_reversed=True), "HFDR"),
}
NAMES = ("LAD", "RCA")
lying = pytest.mark.parametrize("how", LYING)


@dataclass(frozen=True)
class Case:
    """A study as it was read, and the drawing in it."""

    volume: Volume
    drawing: Drawing

    def score(self, path: Path, *chosen: str) -> tuple[float, tuple[str, ...]]:
        """The score in a mask, and the warnings about it."""
        mask = mask_formats.read(path, self.volume.target(), chosen)
        found = agatston.score_study(self.volume.hu_ZHW, mask.part_ZHW, self.volume.study.spacing_mm)
        return found.agatston, mask.warnings


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A chest with calcium in two regions, whose edges cut some of it; nothing in it is symmetrical."""
    root = tmp_path_factory.mktemp("writers")
    hu_ZHW = chest(160, num_slices=24).hu_ZHW[:, 6:-20:2, 3:-8].copy()  # neither square, nor of square pixels
    part_ZHW = np.zeros(hu_ZHW.shape, np.uint8)
    for part, (z, y, x) in enumerate([(9, 30, 90), (14, 60, 110)], start=1):
        part_ZHW[z - 2 : z + 3, y - 6 : y + 5, x - 9 : x + 7] = part
        hu_ZHW[z - 1 : z + 1, y - 2 : y + 2, x - 2 : x + 3] = 300 * part
        hu_ZHW[z + 1 : z + 5, y + 3 : y + 7, x + 4 : x + 9] = 450  # some of it outside
    hu_ZHW[20, 20:24, 30:36] = 700  # outside
    write_study(root / "study", hu_ZHW)
    for path in (root / "study").iterdir():
        edit(path, PixelSpacing=[1.6, 0.8])
    found = {}
    for name, (turn, position) in LYING.items():
        write_turned(root / "study", root / name, turn, position)
        volume = intake.read_chest(files.list_files(root / name), PackConfig())
        np.testing.assert_array_equal(volume.hu_ZHW, hu_ZHW)
        found[name] = Case(volume, mask_writers.drawing(part_ZHW, NAMES, root / name, turn))
    return found


def true_score(case, *parts):
    inside_ZHW = np.isin(case.drawing.part_ZHW, [NAMES.index(part) + 1 for part in parts or NAMES])
    return agatston.score_study(case.volume.hu_ZHW, inside_ZHW, case.volume.study.spacing_mm).agatston


@lying
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_gives_the_same_score(writer, how, cases, tmp_path):
    case = cases[how]
    path = WRITERS[writer](tmp_path, case.drawing)
    assert case.score(path) == (true_score(case), ())
    first, second = NAMES if writer in NAMED else ("1", "2")
    assert case.score(path, first) == (true_score(case, "LAD"), ())
    assert case.score(path, second) == (true_score(case, "RCA"), ())
    assert true_score(case) == true_score(cases["supine"])
    assert true_score(case) > true_score(case, "LAD") > 100


@pytest.mark.drill
@lying
def test_dcmqi_gives_the_same_score(how, cases, tmp_path):
    case = cases[how]
    path = dicom_mask_writers.dcmqi(tmp_path, case.drawing)
    assert case.score(path) == (true_score(case), ())
    assert case.score(path, "RCA") == (true_score(case, "RCA"), ())


@lying
@pytest.mark.parametrize("write", [nifti("RAS"), slicer("LPS", "left-posterior-superior")], ids=["NIfTI", "NRRD"])
def test_a_mask_elsewhere_does_not_pass_for_another(write, how, cases, tmp_path):
    case = cases[how]
    for axis in range(3):
        step = np.eye(3)[axis] * case.drawing.spacing_mm
        for moved, warnings in ((1.0, None), (-1.0, None), (0.3, ("mask_resampled",))):
            path = write(tmp_path, replace(case.drawing, first_mm=case.drawing.first_mm + moved * step))
            if warnings is None:
                with pytest.raises(InputError, match=r"the mask does not cover the study: it has .* the study has "):
                    case.score(path)
            else:
                assert case.score(path)[1] == warnings
        flipped = np.flip(case.drawing.part_ZHW, 2 - axis)
        assert case.score(write(tmp_path, replace(case.drawing, part_ZHW=flipped)))[0] != true_score(case)


@lying
@pytest.mark.parametrize("writer", ["highdicom, binary", "RT Structure Set", "COCA"])
def test_a_drawing_one_slice_away_or_flipped_scores_otherwise(writer, how, cases, tmp_path):
    case = cases[how]
    part_ZHW = case.drawing.part_ZHW
    for changed in (np.roll(part_ZHW, 1, 0), np.roll(part_ZHW, -1, 0), *(np.flip(part_ZHW, axis) for axis in range(3))):
        other = Case(case.volume, replace(case.drawing, part_ZHW=changed))
        assert other.score(WRITERS[writer](tmp_path, other.drawing))[0] == true_score(other) != true_score(case)


def test_a_finer_mask_that_covers_the_study_is_resampled_with_a_warning(cases, tmp_path):
    case = cases["supine"]
    finer = case.drawing.part_ZHW.repeat(2, 0).repeat(3, 1)
    spacing_mm = case.drawing.spacing_mm / (1, 3, 2)
    at = replace(
        case.drawing,
        part_ZHW=finer,
        spacing_mm=spacing_mm,
        first_mm=case.drawing.first_mm - (case.drawing.spacing_mm - spacing_mm) / 2,
    )
    for write in (nifti("LPS"), slicer("RAS", "right-anterior-superior")):
        assert case.score(write(tmp_path, at)) == (true_score(case), ("mask_resampled",))


def test_the_warnings_and_the_names_of_parts_are_in_what_is_scored(cases, tmp_path):
    case = cases["prone"]
    path = WRITERS["3D Slicer"](tmp_path, case.drawing)
    quiet = replace(case.drawing, part_ZHW=np.where(case.drawing.part_ZHW == 2, 0, case.drawing.part_ZHW))
    empty = WRITERS["NumPy as stored"](tmp_path, quiet)

    def score(region, *parts):
        task = ScoreTask(case.drawing.study, str(region), None, PackConfig(), RuleConfig(), parts=parts)
        return scoring.score_folder(task, lambda _: None)

    found = score(path, "RCA", "LAD")
    assert (found.parts, found.facts["warnings"]) == (("RCA", "LAD"), "")
    assert set(found.score.lesions["region"]) == {1, 2}
    found = score(empty, "RCA")
    assert (found.score.agatston, found.facts["warnings"]) == (0, "part_without_calcium")
    assert "found 0 parts 'aorta', wanted one of 1 LAD, 2 RCA" in score(empty, "aorta").fault


@lying
def test_a_mask_on_the_volume_of_dcm2niix_fits_the_dicom_study_and_one_of_the_study_fits_the_volume(
    how, cases, tmp_path
):
    dcm2niix = pytest.importorskip("dcm2niix", reason='needs the extra converters: pip install -e ".[converters]"')
    case = cases[how]
    (tmp_path / "ct").mkdir()
    options = ["-b", "n", "-z", "y", "-f", "ct", "-o", str(tmp_path / "ct"), str(case.drawing.study)]
    subprocess.run([dcm2niix.bin, *options], check=True, capture_output=True, timeout=60)
    scan = nib.load(tmp_path / "ct" / "ct.nii.gz")
    part = np.zeros(scan.shape, np.uint8)
    voxels = np.argwhere(case.drawing.part_ZHW)
    at_ras = (case.drawing.first_mm + voxels[:, ::-1] * case.drawing.spacing_mm) * (-1, -1, 1)
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(scan.affine), at_ras)).astype(int)
    part[tuple(index.T)] = case.drawing.part_ZHW[tuple(voxels.T)]
    nib.save(nib.Nifti1Image(part, scan.affine, scan.header), tmp_path / "mask.nii.gz")
    assert case.score(tmp_path / "mask.nii.gz") == (true_score(case), ())
    volume = intake.read_chest(files.list_files(tmp_path / "ct"), PackConfig())
    of_volume = Case(volume, case.drawing)
    for path in (tmp_path / "mask.nii.gz", WRITERS["pynrrd RAS"](tmp_path, case.drawing)):
        assert of_volume.score(path) == (true_score(case), ())
