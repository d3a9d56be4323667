"""Groups that the model never saw: their figures beside those of patient folds, the loss, and what is said of it."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from cac_hpc.dataset import held_out, splits, stratification
from cac_hpc.dataset.held_out import Groups
from cac_hpc.evaluation import contrast, inputs, unseen
from cac_hpc.report import aggregation, consistency, markdown
from cac_hpc.results.figures import Absent
from cac_hpc.results.matrices import Published
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import group_parts
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.statistics import agreement, intervals
from tests.support.reports import make_run, report_of, write_fold

NAMES = ("new", "old", "plain")  # 12 patients each; and 3 of a small group
STUDIES = {f"{name}{index:02d}": (name, index % 6) for name in NAMES for index in range(12)}
STUDIES |= {f"few{index}": ("few", index) for index in range(3)}
SCANNERS = Groups("scanner", {study: name for study, (name, _) in STUDIES.items()}, NAMES)
OLD = {5: 2, 4: 1, 3: 1, 2: 0}  # categories that an unseen old scanner's patients are given


def said(study, seen):
    """The category that is predicted of each slice."""
    name, label = STUDIES[study]
    return [label if seen or name != "old" else OLD.get(label, label)] * 3


@pytest.fixture(scope="module")
def by_patient(tmp_path_factory):
    """A finished run by patient folds that is right in all but one patient of each scanner."""
    predicted = {(study, label): said(study, True) for study, (_, label) in STUDIES.items()}
    for name in NAMES:
        predicted[f"{name}00", 0] = [1, 1, 1]
    run = make_run(tmp_path_factory.mktemp("folds"), predicted, report={"figure_dpi": 50, "draws": 500})
    assert aggregation.aggregate(run.root)
    return run


def unseen_run(folder, reference, say=said, named=None, groups=SCANNERS, **changes):
    """A run of the same patients that leaves a group out in each fold."""
    run, cfg = RunPaths(folder / "unseen"), stored_settings.load(reference.config)
    split = dataclasses.replace(
        cfg.split, scheme="leave_one_out", group="scanner", folds=3, contrast_to=named, **changes
    )
    data = dataclasses.replace(cfg.data, packed_dir=str(reference.dataset(None).root))
    run.root.mkdir()
    cfg = dataclasses.replace(cfg, run=str(run.root), split=split, data=data)
    disk.write_text(run.config, config.to_yaml(cfg))
    held_out.write(run.groups, groups)
    patient, category = ({study: study for study in STUDIES}, {study: label for study, (_, label) in STUDIES.items()})
    folds = stratification.make_folds(patient, category, cfg.split, groups=groups)
    studies_sha256 = digests.file_sha256(reference.dataset(None).studies)
    splits.write_splits(run.splits, folds, cfg.split, studies_sha256, (), digests.file_sha256(run.groups))
    for index, fold in enumerate(folds):
        write_fold(run, index, {(study, STUDIES[study][1]): say(study, False) for study in fold.test})
    return run


@pytest.fixture(scope="module")
def reported(tmp_path_factory, by_patient):
    run = unseen_run(tmp_path_factory.mktemp("unseen"), by_patient, named=str(by_patient.root))
    assert aggregation.aggregate(run.root)
    return run


def test_the_scanner_that_is_worse_where_it_was_never_seen_is_found_and_named(reported, by_patient):
    report = from_json(report_of(reported), Report)
    assert [(group.name, group.patients, group.fold) for group in report.unseen.groups] == [
        ("new", 12, 0), ("old", 12, 1), ("plain", 12, 2), ("few", 3, None)
    ]  # fmt: skip
    new, old, plain, every = report.drops.groups
    assert (report.drops.run, report.drops.trained) == ("run", pytest.approx(30.2))  # of 39: less a fifth, and one
    assert report.prediction_sets.promised is None  # groups need not be alike
    assert from_json(report_of(by_patient), Report).prediction_sets.promised is not None
    assert old.differences["accuracy"].reference == pytest.approx(11 / 12)
    assert old.differences["accuracy"].other == pytest.approx(4 / 12)  # categories 0 and 1
    assert old.differences["two_or_more_off"].difference == pytest.approx(8 / 12)
    assert new.differences["accuracy"].difference == plain.differences["accuracy"].difference == pytest.approx(1 / 12)
    assert every.patients == 36
    assert every.differences["accuracy"].difference == pytest.approx((4 + 12 + 12 - 33) / 36)
    (line,) = group_parts.verdict(report)
    assert line.startswith(
        "**Worse on an unseen scanner: old.** Where it was never seen its 12 patients have quadratic"
    )
    assert "3 of 3 were judged" in line


def test_page_text_tables_and_figure_say_it(reported):
    text = (reported.report / "report.md").read_text(encoding="utf-8")
    page = (reported.report / "report.html").read_text(encoding="utf-8")
    for said_in in (text, page):
        assert "Groups that the model never saw" in said_in
        assert "Not tested: patients of few 3." in said_in
        assert "fold 1: old" in said_in  # whose prediction sets
    assert text.count("Worse on an unseen scanner: old.") == 2  # what came out, and the section
    with (reported.report / "tables" / "groups.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["group"], row["figure"]): row for row in csv.DictReader(file)}
    assert float(rows["old", "accuracy"]["difference"]) == pytest.approx(-7 / 12)
    assert rows["few", ""]["patients"] == "3"
    assert "never seen" in (reported.report / "tables" / "groups.tex").read_text(encoding="utf-8")
    assert (reported.report / "figures" / "groups.svg").is_file()


def test_what_others_have_written_means_nothing_in_the_text(reported):
    report = from_json(report_of(reported), Report)
    split = dataclasses.replace(report.split, group="ward <b>x</b>")
    pooled = report.levels["patient"].pooled
    known = {spec.name: getattr(pooled, spec.name) for spec in dataclasses.fields(pooled)}
    of = {spec.name: known.get(spec.name) for spec in dataclasses.fields(Published)}
    published = Published(**{**of, "title": "<i>A *study*</i>", "level": "patient"})
    text = markdown.text(dataclasses.replace(report, split=split, published=published))
    assert text.count("leave-one-ward \\<b\\>x\\</b\\>-out") == 1
    assert "Published (\\<i\\>A \\*study\\*\\</i\\>; other data)" in text
    assert "<b>" not in text.replace("\\<b", "")


def test_a_report_that_says_another_loss_is_contradicted(reported):
    summary, cfg = report_of(reported), stored_settings.load(reported.config)
    assert consistency.contradictions(reported, cfg, summary) == []
    accuracy = summary["drops"]["groups"][1]["differences"]["accuracy"]
    accuracy |= {"other": 0.5, "difference": 0.5 - accuracy["reference"]}
    found = "\n".join(consistency.contradictions(reported, cfg, summary))
    assert "drops.groups[1].differences.accuracy.other: found 0.5" in found


def test_patients_of_one_category_have_no_kappa_and_are_judged_by_accuracy(tmp_path, by_patient, monkeypatch):
    of_study = {study: "high" if label == 5 else "ab"[label % 2] for study, (_, label) in STUDIES.items()}
    wrong = {study: [4, 4, 4] for study, name in of_study.items() if name == "high"}
    run = unseen_run(tmp_path, by_patient, lambda study, seen: wrong.get(study, said(study, True)),
                     str(by_patient.root), Groups("scanner", of_study, ("a", "b", "high")))  # fmt: skip
    assert aggregation.aggregate(run.root)
    report = from_json(report_of(run), Report)
    high = report.drops.groups[2]
    assert (high.name, high.patients, high.unseen["kappa_quadratic"].value) == ("high", 6, None)
    assert high.differences["accuracy"].difference == -1
    (section,) = group_parts.sections(report)
    assert "high: quadratic kappa: all patients are of one category." in section.lines
    assert "Fewer than 10 patients, so counted and not judged: high." in section.lines
    assert group_parts.verdict(report) == [
        "No scanner was found worse where it was never seen than in patient folds: 2 of 3 were judged."
    ]
    monkeypatch.setattr(group_parts, "FEWEST", 6)
    assert group_parts._judged(high) == ("accuracy", high.differences["accuracy"])


def test_a_rare_value_of_a_sheet_is_withheld_where_its_group_is_not_tested(reported):
    found = inputs.load(reported, alone=True)
    wards = dataclasses.replace(SCANNERS, fact="ward")

    def others(smallest, groups=wards):
        intake = {**found.intake, "subgroups": {"smallest_group": smallest, "people": ["group_ward", "sex"]}}
        said = unseen.of_run(dataclasses.replace(found, groups=groups, intake=intake))
        return [(group.name, group.patients) for group in said.groups if group.fold is None]

    assert others(4) == [("withheld", 3)]
    assert others(3) == others(4, SCANNERS) == [("few", 3)]


def test_without_the_other_run_the_groups_stand_alone(tmp_path, by_patient):
    run = unseen_run(tmp_path, by_patient)
    run.fold(2).predictions.unlink()
    aggregation.aggregate(run.root)
    report = from_json(json.loads((run.report / "report.json").read_text()), Report)
    assert report.status == "PARTIAL"
    assert report.drops is None
    assert (report.split.group, report.split.smallest_group) == ("scanner", 10)
    assert [bool(group.figures) for group in report.unseen.groups] == [True, True, False, False]
    (section,) = group_parts.sections(report)
    assert "each of 2 groups was tested by a model" in section.lines[0]
    assert section.lines[0].endswith("The fold of plain is missing.")
    assert "Not compared with patient folds: folds are missing." in section.lines
    whole = [dataclasses.replace(one, figures=report.unseen.groups[0].figures) for one in report.unseen.groups]
    complete = dataclasses.replace(report, unseen=dataclasses.replace(report.unseen, groups=whole))
    (section,) = group_parts.sections(complete)
    assert "split.contrast_to" in " ".join(section.lines)
    (tmp_path / "second").mkdir()
    second = unseen_run(tmp_path / "second", by_patient, named=str(run.root))
    with pytest.raises(InputError, match=r"whose split.scheme is leave_one_out; wanted the run by patient folds"):
        contrast.check(stored_settings.load(second.config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "which has other settings .*split.seed: 0 / 3"),
        ({"val_fraction": 0.3}, "split.val_fraction"),
    ],
)
def test_the_other_run_is_like_it_in_all_but_the_scheme(tmp_path, by_patient, changes, message):
    run = unseen_run(tmp_path, by_patient, named=str(by_patient.root), **changes)
    with pytest.raises(InputError, match=message):
        contrast.check(stored_settings.load(run.config))


def test_intervals_of_the_loss_hold_it_in_most_cohorts_of_twenty():
    """Twenty patients, right in 0.88 of them where their group was seen and in 0.6 where not; docs/report.md."""
    rng, held = np.random.default_rng(0), []
    truth = _loss(*_cohort(rng, 400_000))
    for number in range(120):
        one, other = (_cells(*pair) for pair in _pairs(_cohort(rng, 20)))
        weight = intervals.draw(20, range(400), number)
        found = [agreement.kappa((weight @ cells).reshape(-1, 6, 6), 2) for cells in (one, other)]
        interval = intervals.bootstrap(found[1] - found[0], 20)
        held.append(interval.low is not None and interval.low <= truth <= interval.high)
    assert 0.84 <= np.mean(held) <= 0.97


def _cohort(rng, count):
    label = rng.integers(0, 6, count)
    seen, alone = (_predicted(rng, label, *one) for one in ((0.88, 0.5, 0.1), (0.6, 0.9, 0.4)))
    return label, seen, np.where(rng.random(count) < 0.3, seen, alone)


def _predicted(rng, label, right, over, two):
    step = np.where(rng.random(len(label)) < over, 1, -1) * np.where(rng.random(len(label)) < two, 2, 1)
    return np.clip(np.where(rng.random(len(label)) > right, label + step, label), 0, 5)


def _pairs(cohort):
    label, *predicted = cohort
    return [(label, one) for one in predicted]


def _cells(label, predicted):
    return np.eye(36)[label * 6 + predicted]


def _loss(label, seen, unseen):
    one, other = (agreement.kappa(np.bincount(label * 6 + said, minlength=36).reshape(6, 6).astype(float), 2)
                  for said in (seen, unseen))  # fmt: skip
    return other - one


def test_a_run_that_is_gone_leaves_the_groups_and_a_note(tmp_path, by_patient):
    run = unseen_run(tmp_path, by_patient, named=str(tmp_path / "gone"))
    drops = unseen.drops(inputs.load(run))
    assert isinstance(drops, Absent)
    assert "where no run is" in drops.note
    assert str(tmp_path) not in drops.note
