"""Several cohorts in one run: each with its own folders and sheet, nothing of one is taken for another's."""

import csv
import shutil

import pytest
import yaml

from cac_hpc.cluster import preflight
from cac_hpc.dataset import leaks, plan, preview, study_folders
from cac_hpc.dataset.splits import Fold
from cac_hpc.run import disk, looks, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import launch_command, stored_settings
from cac_hpc.settings.errors import InputError
from tests.support.runs import REPO, SCORES, launch, pack, write_config, write_scans

SECRET = "b9f0c2d4a1e87365"
OWN = {"study_column": "number", "score_column": "total"}


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two hospitals whose studies have the same numbers and other pixels; each sheet has its own columns."""
    root = tmp_path_factory.mktemp("two")
    write_scans(root / "east", num_studies=24)
    (root / "west").mkdir()
    east, west = ["study,score,person"], ["number,total,who"]
    for index in range(12):
        (root / "east" / f"{index + 12:03d}").rename(root / "west" / f"{index:03d}")
        east.append(f"{index:03d},{SCORES[index % 6]:g},MRN {index}")
        west.append(f"{index:03d},{SCORES[index % 6]:g},mrn {index + 10}")  # 10 and 11 are patients of the east, too
    (root / "east" / "labels.csv").write_text("\n".join(east) + "\n", encoding="utf-8")
    (root / "west" / "labels.csv").write_text("\n".join(west) + "\n", encoding="utf-8")
    return root


def listed(root, east=None, west=None, own=OWN):
    """What data.cohorts is."""
    places = ({"dicom_root": str(root / name), "sheet": str(root / name / "labels.csv")} for name in ("east", "west"))
    return [
        {"name": name, **place, **changes}
        for name, place, changes in zip(("east", "west"), places, (east or {}, own | (west or {})), strict=True)
    ]


def config_file(folder, cohorts, **others):
    """The settings of a run, without the folder and the sheet of a single cohort."""
    path = write_config(folder / "settings.yaml", folder, folder / "run", **others)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["data"]["cohorts"] = cohorts
    for section, name in (("data", "dicom_root"), ("labels", "sheet")):
        if name not in others.get(section, {}):
            del content[section][name]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def settings_of(folder, cohorts, **others):
    return launch_command.parse_launch(None, ["--config", str(config_file(folder, cohorts, **others))])[0]


def planned(folder, cohorts, **others):
    cfg, options = launch_command.parse_launch(
        None, ["--config", str(config_file(folder, cohorts, **others)), "--dry_run"]
    )
    assert launch.launch(cfg, options, REPO) == 0
    return RunPaths(folder / "run")


def test_studies_of_the_same_number_are_two_and_every_file_has_its_cohort(tmp_path, two, capsys):
    shutil.copytree(two, tmp_path / "two")
    root = tmp_path / "two"
    (root / "east" / "notes.txt").write_text("beside")
    for name in ("a", "b"):
        (root / "west" / name).write_text("beside")
    (root / "west" / "011" / "thumbs.db").write_text("no image")
    for path in (root / "east" / "003").glob("*"):
        path.write_bytes(b"damaged")
    with (root / "west" / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("900,3,none\n")
    shutil.copytree(root / "west" / "010", root / "west" / "unread")
    run = planned(tmp_path, listed(root, west={"unmatched": "skip"}))
    said = capsys.readouterr().out.replace("\n", " ")
    assert "cohort west: left out: study 'unread'" in said
    assert "cohort west: 13 studies, 12 of them with a label" in said
    pack(run.root)
    dataset = run.dataset(None)
    studies = rows(dataset.studies)
    every = [f"{name}.{index:03d}" for name in ("east", "west") for index in range(12)]
    assert [row["study"] for row in studies] == [study for study in every if study != "east.003"]
    assert all(row["site"] == row["study"].partition(".")[0] and row["patient"] == row["study"] for row in studies)
    rejected = rows(dataset.rejected)
    assert {(row["study"], row["reason"]) for row in rejected if row["reason"] == "outside_study"} == {
        ("east.", "outside_study"), ("west.", "outside_study")}  # fmt: skip
    intake = disk.read_json(dataset.intake)
    found = intake["cohorts"]
    assert found["east"]["studies"] == {
        "found": 12, "without_label": 0, "labelled": 12, "used": 11, "refused": {"not_dicom": 1},
        "rows_without_study": 0,
    }  # fmt: skip
    assert found["west"]["studies"]["without_label"] == found["west"]["studies"]["rows_without_study"] == 1
    assert found["west"]["files"]["rejected"] == {"no_label": 6, "outside_study": 2, "not_dicom": 1}
    assert found["east"]["files"]["rejected"] == {"not_dicom": 6, "outside_study": 1}
    for name, counts in intake["files"].items():
        if name != "rejected":
            assert counts == sum(one["files"][name] for one in found.values())
    for one in found.values():
        assert one["files"]["found"] == one["files"]["used"] + sum(one["files"]["rejected"].values())
    assert [found[name]["categories"]["used"] for name in found] == [[2, 2, 2, 1, 2, 2], [2] * 6]
    assert "900" not in dataset.studies.read_text(encoding="utf-8")
    screen = capsys.readouterr().out
    assert "without a label" in screen[screen.index("Cohorts") :]


def test_a_shard_is_of_one_cohort_and_the_labels_are_those_of_its_sheet(tmp_path, two):
    found = plan.make_plan(settings_of(tmp_path, listed(two), pack={"studies_per_shard": 5}))
    assert [{study.partition(".")[0] for study in shard} for shard in found.shards] == [{"east"}] * 3 + [{"west"}] * 3
    assert [len(shard) for shard in found.shards] == [5, 5, 2] * 2
    assert {label.site for label in found.labels.values()} == {"east", "west"}
    assert [found.labels[f"west.{index:03d}"].score for index in range(6)] == list(SCORES)


def test_no_two_names_become_one_key(tmp_path, two):
    root = tmp_path / "scans"
    for one, other in (("A", "1-2"), ("A-1", "2"), ("A", "1.2"), ("a_1", "2")):
        shutil.copytree(two / "east" / "000", root / one / other)
    cohorts = []
    for name in ("A", "A-1", "a_1"):
        sheet = tmp_path / f"{name}.csv"
        sheet.write_text("study,score\n" + "".join(f"{one.name},3\n" for one in (root / name).iterdir()))
        cohorts.append({"name": name, "dicom_root": str(root / name), "sheet": str(sheet)})
    cfg = settings_of(tmp_path, cohorts, report={"near_equal_ids": "warn"})
    keys = [study for found in study_folders.by_key(cfg).values() for study in found]
    assert sorted(keys) == ["A-1.2", "A.1-2", "A.1.2", "a_1.2"]
    folders = [folder for found in study_folders.by_key(cfg).values() for folder in found.values()]
    assert len({*folders}) == 4


def test_pseudonyms_stand_for_cohort_and_folder(tmp_path, two):
    (tmp_path / "key").write_text(SECRET, encoding="utf-8")
    found = plan.make_plan(settings_of(tmp_path, listed(two), data={"pseudonym_key": str(tmp_path / "key")}))
    every = {
        study_folders.pseudonym(f"{name}.{index:03d}", SECRET.encode()): name
        for name in ("east", "west")
        for index in range(12)
    }
    assert {study: label.site for study, label in found.labels.items()} == every


PEOPLE = {"east": {"patient_column": "person"}, "west": {"patient_column": "who"}}


def test_patients_of_two_sheets_are_different_people(tmp_path, two):
    found = plan.make_plan(settings_of(tmp_path, listed(two, **PEOPLE)))
    assert len({label.patient for label in found.labels.values()}) == 24
    assert found.labels["east.000"].patient == "east.P0001"
    assert "MRN" not in str(found.labels)
    assert not found.warnings


def test_patients_are_the_same_where_the_settings_say_that_identifiers_are_shared(tmp_path, two):
    found = plan.make_plan(settings_of(tmp_path, listed(two, **PEOPLE), data={"shared_patients": True}))
    assert found.labels["east.010"].patient == found.labels["west.000"].patient
    assert len({label.patient for label in found.labels.values()}) == 22
    assert found.warnings == ["2 of 22 patients are in several cohorts (data.shared_patients)"]
    together = [fold.parts for fold in found.folds]
    for study, other in (("east.010", "west.000"), ("east.011", "west.001")):
        assert all((study in part) == (other in part) for parts in together for part in parts.values())


def test_one_patient_in_two_cohorts_without_a_word_is_found_by_the_pixels(tmp_path, two):
    shutil.copytree(two, tmp_path / "two")
    shutil.copytree(tmp_path / "two" / "east" / "002", tmp_path / "two" / "west" / "002", dirs_exist_ok=True)
    for path in (tmp_path / "two" / "west" / "002").iterdir():
        path.unlink()
    for path in (tmp_path / "two" / "east" / "002").iterdir():
        shutil.copy(path, tmp_path / "two" / "west" / "002")
    run = planned(tmp_path, listed(tmp_path / "two"))
    with pytest.raises(InputError, match=r"equal pixel by pixel.*'east.002' and 'west.002'"):
        pack(run.root)


def test_numbers_of_different_cohorts_may_be_nearly_equal(tmp_path, two):
    cfg = settings_of(tmp_path, listed(two))
    folds = [Fold(["east.001", "east.1"], ["west.1"], ["west.01", "east.2"])]
    patient = {study: study for study in ("east.001", "west.1", "east.2")}
    assert leaks.check_ids(folds, patient, cfg)["passed"]
    with pytest.raises(InputError, match=r"'west.01' and 'west.1'|'west.1' and 'west.01'"):
        leaks.check_ids(folds, patient | {"west.01": "other"}, cfg)


def test_headers_are_looked_at_in_turn(tmp_path, two, monkeypatch):
    monkeypatch.setattr(preview, "MOST_FILES", 20)
    cfg = settings_of(tmp_path, listed(two))
    found = preview.of_headers(
        cfg, study_folders.by_key(cfg), ["east.000", "west.000", "east.001", "west.001", "east.002"]
    )
    assert found.looked_at == 4
    assert "headers of 4 of 24 studies" in found.lines[-1]


def test_moved_cohorts_are_the_same_dataset_and_other_labels_are_another(tmp_path, two):
    before = plan.make_plan(settings_of(tmp_path, listed(two)))
    shutil.copytree(two, tmp_path / "moved")
    assert plan.make_plan(settings_of(tmp_path, listed(tmp_path / "moved"))).sha256 == before.sha256
    renamed = listed(two)
    renamed[0]["name"] = "north"
    assert plan.make_plan(settings_of(tmp_path, renamed)).sha256 != before.sha256
    sheet = tmp_path / "moved" / "west" / "labels.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("011,2000", "011,2001"), encoding="utf-8")
    assert plan.make_plan(settings_of(tmp_path, listed(tmp_path / "moved"))).sha256 != before.sha256


def test_settings_of_cohorts_survive_the_run_folder_and_paths_become_absolute(tmp_path, two, monkeypatch):
    monkeypatch.chdir(two)
    cohorts = [{**one, "dicom_root": one["name"], "sheet": f"{one['name']}/labels.csv"} for one in listed(two)]
    cfg = settings_of(tmp_path, cohorts)
    assert [(one.dicom_root, one.sheet) for one in cfg.data.cohorts] == [
        (str(two / name), str(two / name / "labels.csv")) for name in ("east", "west")
    ]
    run = planned(tmp_path, cohorts)
    assert stored_settings.load(run.config) == cfg
    other = ["--resume", str(run.root), "--dry_run", "--data.cohorts", str(listed(two, west={"study_column": "who"}))]
    with pytest.raises(InputError, match=r"found / wanted: data.cohorts\[1\].study_column: 'number' / 'who'\)"):
        launch.launch(*launch_command.parse_launch(None, other), REPO)


@pytest.mark.parametrize(
    ("index", "change", "said"),
    [
        (0, {"name": None}, ".name is not set, but must be text"),
        (1, {"name": "East"}, ".name is 'East', but must be another name than data.cohorts[0].name"),
        (0, {"name": "a/b"}, ".name is 'a/b', but must be a letter, and up to 19"),
        (0, {"name": "1"}, ".name is '1', but must be a letter"),
        (0, {"name": "a.b"}, ".name is 'a.b', but must be a letter"),
        (0, {"name": "unknown"}, ".name is 'unknown', but must be another name: it says that"),
        (1, {"dicom_root": None}, ".dicom_root is not set, but must be text"),
        (1, {"sheet": None}, ".sheet is not set, but must be the path of a .csv"),
        (1, {"unmatched": "never"}, ".unmatched is 'never', but must be stop or skip"),
        (
            1,
            {"source": "masks", "sheet": None},
            ".masks is not set, but must be a folder of masks, or a path with {study}",
        ),
        (1, {"masks": "m"}, ".masks is 'm', but must be null, as data.cohorts[1].source is not masks"),
        (
            1,
            {"patient_column": "number"},
            ".*_column is number, total, number, but must be different columns: 'number' twice",
        ),
        (1, {"source": "sr", "patient_column": "who"}, ".patient_column is 'who', but must be null: only a sheet"),
        (1, {"vessel_columns": ["LAD"]}, ".vessel_columns is LAD, but must be two columns"),
        (
            1,
            {"group_columns": ["ward"]},
            ".group_columns is ward, but must be some of labels.group_columns",
        ),
        (1, {"format": "tiff"}, ".format is 'tiff', but must be auto, dicom, nifti or nrrd"),
    ],
)
def test_a_wrong_setting_of_a_cohort_is_named_in_one_line(tmp_path, two, index, change, said):
    cohorts = listed(two)
    cohorts[index] = {name: value for name, value in (cohorts[index] | change).items() if value is not None}
    with pytest.raises(InputError) as error:
        settings_of(tmp_path, cohorts)
    assert str(error.value).startswith(f"data.cohorts[{index}]{said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dicomroot", "did you mean data.cohorts[1].dicom_root?"), ("edges", "--help lists the settings")],
)
def test_a_setting_that_no_cohort_has_is_named(tmp_path, two, name, hint):
    with pytest.raises(InputError) as error:
        settings_of(tmp_path, listed(two, west={name: "x"}))
    assert str(error.value) == f"no setting {name!r} in data.cohorts[1] ({hint})"


def test_cohorts_that_are_folders_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cohorts\[0\] is 'east', but must be a section, .* each of its settings$"):
        settings_of(tmp_path, ["east", "west"])


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"data": {"dicom_root": "scans"}}, "data.dicom_root is 'scans', but must be left out: each of"),
        ({"labels": {"sheet": "labels.csv"}}, "labels.sheet is 'labels.csv', but must be left out: each of"),
        ({"labels": {"masks": "masks", "source": "masks"}}, "labels.masks is 'masks', but must be left out"),
        ({"pack": {"regions": "{study}.nrrd"}}, "pack.regions is '{study}.nrrd', but must be a path with"),
        ({"data": {"shared_patients": True}}, "data.shared_patients is true, but must be false where fewer than"),
    ],
)  # fmt: skip
def test_settings_of_one_cohort_beside_several_are_refused(tmp_path, two, others, said):
    with pytest.raises(InputError) as error:
        settings_of(tmp_path, listed(two), **others)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cohorts", "said"),
    [
        ("east.yaml", "data.cohorts is 'east.yaml', but must be a list of sections"),
        ({"east": {}}, "data.cohorts is a mapping, but must be a list of sections"),
        (["east"], "data.cohorts[0] is 'east', but must be a section"),
        ([{"name": "a", "dicom_root": "s", "sheet": "a"}], "data.cohorts is a, but must be two cohorts or more"),
        ([], "data.dicom_root is '', but must be the folder that holds the study folders"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_cohorts_is_refused(tmp_path, cohorts, said):
    with pytest.raises(InputError) as error:
        settings_of(tmp_path, cohorts)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dicom_root": "east"},
            r"[1].dicom_root is '.*east', the same folder as C[0].dicom_root; wanted each folder once",
        ),
        ({"dicom_root": "link"}, r"[1].dicom_root is '.*link', the same folder as C[0].dicom_root"),
        ({"dicom_root": "."}, r"[0].dicom_root is '.*east', which lies in C[1].dicom_root, '.*'; wanted folders apart"),
        ({"dicom_root": "east/001/sub"}, r"[1].dicom_root is '.*sub', which lies in C[0].dicom_root"),
        ({"dicom_root": "wst"}, r"[1].dicom_root is '.*wst', but there is no such folder; did you mean"),
        ({"dicom_root": "none"}, r"[1].dicom_root is '.*none', but has no folder in it"),
        ({"sheet": "west.csv"}, r"[1].sheet is '.*west.csv': there is no such file"),
        ({"source": "sr", "sheet": None}, r"[1].source sr: 12 faults"),
        (
            {"source": "masks", "sheet": None, "masks": "none"},
            r"[1].masks is '.*none': found no mask of any of 12 studies",
        ),
    ],
)
def test_wrong_folders_and_sheets_of_a_cohort_are_named(tmp_path, two, change, said):
    shutil.copytree(two, tmp_path / "two")
    (tmp_path / "two" / "none").mkdir()
    (tmp_path / "two" / "east" / "001" / "sub" / "1").mkdir(parents=True)
    (tmp_path / "two" / "link").symlink_to(tmp_path / "two" / "east")
    there = {name: value and str(tmp_path / "two" / value) for name, value in change.items() if name != "source"}
    cfg = settings_of(tmp_path, listed(tmp_path / "two", west=change | there))
    said = said.replace("C[", "data.cohorts[").replace("[", r"\[")
    with pytest.raises(InputError, match=rf"^data.cohorts{said}"):
        plan.make_plan(cfg)


def test_a_sheet_without_the_columns_of_its_cohort_is_named(tmp_path, two):
    cfg = settings_of(tmp_path, listed(two, own={}))
    with pytest.raises(InputError, match=r"west/labels.csv: .*set data.cohorts\[1\].study_column, data.cohorts\[1\]"):
        plan.make_plan(cfg)


def test_a_cohort_of_which_nothing_can_be_read_is_refused_by_name(tmp_path, two):
    shutil.copytree(two, tmp_path / "two")
    for path in (tmp_path / "two" / "west").glob("*/*"):
        path.write_bytes(b"damaged")
    run = planned(tmp_path, listed(tmp_path / "two"), pack={"limits": {"rejected_studies": 0.6}})
    with pytest.raises(InputError, match=r"cohort west: none of its 12 studies can be used \(12 not_dicom\)"):
        pack(run.root)


def test_a_mask_is_looked_for_in_the_folder_of_its_cohort(tmp_path, two):
    cfg = settings_of(tmp_path, listed(two), pack={"regions": str(tmp_path / "{cohort}" / "{study}.nrrd")})
    assert [cohort.cfg.pack.regions for cohort in cfg.by_cohort()] == [
        str(tmp_path / name / "{study}.nrrd") for name in ("east", "west")
    ]


def test_settings_of_labels_hold_for_all_cohorts_and_those_of_one_go_before(tmp_path, two):
    cfg = settings_of(tmp_path, listed(two, east={"unmatched": "stop"}), labels={"unmatched": "skip"})
    assert [cohort.cfg.labels.unmatched for cohort in cfg.by_cohort()] == ["stop", "skip"]
    assert [cohort.cfg.labels.study_column for cohort in cfg.by_cohort()] == ["study", "number"]
    alone = stored_settings.load(write_config(tmp_path / "settings.yaml", two / "east", tmp_path / "run"))
    assert [(cohort.name, cohort.cfg) for cohort in alone.by_cohort()] == [("", alone)]


def test_the_site_of_a_patient_can_be_held_out(tmp_path, two):
    scheme = {"scheme": "leave_one_out", "group": "site", "folds": 2}
    found = plan.make_plan(settings_of(tmp_path, listed(two), split=scheme))
    assert [{study.partition(".")[0] for study in fold.test} for fold in found.folds] == [{"east"}, {"west"}]


def test_sites_are_subgroups_of_a_run_with_cohorts_alone(tmp_path, two):
    assert settings_of(tmp_path, listed(two), data={"subgroups": ["site"]}).data.subgroups == ("site",)
    alone = write_config(tmp_path / "s.yaml", two, tmp_path / "run", data={"subgroups": ["site"]})
    with pytest.raises(InputError, match=r"data.subgroups is .* without site, as there are no data.cohorts"):
        stored_settings.load(alone)


def test_a_column_that_one_sheet_has_forms_groups_and_site_does_so_with_cohorts_alone(tmp_path, two):
    without = {"group_columns": []}
    person = {"labels": {"group_columns": ["person"]}, "split": {"group": "person"}}
    cfg = settings_of(tmp_path, listed(two, west=without), **person)
    assert [cohort.cfg.labels.group_columns for cohort in cfg.by_cohort()] == [("person",), ()]
    with pytest.raises(InputError, match=r"split.group is 'site', but must be one of scanner "):
        stored_settings.load(write_config(tmp_path / "settings.yaml", two, tmp_path / "run", split={"group": "site"}))


def test_a_value_that_cohorts_spell_differently_is_one_group_and_their_values_are_counted_together(tmp_path, two):
    for name, spelled in (("east", "North Gate"), ("west", "NORTH  gate")):
        lines = (two / name / "labels.csv").read_text(encoding="utf-8").splitlines()
        more = [f"{line},{spelled if index < 6 else f'{name} ward {index % 11}'}" for index, line in enumerate(lines)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"{lines[0]},ward", *more[1:]]) + "\n", encoding="utf-8")
    sheets = ({"sheet": str(tmp_path / f"{name}.csv")} for name in ("east", "west"))
    cfg = settings_of(tmp_path, listed(two, *sheets), labels={"group_columns": ["ward"]})
    found = plan.make_plan(cfg).labels.values()
    assert [label.groups["ward"] for label in found].count("NORTH gate") == 10
    assert len({label.groups["ward"] for label in found}) == 15


def test_a_node_that_does_not_see_every_cohort_packs_nothing(tmp_path, two):
    shutil.copytree(two, tmp_path / "two")
    run = planned(tmp_path, listed(tmp_path / "two"))
    cfg, pack_stage = stored_settings.load(run.config), next(stage for stage in stages.STAGES if stage.name == "pack")
    assert preflight.fault(run, cfg, pack_stage) is None
    shutil.rmtree(tmp_path / "two" / "west")
    assert str(tmp_path / "two" / "west") in str(preflight.fault(run, cfg, pack_stage))


def test_a_run_of_one_cohort_alone_is_of_the_same_patients(tmp_path, two):
    cfg, other = settings_of(tmp_path, listed(two)), tmp_path / "other"
    for root, same in ((two / "west", True), (two / "elsewhere", False)):
        other.mkdir(exist_ok=True)
        write_config(other / "config.yaml", root, other)
        assert looks._same_patients(RunPaths(tmp_path / "run"), cfg, other) == same


def test_a_path_of_a_cohort_that_no_terminal_gives_back_is_named(tmp_path, two):
    shutil.copytree(two / "west", tmp_path / "we\u2028st")
    with pytest.raises(InputError, match=r"data.cohorts\[1\].dicom_root is .* with '\\u2028'"):
        planned(tmp_path, listed(two, west={"dicom_root": str(tmp_path / "we\u2028st")}))
