"""Candidates and views in shards: what is read is what was written, with slices or without."""

import dataclasses
import re

import h5py
import numpy as np
import pytest

from cac_hpc.calcium import candidates, heart, views
from cac_hpc.dataset import integrity, packing, plan, shards
from cac_hpc.run import digests
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files
from tests.support.chests import SPACING_MM, chest, with_lesion, write_study
from tests.support.poison import rows, write_chest
from tests.support.runs import pack, prepare

NUM_SLICES = 36


@pytest.fixture(scope="module")
def volumes():
    """Chests by study: of one lesion more each, the first without any candidate."""
    hu_ZHW = np.minimum(chest(200, num_slices=NUM_SLICES).hu_ZHW, 120)
    places = [(-60, 4), (-12, 54), (-40, -36), (36, 14), (-46, 38)]
    found = [hu_ZHW]
    for index, place in enumerate(places):
        slices = slice(10 + 3 * index, 12 + 3 * index)
        found.append(with_lesion(found[-1] + np.int16(1), *place, slices))  # no two share a slice
    return {f"{index}": volume for index, volume in enumerate(found)}


@pytest.fixture(scope="module")
def scans(tmp_path_factory, volumes):
    """Six such studies as files, and one without a heart."""
    root = tmp_path_factory.mktemp("cohort") / "scans"
    for study, hu_ZHW in volumes.items():
        write_study(root / study, hu_ZHW)
    write_chest(root / "no heart", num_slices=NUM_SLICES)
    sheet = "".join(f"{study},{50 * (index % 2)}\n" for index, study in enumerate([*volumes, "no heart"]))
    (root / "labels.csv").write_text("study,score\n" + sheet)
    return root


@pytest.fixture(scope="module")
def found(volumes):
    """Candidates and views of each study."""
    located = {study: heart.find(hu_ZHW, SPACING_MM) for study, hu_ZHW in volumes.items()}
    lesions = {study: candidates.find(volumes[study], SPACING_MM, there) for study, there in located.items()}
    seen = {s: views.make(volumes[s], SPACING_MM, located[s], lesions[s]) for s in volumes}
    return lesions, seen


def equal(one, other):
    """Whether two frozen dataclasses hold the same, of the same types."""
    pairs = [(getattr(one, spec.name), getattr(other, spec.name)) for spec in dataclasses.fields(one)]
    same_types = [a.dtype == b.dtype if isinstance(a, np.ndarray) else type(a) is type(b) for a, b in pairs]
    return all(same_types) and all(np.array_equal(a, b) for a, b in pairs)


def written(path, scans, studies, **options):
    """A shard of these studies, its facts."""
    tasks = [(study, scans / study, files.digest(files.list_files(scans / study))) for study in studies]
    cfg = PackConfig(**{"size": 32, "min_slices": NUM_SLICES, **options})
    return packing.write_shard(packing.ShardTask(path, tasks, cfg), lambda study: None)


@pytest.fixture(scope="module")
def shard(tmp_path_factory, scans, volumes):
    """A shard of all studies, that without a heart in their middle."""
    path = tmp_path_factory.mktemp("shard") / "shard.h5"
    studies = [*volumes]
    return path, written(path, scans, [*studies[:3], "no heart", *studies[3:]])


def test_candidates_are_read_as_they_were_found(shard, found, volumes):
    read, (lesions, _) = shards.read_candidates(shard[0]), found
    assert list(read) == list(volumes)
    assert [len(read[study]) for study in volumes] == [0, 1, 2, 3, 4, 5]
    assert all(equal(read[study], lesions[study]) for study in volumes)
    assert read["5"].agatston_C.tolist() == lesions["5"].agatston_C.tolist()


def test_views_are_read_as_they_were_made(shard, found, volumes):
    assert all(equal(shards.read_views(shard[0], study), found[1][study]) for study in volumes)
    assert len(found[1]["0"].slice_N) == 1
    with pytest.raises(InputError, match=r"shard\.h5: found no views of study 'no heart', wanted one in which the h"):
        shards.read_views(shard[0], "no heart")


def test_the_control_counts_whole_candidates_in_the_region(shard, found):
    facts = {row["study"]: row for row in shard[1]["studies"]}
    for study, lesions in found[0].items():
        counted = lesions.feature_CF[:, candidates.NAMES.index("region_share")] > 0.5
        assert facts[study]["has_candidates"]
        assert facts[study]["candidates"] == len(lesions)
        assert facts[study]["agatston_control"] == pytest.approx(lesions.agatston_C[counted].sum())
        slices = [float(score) for score in facts[study]["control_slices"].split()]
        assert facts[study]["aorta_found"] is False  # there is none in these chests
        assert len(slices) == NUM_SLICES
        assert sum(slices) == pytest.approx(facts[study]["agatston_control"])
    assert facts["5"]["agatston_control"] > 0
    assert [facts["no heart"][name] for name in ("has_candidates", "candidates", "agatston_control")] == [
        False, None, None
    ]  # fmt: skip


def test_the_same_studies_make_the_same_bytes(tmp_path, shard, scans):
    studies = [row["study"] for row in shard[1]["studies"]]
    assert written(tmp_path / "again.h5", scans, studies) == shard[1]
    assert (tmp_path / "again.h5").read_bytes() == shard[0].read_bytes()


