"""Settings: where they come from, and that a typo costs a second."""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import config, launch_command, setting_names, stored_settings
from cac_hpc.settings.cluster import ClusterConfig, Resources
from cac_hpc.settings.data import DataConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.report import ReportConfig
from cac_hpc.settings.split import SplitConfig
from cac_hpc.settings.train import AugmentConfig, TrainConfig
from tests.support.runs import REPO, job
from tests.support.settings import asked, parse
from tests.support.waiting import fastest


def test_the_command_line_overrides_a_section_file_and_that_the_settings(tmp_path, minimal):
    section = tmp_path / "mysite.yaml"
    section.write_text("partition: short\nqos: night\ncpus_per_rank: 3\n", encoding="utf-8")
    cfg = parse("--config", minimal, "--cluster", section, "--cluster.qos", "day")
    assert (cfg.cluster.partition, cfg.cluster.qos, cfg.cluster.cpus_per_rank) == ("short", "day", 3)
    assert cfg.cluster.ranks_per_node == 2  # of the settings file, the section file is silent


def test_the_environment_fills_in_settings(minimal, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH_FOR_TEST", str(tmp_path / "fast"))
    content = yaml.safe_load(minimal.read_text(encoding="utf-8"))
    content["data"]["packed_dir"] = "${oc.env:SCRATCH_FOR_TEST}/packed"
    minimal.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert parse("--config", minimal).data.packed_dir == str(tmp_path / "fast" / "packed")


def test_a_variable_that_is_not_set_is_named(minimal):
    content = minimal.read_text(encoding="utf-8").replace("epochs: 4", "epochs: ${oc.env:NO_SUCH_VARIABLE}")
    minimal.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="NO_SUCH_VARIABLE"):
        parse("--config", minimal)


def test_the_published_study_is_what_paper_yaml_says(monkeypatch):
    monkeypatch.setenv("CAC_DICOM_ROOT", "scans")
    monkeypatch.setenv("CAC_LABELS", "labels.csv")
    cfg = parse("--config", REPO / "configs" / "paper.yaml", "--cluster", REPO / "configs" / "cluster" / "gpu.yaml")
    assert (cfg.train.epochs, cfg.train.batch_size, cfg.train.learning_rate, cfg.train.min_learning_rate) == (
        15, 32, 1e-4, 1e-6)  # fmt: skip
    assert (cfg.model.filters, cfg.model.dropout, cfg.model.dense) == ((32, 64, 128, 256, 512), 0.3, 512)
    assert cfg.labels.edges == (0, 10, 100, 400, 1000)
    assert cfg.model.kernel == 3
    assert not cfg.train.augment.active


def test_augmentation_is_set_in_the_file_and_on_the_command_line(minimal):
    content = yaml.safe_load(minimal.read_text(encoding="utf-8"))
    content["train"]["augment"] = {"shift": 0.05, "noise_hu": 12}
    minimal.write_text(yaml.safe_dump(content), encoding="utf-8")
    cfg = parse("--config", minimal, "--train.augment.rotation_deg", "5", "--train.augment.flip_left_right", "true")
    assert cfg.train.augment == AugmentConfig(shift=0.05, noise_hu=12, rotation_deg=5, flip_left_right=True)
    assert cfg.train.epochs == 4  # the rest of the section stays


@pytest.mark.parametrize(
    ("name", "value", "moves"),
    [
        ("rotation_deg", 5.0, True),
        ("shift", 0.1, True),
        ("scale", 0.1, True),
        ("flip_left_right", True, True),
        ("noise_hu", 10.0, False),
        ("offset_hu", 10.0, False),
    ],
)
def test_one_setting_switches_augmentation_on(name, value, moves):
    assert not AugmentConfig().active
    assert AugmentConfig(**{name: value}).active
    assert AugmentConfig(**{name: value}).moves == moves


