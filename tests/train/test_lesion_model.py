"""The lesion model: its start, its loss by hand, its anatomy, its steps on several ranks, its files."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from cac_hpc.calcium import baseline, candidates
from cac_hpc.dataset import sealed, sealing, shards, splits
from cac_hpc.evaluation import inputs
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run import digests, result_files
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import AnatomyConfig, TrainConfig
from cac_hpc.train import (
    attempts,
    augment_candidates,
    checkpoint,
    lesion_model,
    lesion_results,
    models,
    networks,
    ordinal,
    predictions,
    slices,
    steps,
    training,
)
from cac_hpc.train import bags as bags_of
from cac_hpc.train.lesion_model import Bags, LesionClassifier
from tests.support import bags
from tests.support.runs import NUM_SLICES, REPO, prepare, torchrun

EDGES = (0.0, 10.0, 100.0, 400.0, 1000.0)
NAMES = candidates.NAMES
SHARE = NAMES.index("region_share")
CPU = TrainConfig(epochs=1, device="cpu", precision="fp32")
TABLES = ("scores.csv", "lesions.csv", "predictions.csv", "history.csv", "model.pt")


def sealed_run(folder, scans, bagged, ranks=1, model=bags.MODEL, **train):
    run = prepare(
        folder, scans, data={"packed_dir": str(bagged)}, model=model, train=bags.LEARN | train,
        cluster={"ranks_per_node": ranks},
    )  # fmt: skip
    sealing.seal(run)
    return RunPaths(run)


def random_features(count, seed=0):
    rng = np.random.default_rng(seed)
    feature_NF = rng.normal(0, 20, (count, len(NAMES))).astype(np.float32)
    feature_NF[:, SHARE] = rng.uniform(0, 1, count)
    return feature_NF


def hand_made(model, **changed):
    """Two studies, with two candidates and with one, and one without any."""
    feature_NF = torch.zeros(3, len(NAMES))
    feature_NF[:, SHARE] = torch.tensor([1.0, 0.5, 0.0])
    log_U = torch.log1p(torch.tensor([100.0, 0.0, 50.0]))
    found = Bags(
        feature_NF, torch.tensor([100.0, 40.0, 30.0]), torch.tensor([2, 1, 0]), log_U, log_U, torch.tensor([2, 0, 2]),
        torch.tensor(6.0), 0.5,
    )  # fmt: skip
    return dataclasses.replace(found, **changed)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_untrained_model_counts_what_lies_in_the_region_by_more_than_half(members, precision):
    feature_NF = random_features(1000)
    feature_NF[:3, SHARE] = (
        0.5,
        np.nextafter(np.float32(0.5), np.float32(1)),
        np.nextafter(np.float32(0.5), np.float32(0)),
    )
    model = LesionClassifier((32, 16), members, NAMES)
    lesion_model.standardise(model, feature_NF)
    cfg, zero_N = dataclasses.replace(CPU, precision=precision), torch.zeros(len(feature_NF))
    batch = Bags(
        torch.from_numpy(feature_NF), zero_N, torch.tensor([len(feature_NF)]), zero_N[:1], zero_N[:1],
        torch.zeros(1, dtype=torch.int64), torch.ones(()),
    )  # fmt: skip
    probability_N, _ = lesion_model.evaluate(model, [batch], cfg)
    assert np.array_equal(lesion_results.counted(probability_N), feature_NF[:, SHARE] > 0.5)
    assert np.array_equal(lesion_model.probabilities(model, feature_NF) > 0.5, feature_NF[:, SHARE] > 0.5)


def test_the_share_in_the_region_counts_less_and_less_while_training():
    model, feature_NF = LesionClassifier((4,), 2, NAMES), random_features(5)
    feature_NF[:, SHARE] = (0, 0.25, 0.5, 0.75, 1)
    for progress, weight in ((0, 8), (0.5, 5.5), (1, 3)):
        lesion_model.advance(model, progress)
        wanted = 1 / (1 + np.exp(-weight * (feature_NF[:, SHARE] - 0.5)))
        np.testing.assert_allclose(lesion_model.probabilities(model, feature_NF), wanted, rtol=1e-6)


def test_the_loss_worked_by_hand():
    """p is 0.98201, 0.5 and 0.01799: scores of 118.201, 0.53959 and 0, of which is uncertain 11.766 and 0.52989."""
    model = LesionClassifier((4,), 1, NAMES)
    found = float(hand_made(model).loss(model, torch.tensor([0.5, 1.0, 2.0]), CPU).detach())
    far = np.log1p(118.20138) - np.log1p(100)  # 0.16563, below BETA = 0.3: squared over 0.6
    near = [far**2 / 0.6, np.log1p(0.53959) - 0.15, np.log1p(50) - 0.15]
    uncertain = [(100 * 0.98201 * 0.01799 + 40 * 0.25) / 119.20138, 30 * 0.01799 * 0.98201 / 1.53959, 0]
    weights = np.array([2.0, 0.5, 2.0])
    wanted = (weights * (np.array(near) + 0.5 * np.array(uncertain))).sum() / 6
    assert found == pytest.approx(wanted, rel=1e-4)


def test_what_a_label_leaves_open_is_not_penalised():
    low_U, high_U = bags_of.targets(np.array([np.nan, 0.0, 0.0, 37.0]), EDGES)
    assert np.exp(low_U[[0, 3]]).tolist() == pytest.approx([1001, 38], rel=1e-6)
    assert (high_U[0], low_U[1], high_U[1]) == (np.inf, -np.inf, 0)
    assert low_U[3] == high_U[3]
    assert np.exp(bags_of.targets(np.array([0.0]), (10.0, 100.0))[1]) == pytest.approx(11)
    model = LesionClassifier((4,), 1, NAMES)

    def loss(agatston, low, high):
        batch = hand_made(
            model, feature_NF=torch.full((1, len(NAMES)), 10.0, requires_grad=True), count_U=torch.tensor([1]),
            agatston_N=torch.tensor([agatston]), low_U=torch.tensor([low]), high_U=torch.tensor([high]), progress=0.0,
            label_U=torch.tensor([0]),
        )  # fmt: skip
        found = batch.loss(model, torch.ones(3), CPU)
        torch.autograd.backward(found)
        assert batch.feature_NF.grad.isfinite().all()
        return float(found.detach())

    above = float(low_U[0])
    assert loss(5000.0, above, np.inf) == loss(1000.5, above, np.inf) == loss(4.0, -np.inf, np.log1p(10.0)) == 0
    assert loss(500.0, above, np.inf) == pytest.approx((np.log(1001 / 501) - 0.15) / 6, rel=1e-4)
    assert loss(20.0, -np.inf, float(np.log1p(10.0))) == pytest.approx((np.log(21 / 11) - 0.15) / 6, rel=1e-4)


@pytest.mark.parametrize("shares", [(6,), (3, 3), (1, 5), (0, 6), (2, 0, 4)])
def test_shares_of_a_batch_add_up_to_the_step_of_the_whole_batch(shares):
    """What DDP does by hand, with studies of no candidate and ranks of no study among them."""
    torch.manual_seed(0)
    model = LesionClassifier((8, 4), 2, NAMES)
    torch.nn.init.normal_(model.last.weight)
    count_U, weight_K = torch.tensor([3, 0, 5, 1, 2, 0]), torch.tensor([1.0, 2.0, 0.5])
    feature_NF = torch.from_numpy(random_features(11))
    lesion_model.standardise(model, feature_NF.numpy())
    agatston_N, log_U = torch.linspace(1, 500, 11), torch.log1p(torch.tensor([0, 10, 800, 5, 60, 0.0]))
    label_U = torch.tensor([0, 1, 2, 1, 2, 0])
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.0), torch.amp.GradScaler("cpu", enabled=False)
    results = []
    for parts in ((6,), shares):
        mean, total = [torch.zeros_like(weight) for weight in model.parameters()], 0.0
        ends = np.concatenate([[0], np.cumsum(count_U.numpy())])
        for last, size in zip(np.cumsum(parts), parts, strict=True):
            of_study, of_row = slice(last - size, last), slice(ends[last - size], ends[last])
            share = Bags(
                feature_NF[of_row], agatston_N[of_row], count_U[of_study], log_U[of_study], log_U[of_study],
                label_U[of_study], weight_K[label_U].sum(), 0.7,
            )  # fmt: skip
            total += float(steps.train_step(model, optimizer, scaler, share, weight_K, len(parts), CPU))
            for into, weight in zip(mean, model.parameters(), strict=True):
                into += weight.grad / len(parts)
        results.append((total, mean))
    (whole, wanted), (added, found) = results
    assert added == pytest.approx(whole, rel=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_members_start_and_learn_by_themselves():
    starts = []
    for members in (1, 3):
        torch.manual_seed(7)
        starts.append(LesionClassifier((6,), members, NAMES))
    one, three = (dict(model.named_parameters()) for model in starts)
    assert all(torch.equal(one[name][0], three[name][0]) for name in one)
    assert not torch.equal(three["body.0.weight"][0], three["body.0.weight"][1])
    cfg = ModelConfig(kind="lesions", members=3)
    spec = models.MODELS["lesions"]
    model, num = spec.build(cfg, 512, 6), len(NAMES)
    assert networks.num_parameters(model) == spec.num_parameters(cfg, 512, 6) == 3 * (num * 32 + 32 + 33 * 16 + 17)
    assert spec.flops(cfg, 512, 6) == 3 * 2 * (num * 32 + 32 * 16 + 16)
    layers = networks.layers(model, spec.unit, 512, 0.3, spec.row)
    assert [layer["layer"] for layer in layers] == ["Candidate", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert (layers[-1]["output"], layers[-1]["parameters"]) == ([1], 3 * 17)


def test_an_anatomy_turned_by_hand():
    quarter = np.pi / 2
    about_first, about_third = (
        augment_candidates.turns(np.array(angles)) for angles in ((quarter, 0, 0), (0, 0, quarter))
    )
    np.testing.assert_allclose(about_first @ [1, 2, 3], [1, -3, 2], atol=1e-12)
    np.testing.assert_allclose(about_third @ [1, 2, 3], [-2, 1, 3], atol=1e-12)
    both = augment_candidates.turns(np.array([quarter, 0, quarter]))
    np.testing.assert_allclose(both, about_third @ about_first, atol=1e-12)
    feature_NF, place = torch.from_numpy(random_features(5)), list(augment_candidates.POSITION)
    turn_U33 = torch.from_numpy(np.stack([2 * about_third, np.eye(3)]).astype(np.float32))
    shift_U3 = torch.tensor([[10.0, 0, 0], [0, 0, -1]])
    moved_NF = augment_candidates.move(feature_NF, torch.tensor([2, 3]), turn_U33, shift_U3)
    left, back, up = feature_NF[:, place].T
    torch.testing.assert_close(moved_NF[:2, place], torch.stack([-2 * back + 10, 2 * left, 2 * up], dim=1)[:2])
    torch.testing.assert_close(moved_NF[2:, place], torch.stack([left, back, up - 1], dim=1)[2:])
    near = list(augment_candidates.BY_AORTA)
    left, back, up = feature_NF[:, near].T
    torch.testing.assert_close(moved_NF[:2, near], torch.stack([-2 * back + 5, 2 * left, 2 * up], dim=1)[:2])
    torch.testing.assert_close(moved_NF[2:, near], torch.stack([left, back, up - 0.5], dim=1)[2:])
    others = [index for index in range(len(NAMES)) if index not in place + near]
    assert torch.equal(moved_NF[:, others], feature_NF[:, others])


def test_anatomies_are_as_different_as_the_settings_say():
    moves = augment_candidates.draw(3, 1, 2, 300, 16, AnatomyConfig(shift_mm=10, rotation_deg=10, scale=0.1))
    again = augment_candidates.draw(3, 1, 2, 300, 16, AnatomyConfig(shift_mm=10, rotation_deg=10, scale=0.1))
    assert torch.equal(moves.turn_SU33, again.turn_SU33)
    assert not torch.equal(moves.shift_SU3, augment_candidates.draw(3, 1, 3, 300, 16, AnatomyConfig()).shift_SU3)
    assert float(moves.shift_SU3.std()) == pytest.approx(10, rel=0.05)
    assert float(torch.linalg.det(moves.turn_SU33.double()).pow(1 / 3).std()) == pytest.approx(0.1, rel=0.05)
    still = augment_candidates.draw(3, 1, 2, 2, 4, AnatomyConfig(shift_mm=0, rotation_deg=0, scale=0))
    assert torch.equal(still.turn_SU33, torch.eye(3).expand(2, 4, 3, 3))
    assert not AnatomyConfig(shift_mm=0, rotation_deg=0, scale=0).active


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize(("count", "size"), [(8, 5), (41, 16), (3, 16), (16, 16)])
def test_batches_of_a_budget_of_steps_run_on_over_shuffled_passes(count, size, window):
    units = np.arange(100, 100 + count)
    whole = list(slices.running_batches(units, size, 1, 2, range(30), window))
    assert {len(batch) for batch in whole} == {size}
    every = np.concatenate(whole)
    for first in range(0, len(every) - count, count):
        assert np.array_equal(np.sort(every[first : first + count]), units)
    parts = [
        batch
        for first in range(0, 30, 10)
        for batch in slices.running_batches(units, size, 1, 2, range(first, first + 10), window)
    ]
    assert np.array_equal(every, np.concatenate(parts))


def test_the_epochs_share_out_the_steps_evenly():
    data = attempts.FoldData(None, None, None, None, None, np.arange(41), None, None)
    cfg = TrainConfig(epochs=7, steps=300, batch_size=16)
    counts = [len(data.batches(cfg, 0, epoch)) for epoch in range(1, 8)]
    assert sum(counts) == data.steps(cfg, 7) == 300
    assert set(counts) == {42, 43}
    assert data.steps(TrainConfig(epochs=7, batch_size=16), 7) == 21


def test_probabilities_of_categories_worked_by_hand():
    cuts = np.log1p([0.5, 10, 100, 400, 1000])
    np.testing.assert_allclose(ordinal.cut_points(EDGES), cuts)
    found = ordinal.probabilities(np.array([0.0, 50.0]), 0.5, EDGES)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    below = 1 / (1 + np.exp(-(cuts - np.log1p(50)) / 0.5))
    np.testing.assert_allclose(found[1], np.diff([0, *below, 1]))
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-np.log1p(0.5) / 0.5)))
    mixed = ordinal.probabilities(np.array([50.0]), 0.5, EDGES, gross=0.3)
    np.testing.assert_allclose(mixed, 0.7 * found[1:] + 0.3 / 6)


def test_errors_are_fitted_to_the_validation_studies():
    scored, labelled = np.array([0.0, 5, 50, 200, 700, 2000]), np.arange(6)
    right = ordinal.fit(np.tile(scored, 2), np.tile(labelled, 2), EDGES)
    assert right.scale == ordinal.SCALES[0]
    assert 0.05 < right.gross < 0.12  # about one of fourteen
    one_wrong = ordinal.fit(np.tile(scored, 2), np.array([5, *labelled[1:], *labelled]), EDGES)
    assert one_wrong.scale < 0.3
    assert right.gross < one_wrong.gross < 0.25
    rng, often = np.random.default_rng(0), np.repeat(scored[1:], 400)
    wrong = rng.uniform(size=2000) < 0.1
    true = np.maximum(np.expm1(np.log1p(often) + rng.logistic(0, 0.4, 2000)), 0)
    category = np.where(wrong, rng.integers(0, 6, 2000), np.searchsorted(EDGES, true))
    many = ordinal.fit(often, category, EDGES)
    assert many.scale == pytest.approx(0.4, rel=0.2)
    assert many.gross == pytest.approx(0.1, abs=0.04)
    assert ordinal.fit(np.zeros(0), np.zeros(0, int), EDGES).scale == ordinal.SCALES[0]


@pytest.mark.timeout(120)
def test_a_fold_of_lesions_ends_in_its_tables(tmp_path, scans, bagged):
    run = sealed_run(tmp_path, scans, bagged)
    assert training.train_fold(run.root, 0) == 0
    files = run.fold(0)
    facts = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert facts["tables_sha256"] == {path.name: digests.file_sha256(path) for path in (files.scores, files.lesions)}
    found, every = lesion_results.read_scores(files.scores, 0, 6), lesion_results.read_lesions(files.lesions, 0)
    sliced = predictions.read_predictions(files.predictions, 0, 6)
    assert len(sliced.label) == len(found.study) * NUM_SLICES == 6 * NUM_SLICES
    sums = every[every["counted"] == 1].groupby("study")["agatston"].sum().reindex(found.study, fill_value=0.0)
    np.testing.assert_allclose(found.score, sums, atol=1e-3)
    by_study = candidates_of(run)
    for study, control in zip(found.study, found.control, strict=True):
        assert control == baseline.control(by_study[study], NUM_SLICES)["agatston_control"]
    on_slice = every[every["counted"] == 1].groupby(["study", "first_slice"])["agatston"].sum()
    at = zip(sliced.studies[sliced.study], sliced.slice, strict=True)
    wanted = np.searchsorted(EDGES, [on_slice.get(place, 0.0) for place in at])
    assert np.array_equal(sliced.probability.argmax(axis=1), wanted)
    assert set(sliced.probability.ravel()) == {0, 1}
    assert result_files.fold_is_done(files, read=True)
    files.scores.unlink()
    assert not result_files.fold_is_done(files)
    assert training.train_fold(run.root, 0) == 0
    assert result_files.fold_is_done(files, read=True)


def candidates_of(run):
    dataset = run.dataset(stored_settings.load(run.config).data.packed_dir)
    return {
        study: one
        for path in sorted(dataset.root.glob("shards/*.h5"))
        for study, one in shards.read_candidates(path).items()
    }


@pytest.mark.timeout(120)
def test_a_model_can_be_taken_from_its_file(tmp_path, scans, bagged):
    run = sealed_run(tmp_path, scans, bagged, model=bags.MODEL | {"members": 3})
    assert training.train_fold(run.root, 1) == 0
    saved = checkpoint.load(run.fold(1).model)
    assert (saved["features"], saved["candidates"]) == (list(NAMES), candidates.VERSION)
    assert saved["weights"]["share_weight"] == lesion_model.SHARE_WEIGHT[1] != lesion_model.SHARE_WEIGHT[0]
    model, every = lesion_model.from_weights(saved["weights"], saved["features"]), candidates_of(run)
    table = lesion_results.read_lesions(run.fold(1).lesions, 1)
    for study, own in table.groupby("study"):
        found = lesion_model.probabilities(model, every[study].feature_CF)
        np.testing.assert_allclose(found, own["probability"], rtol=1e-5)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_fold_of_lesions_that_was_stopped_ends_in_the_same_bytes(tmp_path, scans, bagged, monkeypatch, stop):
    def at(attempt):
        return (attempt.state.epochs, attempt.state.step) == (1, stop)

    ends = []
    for stops in (False, True):
        folder = tmp_path / str(stops)
        folder.mkdir()
        run = sealed_run(folder, scans, bagged, checkpoint_minutes=10.0, evaluate="best", class_weight="balanced")
        with monkeypatch.context() as patch:
            patch.setattr(attempts, "requested", lambda attempt: attempts.STOP if at(attempt) else attempts.GO_ON)
            if stops:
                assert training.train_fold(run.root, 0) == RESUMABLE
                weight = checkpoint.load(run.fold(0).checkpoints()[-1])["model"]["share_weight"]
                assert lesion_model.SHARE_WEIGHT[1] < weight < lesion_model.SHARE_WEIGHT[0]
        assert training.train_fold(run.root, 0) == 0
        ends.append({name: (run.fold(0).root / name).read_bytes() for name in TABLES})
    assert ends[0] == ends[1]


@pytest.mark.timeout(300)
def test_one_two_and_four_ranks_take_the_same_steps_with_lesions(tmp_path, scans, bagged):
    """Batches of 5 studies among four ranks, of which three then have one."""
    tables = []
    for ranks in (1, 2, 4):
        (tmp_path / str(ranks)).mkdir()
        run = sealed_run(tmp_path / str(ranks), scans, bagged, ranks, checkpoint_minutes=10.0)
        env = os.environ | {"PYTHONPATH": str(REPO)}
        subprocess.run(torchrun(ranks, run.root, 0), env=env, timeout=100, check=True, capture_output=True)
        tables.append([pd.read_csv(path) for path in (run.fold(0).history, run.fold(0).scores, run.fold(0).lesions)])
    for found in tables[1:]:
        for table, wanted in zip(found, tables[0], strict=True):
            pd.testing.assert_frame_equal(table, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 3.0])
def test_where_another_category_is_more_probable_than_that_of_the_score(scale):
    ends = [-math.inf, *(math.log1p(edge or 0.5) for edge in EDGES), math.inf]
    unlike = []
    for score in range(1, 1001):
        below = [1 / (1 + math.exp((math.log1p(score) - end) / scale)) if end < math.inf else 1 for end in ends[1:]]
        chance = np.diff([0, *below])
        own = sum(score > edge for edge in EDGES)
        unlike += [score] if max(chance) > chance[own] else []
    found = ordinal.other_is_likelier(scale, EDGES)
    assert [score for low, high in found for score in range(low, high + 1)] == unlike
    assert all(low > high + 1 for (_, high), (low, _) in itertools.pairwise(found))


def without_hearts(packed, folder, studies):
    """A copy of a sealed dataset in which no heart is found in some studies."""
    dataset = DatasetPaths(folder)
    shutil.copytree(packed, folder)
    table = pd.read_csv(dataset.studies, dtype=str, keep_default_na=False)
    table.loc[table["study"].isin(studies), "has_candidates"] = "False"
    table.to_csv(dataset.studies, index=False, lineterminator="\n")
    bags.vouch(dataset)
    return folder


def test_studies_without_a_heart_are_left_out_at_the_seal_and_named(tmp_path, scans, bagged, caplog):
    run = sealed_run(tmp_path, scans, without_hearts(bagged, tmp_path / "some", ["003"]))
    found = "no heart is found in 1 of 18 studies, so model.kind lesions has no candidates of them and leaves them out"
    assert f"{found}: 003" in caplog.text
    fold = splits.read_splits(run.splits)[0]
    everybody = sorted(study for part in fold.parts.values() for study in part)
    assert everybody == [f"{number:03d}" for number in range(18) if number != 3]
    assert training.train_fold(run.root, 0) == 0
    read = inputs.load(run)
    assert (len(read.studies), sorted(read.results)) == (17, [0])


def test_too_many_studies_without_a_heart_end_the_seal(tmp_path, scans, bagged, packed):
    with pytest.raises(
        InputError, match=r"in 2 of 18 studies.*: 003, 005; 11% of the studies cannot be used, pack\.lim"
    ):
        sealed_run(tmp_path, scans, without_hearts(bagged, tmp_path / "two", ["003", "005"]))
    run = tmp_path / "run"
    cfg = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(cfg.replace("rejected_studies: 0.1", "rejected_studies: 0.12"), encoding="utf-8")
    sealing.seal(run)
    (tmp_path / "all").mkdir()
    with pytest.raises(InputError, match=r"in 18 of 18 studies.*: 000, 001, .* \.\.\.; 100% of the studies cannot"):
        sealed_run(tmp_path / "all", scans, packed)


def test_candidates_that_the_shards_lack_are_missed(bagged):
    dataset = DatasetPaths(bagged)
    found, studies = bags_of.read_bags(dataset.shard(0)), sealed.read_studies(dataset)
    with pytest.raises(InputError, match=r"9 of 18 studies have no candidates in the shards: 009, 010, 011 and 6 more"):
        bags_of.collect(found, studies, EDGES, dataset)


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (TrainConfig, {"epochs": 10, "steps": 9}, r"train\.steps is 9, but must be 10 \(train.epochs\) or more"),
        (ModelConfig, {"hidden": ()}, r"model\.hidden is an empty list, but must be positive numbers"),
        (ModelConfig, {"members": 0}, r"model\.members is 0, but must be 1 to 100"),
        (AnatomyConfig, {"scale": 0.4}, r"train\.anatomy\.scale is 0\.4, but must be 0 to 0\.3"),
    ],
)
def test_settings_that_cannot_be_are_refused(section, values, said):
    with pytest.raises(InputError, match=said):
        section(**values)


def test_a_schedule_by_steps_needs_their_number(tmp_path, scans):
    with pytest.raises(
        InputError, match=r"train\.steps is not set, but must be a number of steps, as train\.schedule is"
    ):
        prepare(tmp_path, scans, train={"schedule": "one_cycle"})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("score,control", "score,controls", "found columns"),
        ("000,0,0", "000,1,0", r"found rows of fold 1, wanted fold 0 alone"),
        ("000,0,0", "000,0,7", r"found labels 1, 7, wanted 0 to 5"),
        ("001,0,1", "000,0,1", "study '000' stands there twice"),
        (",12.5,", ",-12.5,", "found a score that is no number of 0 or more"),
        (",0.75,", ",0.85,", "the probabilities of a row do not sum to 1"),
        (",0.75,", ",1.75,", "found a probability outside 0 to 1"),
    ],
)
def test_scores_that_are_not_as_they_were_written_are_refused(tmp_path, old, new, said):
    text = (
        "study,fold,label,score,control,p0,p1,p2,p3,p4,p5\n"
        "000,0,0,0,0,0.75,0.25,0,0,0,0\n001,0,1,12.5,0,0,1,0,0,0,0\n"
    )  # fmt: skip
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    found = lesion_results.read_scores(path, 0, 6)
    assert (found.study.tolist(), found.score.tolist()) == (["000", "001"], [0, 12.5])
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"scores\.csv: {said}"):
        lesion_results.read_scores(path, 0, 6)


@pytest.mark.parametrize(
    ("pack", "kind", "said"),
    [
        (
            {"slices": False},
            "slices",
            r"pack\.slices is false, but must be true, as model\.kind slices is",
        ),
        ({"candidates": False}, "lesions", r"pack\.candidates is false, but must be true, as model\.kind lesions is"),
    ],
)
def test_what_a_model_is_given_must_be_packed(tmp_path, scans, pack, kind, said):
    with pytest.raises(InputError, match=said):
        prepare(tmp_path, scans, pack=pack, model={"kind": kind})
    assert not (tmp_path / "run").exists()


def test_slices_cannot_be_augmented_where_the_model_is_given_candidates(tmp_path, scans):
    with pytest.raises(
        InputError, match=r"train\.augment is 'on', but must be off, as model\.kind lesions is given no"
    ):
        prepare(tmp_path, scans, model={"kind": "lesions"}, train={"augment": {"noise_hu": 5.0}})
    assert not (tmp_path / "run").exists()