def test_without_slices_a_shard_has_the_same_candidates_and_views_and_no_images(tmp_path, shard, scans, volumes):
    path = tmp_path / "small.h5"
    facts = written(path, scans, volumes, slices=False)
    assert facts["rows"] == 6 * NUM_SLICES
    assert [row["slices"] for row in facts["studies"]] == [NUM_SLICES] * 6
    whole, small = shards.read_candidates(shard[0]), shards.read_candidates(path)
    assert all(equal(whole[study], small[study]) for study in volumes)
    assert all(equal(shards.read_views(shard[0], s), shards.read_views(path, s)) for s in volumes)
    assert path.stat().st_size / 6 < 500_000
    for read in (lambda: shards.read_shard(path, np.empty((6 * NUM_SLICES, 32, 32), np.int16)),
                 lambda: shards.read_places(path)):  # fmt: skip
        with pytest.raises(InputError, match=r"small\.h5: holds no slices, as pack\.slices is false"):
            read()
    assert shards.read_slices(path, [("0", 0)]) == {}


def test_without_slices_equal_ones_are_still_found_by_their_digests(tmp_path):
    path, blank = tmp_path / "shard.h5", np.full((8, 8), -1024, np.int16)
    shown = np.arange(64, dtype=np.int16).reshape(8, 8)
    with shards.create(path, 4, with_slices=False) as writer:
        for study in "ab":
            with writer.study(study) as keep:
                for z, hu_HW in enumerate((shown, blank)):
                    keep(hu_HW, 3.0 * z)
    names, counts, digest = shards.read_digests(path)
    assert (names.tolist(), counts.tolist()) == (["a", "b"], [2, 2])
    assert [row.tobytes() for row in digest[:2]] == [row.tobytes() for row in digest[2:]]
    assert digest[0].tobytes() == digests.of_bytes(shown.data)
    assert [shards.is_blank(path, row) for row in range(4)] == [False, True, False, True]


def test_a_study_that_is_taken_back_leaves_nothing(tmp_path, found):
    path, (lesions, seen) = tmp_path / "shard.h5", found
    with shards.create(path, 8) as writer:
        for study in ("1", "broken", "3"):
            try:
                with writer.study(study) as keep:
                    keep(np.zeros((8, 8), np.int16), 0.0)
                    keep.lesions(
                        lesions["5" if study == "broken" else study], seen["5" if study == "broken" else study]
                    )
                    if study == "broken":
                        raise OSError
            except OSError:
                pass
    read = shards.read_candidates(path)
    assert list(read) == ["1", "3"]
    assert all(equal(read[study], lesions[study]) for study in read)
    assert all(equal(shards.read_views(path, study), seen[study]) for study in read)


def test_candidates_of_another_version_are_refused(tmp_path, shard):
    path = tmp_path / "shard.h5"
    path.write_bytes(shard[0].read_bytes())
    with h5py.File(path, "r+") as file:
        file["candidate_feature"].attrs["version"] = 0
    with pytest.raises(InputError, match=rf"found candidates of version 0, wanted {candidates.VERSION}; pack into an"):
        shards.read_candidates(path)


def test_a_cohort_without_slices_is_sealed_and_packed_again_as_it_was(tmp_path, scans):
    small = {"slices": False, "studies_per_shard": 4, "min_slices": NUM_SLICES, "limits": {"rejected_studies": 0.2}}
    run = prepare(tmp_path, scans, pack=small, split={"folds": 2}, model={"kind": "lesions"})
    pack(run)
    dataset = DatasetPaths(run / "dataset")
    studies = rows(dataset.studies)
    assert [row["study"] for row in studies] == ["0", "1", "2", "3", "4", "5"]
    assert {row["reason"] for row in rows(dataset.rejected)} == {"no_heart"}
    assert [row["candidates"] for row in studies] == ["0", "1", "2", "3", "4", "5"]
    sealed = integrity.read_checked(dataset.seal)
    assert (sealed["slices"], sealed["settings"]["pack"]["slices"]) == (6 * NUM_SLICES, False)
    content = dataset.shard(0).read_bytes()
    dataset.shard(0).write_bytes(content[:-1])
    packing.pack_shards(run)
    assert dataset.shard(0).read_bytes() == content


def test_a_dataset_of_other_candidates_is_another_dataset(tmp_path, scans, monkeypatch):
    run = prepare(tmp_path, scans, pack={"min_slices": NUM_SLICES}, split={"folds": 2})
    cfg = stored_settings.load(run / "config.yaml")
    before = plan.make_plan(cfg).sha256
    assert plan.make_plan(cfg).sha256 == before
    monkeypatch.setattr(candidates, "VERSION", candidates.VERSION + 1)
    assert plan.make_plan(cfg).sha256 != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": False, "candidates": False}, "pack.candidates is false, but must be true, as pack.slices is false"),
        ({"slices": False, "crop": "heart"}, "pack.crop is 'heart', but must be none, as pack.slices is false"),
    ],
)
def test_settings_that_pack_nothing_or_cut_what_is_not_packed_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        PackConfig(**options)
