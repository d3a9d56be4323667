"""Runs of a lesion model that decided as the test says, on studies whose candidates and views were made by hand."""

import numpy as np
import pandas as pd

from cac_hpc.calcium import views
from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import integrity, shards
from cac_hpc.labels import labels
from cac_hpc.run import digests, disk
from cac_hpc.train import lesion_results, ordinal
from tests.support.reports import make_run, vouch

EDGES = (0, 10, 100, 400, 1000)
NUM_SLICES, SIZE = 4, 16
BOX = (100, 228, 60, 188)  # of the views: two of their pixels are one of the scanner's


def candidates_of(agatston, share):
    """One candidate per score, a block of 4 x 6 pixels each, on slice 0, 1, ... in turn; every second is on two."""
    count = len(agatston)
    voxels, lesions = [], []
    for index, score in enumerate(agatston):
        first, row, column = index % (NUM_SLICES - 1), 110 + 12 * index, 70 + 10 * index
        slices = [first, first + 1] if index % 2 else [first]
        block = [(z, y, x) for z in slices for y in range(row, row + 4) for x in range(column, column + 6)]
        voxels.append(np.array(block, np.int16))
        lesions += [(index, z, score / len(slices)) for z in slices]
    features = np.zeros((count, len(NAMES)), np.float32)
    features[:, NAMES.index("region_share")] = share
    features[:, NAMES.index("max_hu")] = 300
    number, at, score = zip(*lesions, strict=True) if lesions else ((), (), ())
    return Candidates(
        feature_CF=features,
        candidate_L=np.array(number, np.int32),
        slice_L=np.array(at, np.int32),
        agatston_L=np.array(score, np.float32),
        voxel_V3=np.concatenate([np.zeros((0, 3), np.int16), *voxels]),
        start_C1=np.cumsum([0, *map(len, voxels)]).astype(np.int64),
    )


def views_of(study):
    """The projection and all slices, noise that differs between studies."""
    rng = np.random.default_rng(sum(map(ord, study)))
    image = rng.integers(0, 120, (1 + NUM_SLICES, views.SIZE, views.SIZE), np.uint8)
    return Views(image, np.array([-1, *range(NUM_SLICES)], np.int32), views.WINDOW_HU, BOX)


def make_lesion_run(folder, studies, patient=None, facts=None, num_folds=5, **sections):
    """A run whose model decided as the test says.

    Args:
        studies: by name the label, the reported score or None, and the candidates: Agatston score, share in the heart's
            region, probability. facts: further columns of studies.csv.
    """
    counted = {study: _counted(of_study) for study, (_, _, of_study) in studies.items()}
    found = {study: _found(of_study) for study, (_, _, of_study) in studies.items()}
    slices = {
        (study, label): labels.categories(_slices(found[study], counted[study]), EDGES).tolist()
        for study, (label, _, _) in studies.items()
    }
    share = {study: found[study].feature_CF[:, NAMES.index("region_share")] > 0.5 for study in studies}
    columns = {
        "agatston_control": {study: _total(found[study], share[study]) for study in studies},
        "control_slices": {study: " ".join(map(str, _slices(found[study], share[study]))) for study in studies},
    }
    score = {study: "" if reported is None else reported for study, (_, reported, _) in studies.items()}
    sections = {"model": {"kind": "lesions"}, "report": {"figure_dpi": 50, "draws": 200}, **sections}
    run = make_run(folder, slices, patient, num_folds, score, columns | (facts or {}), **sections)
    write_shard(run, found)
    for fold in range(num_folds):
        write_tables(run, fold, studies, found)
    return run


def write_shard(run, found):
    """The dataset's one shard, and the seal that names it."""
    dataset = run.dataset(None)
    dataset.shard(0).parent.mkdir(parents=True, exist_ok=True)
    with shards.create(dataset.shard(0), SIZE, with_slices=False) as writer:
        for study, of_study in found.items():
            with writer.study(study) as keep:
                for number in range(NUM_SLICES):
                    keep(np.full((SIZE, SIZE), number, np.int16), 3.0 * number)
                keep.lesions(of_study, views_of(study))
    sealed = integrity.read_checked(dataset.seal)
    shard = {"file": str(dataset.shard(0).relative_to(dataset.root)), "digest": digests.of_file(dataset.shard(0))}
    integrity.write_checked(dataset.seal, sealed | {"shards": [shard]})


def write_tables(run, fold, studies, found):
    """scores.csv and lesions.csv of a fold, as a fold writes them, and predictions.csv without doubt."""
    files = run.fold(fold)
    table = pd.read_csv(files.predictions, dtype={"study": str})
    chance = [f"p{category}" for category in range(6)]
    table[chance] = np.eye(6)[table[chance].to_numpy().argmax(axis=1)]
    table.to_csv(files.predictions, index=False)
    rows, of_studies = [], []
    for study in sorted(set(table["study"])):
        label, _, of_study = studies[study]
        score = _total(found[study], _counted(of_study))
        share = np.array([one[1] for one in of_study]) > 0.5
        probability = ordinal.probabilities(np.array([score]), 0.3, EDGES)[0]
        of_studies.append([study, fold, label, score, _total(found[study], share), *probability])
        for index, (agatston, region_share, p) in enumerate(of_study):
            first = index % (NUM_SLICES - 1)
            place = [first, first + index % 2, 110 + 12 * index, 70 + 10 * index]
            rows.append([study, fold, index + 1, *place, agatston, agatston / 2, 300, region_share, p, int(p > 0.5)])
    columns = ["study", "fold", "label", "score", "control", *chance]
    pd.DataFrame(of_studies, columns=columns).to_csv(files.scores, index=False)
    pd.DataFrame(rows, columns=list(lesion_results.LESION_COLUMNS)).to_csv(files.lesions, index=False)
    vouch_tables(run, fold)


def vouch_tables(run, fold):
    """What a fold says of its files as they are now."""
    files = run.fold(fold)
    vouch(run, fold, tables_sha256={path.name: digests.file_sha256(path) for path in (files.scores, files.lesions)})


def _found(of_study):
    return candidates_of([one[0] for one in of_study], [one[1] for one in of_study])


def _counted(of_study):
    return np.array([one[2] for one in of_study]) > 0.5


def _total(found, counted):
    return round(float(found.agatston_C.astype(float) @ counted), 4)


def _slices(found, counted):
    """The score of each slice."""
    kept = counted[found.candidate_L] if len(found) else np.zeros(0)
    return np.bincount(found.slice_L, found.agatston_L * kept, NUM_SLICES).round(4).tolist()


def read_json(run):
    return disk.read_json(run.report_json)
