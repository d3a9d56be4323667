"""Settings: where they come from, and that a typo costs a second."""

import dataclasses
import subprocess
import sys

import pytest
import yaml

from cac_hpc.run import config, settings
from cac_hpc.run.config import InputError
from tests.runs import REPO, write_config
from tests.waiting import fastest


def parse(*arguments):
    return settings.parse_launch(None, [*map(str, arguments)])[0]


@pytest.fixture
def minimal(tmp_path):
    return write_config(tmp_path / "settings.yaml", tmp_path / "scans", tmp_path / "run")


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
    assert cfg.train.augment == config.AugmentConfig(shift=0.05, noise_hu=12, rotation_deg=5, flip_left_right=True)
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
    assert not config.AugmentConfig().active
    assert config.AugmentConfig(**{name: value}).active
    assert config.AugmentConfig(**{name: value}).moves == moves


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
        (["--train.precision", "fp16"], "fp32 or bf16 when train.device is cpu"),
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
    assert settings.load(tmp_path / "stored.yaml") == cfg


def test_differences_name_the_key_and_both_values(minimal):
    one = parse("--config", minimal)
    other = dataclasses.replace(one, train=dataclasses.replace(one.train, epochs=9))
    assert config.differences(config.plain(one), config.plain(other)) == ["train.epochs: 4 / 9"]


def test_print_config_shows_the_settings_and_nothing_else(minimal):
    shown = subprocess.run([sys.executable, REPO / "jobs" / "launch_cv.py", "--config", minimal, "--print_config"],
                           capture_output=True, text=True, timeout=60)  # fmt: skip
    assert shown.returncode == 0
    assert set(yaml.safe_load(shown.stdout)) == {"run", *settings.SECTIONS}


@pytest.mark.timed
@pytest.mark.parametrize("script", sorted(path.name for path in (REPO / "jobs").glob("*.py")))
def test_help_answers_in_half_a_second_without_torch(script):
    command = [sys.executable, "-X", "importtime", REPO / "jobs" / script, "--help"]
    seconds, answers = fastest(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
    for shown in answers:
        assert shown.returncode == 0
        assert not {"torch", "pandas", "sklearn"} & {line.split("|")[-1].strip() for line in shown.stderr.splitlines()}
    assert seconds < 0.5