@pytest.mark.parametrize("name", ["local", "dev", "gpu"])
def test_every_cluster_file_fits_the_demo(name):
    cluster = REPO / "configs" / "cluster" / f"{name}.yaml"
    cfg = parse("--config", REPO / "configs" / "demo.yaml", "--cluster", cluster)
    assert cfg.cluster.ranks == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train.epoch", "3"], "did you mean train.epochs?"),
        (["--train.epochs", "many"], "train.epochs is 'many', but must be a whole number"),
        (["--train.epochs", "0"], "train.epochs is 0, but must be 1 or more"),
        (["--train.precision", "fp8"], "fp8"),
        (["--train.precision", "fp16"], "train.precision is 'fp16', but must be fp32 or bf16 when train.device is cpu"),
        (["--train.window_hu", "[100, 100]"], "-32768 <= low < high <= 32767"),
        (["--pack.size", "7"], "pack.size is 7"),
        (
            ["--pack.size", "8", "--model.filters", "[8,8,8,8]"],
            "at least 16: model.filters halves it 4 times (8 -> 4 -> 2 -> 1 -> 0)",
        ),
        (["--model.kernel", "4"], "model.kernel is 4, but must be an odd number, 1 or more"),
        (["--model.kernel", "-1"], "model.kernel is -1"),
        (["--train.augment.rotation_deg", "181"], "train.augment.rotation_deg is 181.0, but must be 0 to 180"),
        (["--train.augment.shift", "1"], "train.augment.shift is 1.0"),
        (["--train.augment.scale", "-0.1"], "train.augment.scale is -0.1"),
        (["--train.augment.noise_hu", ".nan"], "train.augment.noise_hu is '.nan', but must be a number"),
        (["--train.augment.offset_hu", "1001"], "train.augment.offset_hu is 1001.0"),
        (["--train.augment.flip_left_right", "often"], "train.augment.flip_left_right"),
        (["--train.augment.rotate", "5"], "train.augment.rot"),
        (["--split.val_fraction", "0.7"], "so that patients are left for training"),
        (["--labels.edges", "[0, 10]"], "must be 3 names"),
        (["--labels.edges", "[10, 0]"], "rising numbers"),
        (["--labels.edges", "[0, 10, 100, .nan, 1000]"], "labels.edges"),
        (["--data.dicom_root", ""], "data.dicom_root is ''"),
        (["--wait=1"], "--wait"),
        (["--cluster.fold.time_min", "0"], "cluster.fold.time_min is 0"),
        (["--cluster.ranks_per_node", "64"], "train.batch_size is 32, but must be at least 64"),
        (["--cluster", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_setting_is_named_on_one_line(minimal, arguments, said):
    with pytest.raises(InputError) as error:
        parse("--config", minimal, *arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_are_not_text_are_refused(minimal):
    minimal.write_bytes(b"run: \xff\xfe")
    with pytest.raises(InputError):
        parse("--config", minimal)


def test_an_unknown_key_in_a_file_is_refused_with_the_nearest_known_one(minimal):
    minimal.write_text(minimal.read_text(encoding="utf-8").replace("epochs:", "epoch:"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"settings\.yaml: no setting 'epoch' in train \(did you mean train\.epochs\?\)"
    ):
        parse("--config", minimal)


def test_stored_settings_read_back_the_same(tmp_path, minimal):
    cfg = parse("--config", minimal)
    (tmp_path / "stored.yaml").write_text(config.to_yaml(cfg), encoding="utf-8")
    assert stored_settings.load(tmp_path / "stored.yaml") == cfg


def test_a_key_that_stands_twice_is_refused(minimal):
    text = minimal.read_text(encoding="utf-8")
    minimal.write_text(text.replace("epochs: 4", "epochs: 4\n  epochs: 5"), encoding="utf-8")
    with pytest.raises(InputError, match=r"settings\.yaml: found the key epochs twice \(line \d+, column 3\)"):
        parse("--config", minimal)


def test_merged_keys_of_yaml_are_no_keys_that_stand_twice(minimal):
    text = minimal.read_text(encoding="utf-8").replace(
        "\n  kind: local", "\n  kind: local\n  pack: &few {time_min: 9, mem_gb: 1}"
    )
    minimal.write_text(text.replace("\n  pack:", "\n  fold: {<<: *few, mem_gb: 3}\n  pack:").replace(
        "  fold: {<<: *few, mem_gb: 3}\n  pack: &few {time_min: 9, mem_gb: 1}",
        "  pack: &few {time_min: 9, mem_gb: 1}\n  fold: {<<: *few, mem_gb: 3}"), encoding="utf-8")  # fmt: skip
    cluster = parse("--config", minimal).cluster
    assert (cluster.pack.mem_gb, cluster.fold) == (1, Resources(time_min=9, mem_gb=3))


def test_the_command_line_goes_first_wherever_it_stands(minimal, tmp_path):
    section = tmp_path / "mysite.yaml"
    section.write_text("qos: night\nsbatch: {hold: true}\n", encoding="utf-8")
    cfg = parse("--cluster.qos=day", "--train.epochs=9", "--cluster", section, "--config", minimal)
    assert (cfg.cluster.qos, cfg.train.epochs, cfg.cluster.sbatch) == ("day", 9, {"hold": True})


def test_a_section_in_a_file_is_found_from_that_file_and_lies_below_the_rest(minimal, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "fold.yaml").write_text("{time_min: 7, mem_gb: 2}", encoding="utf-8")
    (tmp_path / "site" / "all.yaml").write_text("fold: fold.yaml\nqos: night", encoding="utf-8")
    text = minimal.read_text(encoding="utf-8").replace(
        "cluster:\n  kind: local\n  ranks_per_node: 2", "cluster: site/all.yaml"
    )
    minimal.write_text(text, encoding="utf-8")
    cluster = parse("--config", minimal, "--cluster.fold.mem_gb", "3").cluster
    assert (cluster.fold.time_min, cluster.fold.mem_gb, cluster.qos) == (7, 3.0, "night")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--confg", "x.yaml"], "no option '--confg' (did you mean --config?)"),
        (["--config=x.yaml", "--dryrun"], "no option '--dryrun' (did you mean --dry_run?)"),
        (["--config=x.yaml", "--dry-run"], "no option '--dry-run' (did you mean --dry_run?)"),
        (["--resum=runs/x"], "no option '--resum=runs/x' (did you mean --resume?)"),
        (["--resume"], "--resume: found nothing after it, wanted the folder of a run"),
    ],
)
def test_a_misspelled_option_of_the_launcher_is_refused_with_the_one_that_is_like_it(arguments, said):
    with pytest.raises(InputError) as error:
        parse(*arguments)
    assert str(error.value) == said


def test_the_file_of_a_section_in_place_of_all_settings_is_refused_with_the_option_for_it():
    path = REPO / "configs" / "cluster" / "gpu.yaml"
    with pytest.raises(
        InputError, match=r"gpu.yaml: no setting 'kind' \(write it below cluster:, or .* --cluster FILE"
    ):
        parse("--config", path)


def test_a_run_folder_that_is_not_there_is_refused_with_the_one_that_is_like_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mystudy").mkdir(parents=True)
    (tmp_path / "runs" / "mystudy" / "config.yaml").touch()
    for folder in ("runs/mystudi", "runs/mystudy/config.yaml"):
        with pytest.raises(InputError, match=rf"^{folder}: found no config.yaml .*; did you mean 'runs/mystudy'\?$"):
            stored_settings.run_folder(folder)
    with pytest.raises(InputError, match=r"wanted the folder of a run$"):
        stored_settings.run_folder("runs")


@pytest.mark.parametrize("option", ["--config", "--cluster"])
def test_a_file_of_settings_whose_name_is_nearly_that_of_another_is_asked_for(minimal, tmp_path, option):
    (tmp_path / "mysite.yaml").touch()
    with pytest.raises(InputError, match=r"mysiet.yaml: no such file or .*; did you mean '.*/mysite.yaml'\?$"):
        parse("--config", minimal, option, tmp_path / "mysiet.yaml")
    with pytest.raises(InputError, match=r"wanted a YAML file of settings$"):
        parse("--config", minimal, option, tmp_path / "other" / "mysiet.yaml")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"study,score\nMueller Hans,812\n", "text without settings"),
        (b"-----BEGIN KEY-----\nTWFu\n", "text without settings"),
        (b"- Mueller\n- Hans\n", "a list"),
        (b"Mueller: Hans: 812\n", "line 1, column 14"),
        (b"'Mueller, Hans: 812': x\n", "no setting of that name"),
        (b"name: *Mueller\n", "what is no YAML (line 1, column 7)"),
        (b"name: !Mueller x\n", "line 1, column 7"),
        (b"'Mueller Hans': 1\n'Mueller Hans': 2\n", "line 2, column 1"),
        (b"name: 'Mueller\n", "what is no YAML"),
        (b"labels:\n\tMueller: x\n", "a tab, where YAML takes blanks only (line 2, column 1)"),
        (b"PK\x03\x04Mueller\xff\xfe", "bytes that are no text in UTF-8"),
        (b"Mueller\x1b[2J: 1", "characters that YAML does not allow"),
        (b"", "nothing"),
        (b"[" * 100_000, "more than 50 levels"),
        (b"Mueller " * 200_000, "more than 1,000,000 bytes"),
    ],
)
@pytest.mark.parametrize("option", ["--config", "--cluster", "--pack.checks"])
def test_nothing_of_a_file_that_holds_no_settings_is_shown(minimal, tmp_path, option, content, found):
    (tmp_path / "patients.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        parse("--config", minimal, option, tmp_path / "patients.csv")
    assert "patients.csv: " in str(error.value)
    assert found in str(error.value)
    assert not any(word in str(error.value).replace(str(tmp_path), "") for word in ("Mueller", "Hans", "TWFu", "\x1b"))


def test_a_folder_is_no_file_of_settings(minimal, tmp_path):
    for option in ("--config", "--cluster"):
        assert f"{tmp_path}: found a folder, wanted" in asked("run", "--config", minimal, option, tmp_path)


def test_a_message_commands_no_terminal(tmp_path):
    done = job("launch_cv.py", "--config", tmp_path / "\x1b[2J.yaml")
    assert done.returncode == 2
    assert "[2J.yaml: no such file" in done.stderr
    assert "\x1b" not in done.stderr


WRITTEN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
TRICKY = st.text(st.sampled_from("$\\{}:#'\" \n-~01a.,[]&*!|>%@`?=\u2028\x85"), min_size=1)


@hypothesis.settings(deadline=None, max_examples=30)  # a tenth of a second each
@given(text=WRITTEN | TRICKY, number=st.floats(0, 1000), count=st.integers(1, 10**12))
def test_settled_settings_read_back_whatever_they_are(text, number, count):
    cfg = config.Config(
        run=text,
        data=DataConfig(dicom_root=text, packed_dir=text),
        labels=LabelsConfig(sheet=text, study_column="s" + text, score_column=f"{text}2"),
        pack=PackConfig(spacing_tolerance_mm=number / 10),
        split=SplitConfig(),
        model=ModelConfig(),
        train=TrainConfig(epochs=count, augment=AugmentConfig(noise_hu=number)),
        cluster=ClusterConfig(partition=text, setup=(text, "x"), sbatch={"comment": text, "nice": count}),
        report=ReportConfig(),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_bytes(config.to_yaml(cfg).encode())
        assert stored_settings.load(path) == cfg


@pytest.fixture
def stored(minimal, tmp_path):
    """A run folder whose settings hold what would be interpolated."""
    content = minimal.read_text(encoding="utf-8").replace("report:\n", "report:\n  title: \\${oc.env:SECRET} \\\\x\n")
    minimal.write_text(content, encoding="utf-8")
    run = RunPaths(Path(parse("--config", minimal).run))
    run.root.mkdir()
    run.config.write_text(config.to_yaml(parse("--config", minimal)), encoding="utf-8")
    run.ledger.touch()
    return run


def test_settings_of_a_run_are_never_interpolated(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    title = "${oc.env:SECRET} \\\\x"
    assert yaml.safe_load(stored.config.read_text(encoding="utf-8"))["report"]["title"] == title
    assert stored_settings.load(stored.config).report.title == title
    assert parse("--resume", stored.root).report.title == title
    assert parse("--config", stored.config, "--run", tmp_path / "other").report.title == title


def test_what_is_given_with_resume_is_interpolated(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    section = tmp_path / "mysite.yaml"
    section.write_text("qos: ${oc.env:SECRET}\naccount: ${qos}\npartition: \\${x}", encoding="utf-8")
    cfg = parse("--cluster", section, "--resume", stored.root, "--report.title=my ${oc.env:SECRET}")
    assert (cfg.cluster.qos, cfg.cluster.account, cfg.cluster.partition) == ("told", "told", "${x}")
    assert (cfg.report.title, cfg.run) == ("my told", str(stored.root))


def test_a_file_named_in_a_runs_settings_is_not_read(stored, tmp_path):
    (tmp_path / "mysite.yaml").write_text("qos: night", encoding="utf-8")
    content = yaml.safe_load(stored.config.read_text(encoding="utf-8")) | {"cluster": str(tmp_path / "mysite.yaml")}
    stored.config.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.yaml: cluster is '.*', but must be a section"):
        stored_settings.load(stored.config)


def test_numbers_of_the_environment_are_read_as_those_of_the_file(minimal, monkeypatch):
    monkeypatch.setenv("NUMBER_FOR_TEST", "9")
    monkeypatch.setenv("OCTAL_FOR_TEST", "010")
    cfg = parse("--config", minimal, "--train.epochs=${oc.env:NUMBER_FOR_TEST}",
                "--labels.edges=${oc.decode:'[1, 2.5, 3, 4, 5]'}",
                "--train.augment=${oc.create:{shift:0.1}}")  # fmt: skip
    assert (cfg.train.epochs, cfg.labels.edges, cfg.train.augment.shift) == (9, (1, 2.5, 3, 4, 5), 0.1)
    assert "train.epochs is '010'" in asked("train", "--config", minimal, "--train.epochs=${oc.env:OCTAL_FOR_TEST}")


@pytest.mark.parametrize("text", ["${oc.env:NO_SUCH_VARIABLE}", "${nowhere}", "${", "${no:such}", "${report.title}"])
def test_an_interpolation_that_fails_names_the_setting(minimal, text):
    found = asked("report.title", "--config", minimal, f"--report.title={text}")
    assert found.startswith("report.title: ")
    assert "\n" not in found


@pytest.mark.parametrize("option", ["--config=X", "--config X", "--run X", "--run=X"])
@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_is_resumed_takes_no_other_settings_or_folder(stored, option, first):
    resume = ["--resume", str(stored.root)]
    arguments = [*option.split(), *resume] if first else [*resume, *option.split()]
    with pytest.raises(InputError) as error:
        parse(*arguments)
    said = str(error.value)
    assert option.replace("=", " ") in said
    assert f"--resume {stored.root} --section.key VALUE, or --section FILE" in said
    assert "\n" not in said


def test_resume_of_nothing_is_not_the_folder_that_one_is_in(stored, monkeypatch):
    monkeypatch.chdir(stored.root)
    for nothing in ("", "nowhere"):
        with pytest.raises(InputError, match="wanted the folder of a run"):
            parse("--resume", nothing)


def test_a_run_that_is_resumed_may_be_the_folder_that_one_is_in(stored, monkeypatch):
    monkeypatch.chdir(stored.root)
    assert parse("--resume", ".").run == str(stored.root)
    with pytest.raises(InputError, match=f"python jobs/launch_cv.py --config {stored.root}/config.yaml"):
        parse("--resume=.", "--config", "X")


def test_differences_name_the_key_and_both_values(minimal):
    one = parse("--config", minimal)
    other = dataclasses.replace(one, train=dataclasses.replace(one.train, epochs=9))
    assert config.differences(config.plain(one), config.plain(other)) == ["train.epochs: 4 / 9"]


def test_a_setting_that_one_side_lacks_is_not_set():
    assert config.differences({"a": None}, {"a": None, "b": {"c": 2}}) == ["b: not set / {'c': 2}"]
    assert config.differences({"b": {"c": None}}, {"b": {}}) == ["b.c: None / not set"]


def test_print_config_shows_the_settings_and_nothing_else(minimal):
    shown = subprocess.run([sys.executable, REPO / "jobs" / "launch_cv.py", "--config", minimal, "--print_config"],
                           capture_output=True, text=True, timeout=60)  # fmt: skip
    assert shown.returncode == 0
    assert set(yaml.safe_load(shown.stdout)) == {*setting_names.types_of(config.Config)} - {"trials"}


@pytest.mark.timed
@pytest.mark.parametrize("script", sorted(path.name for path in (REPO / "jobs").glob("*.py")))
def test_help_answers_in_half_a_second_without_torch(script):
    command = [sys.executable, "-X", "importtime", REPO / "jobs" / script, "--help"]
    seconds, answers = fastest(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
    for shown in answers:
        assert shown.returncode == 0
        assert not {"torch", "pandas", "sklearn"} & {line.split("|")[-1].strip() for line in shown.stderr.splitlines()}
    assert seconds < 0.5


def test_options_of_sbatch_by_which_the_launcher_knows_its_jobs_are_refused(minimal):
    for key in ("job-name", "array", "dependency", "clusters"):
        said = asked("cluster", "--config", minimal, f"--cluster.sbatch.{key}", "x")
        assert f"cluster.sbatch.{key} is 'x', but must be left out: the launcher sets it itself" in said


def test_two_runs_to_go_on_with_are_refused():
    with pytest.raises(InputError, match="--resume: found it more than once"):
        launch_command.parse_launch(None, ["--resume", "a", "--resume=b"])
