"""Values as texts of files and of the command line, typed by the settings that they are for."""

import dataclasses
import math
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from cac_hpc.settings import config
from tests.support.settings import asked, parse


def types_of(kind=config.Config, key=""):
    """Every setting and section by its dotted name, with its type."""
    for name, hint in get_type_hints(kind).items():
        yield f"{key}{name}", hint
        if dataclasses.is_dataclass(hint):
            yield from types_of(hint, f"{key}{name}.")


TYPES = dict(types_of())
BLANK = ("", "null", "~", "''")
TEXTS = (
    *BLANK, "many", "8", '"8"', "8.5", "010", '"010"', "1:30:00", "1_000", ".nan", "no", "[1, 2]",
    "[010, 1:30]", "{a: 1}",
)  # fmt: skip
MISREAD = (
    "-010", "0o10", "0x1F", "0b1", "+0_7", "1:30", "1:30.5", "1_0.5", ".inf", "-.INF", "1e999", "9" * 400, "!!int 010",
    "2024-01-01", "8,5", "\u0663", "8 m", "1e",
)  # fmt: skip
YES, NO = ("true", "yes", "on"), ("false", "no", "off")


def with_place(path, key):
    """The settings of a run, with PLACE for the value of one."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    *above, last = key.split(".")
    section = content
    for name in above:
        section = section.setdefault(name, {})
    section[last] = "PLACE"
    return yaml.safe_dump(content)


def means(hint, value, text):
    """Whether a setting of that type has the value which the text looks like."""
    plain = text.strip("\"'")
    if value is None:
        return NoneType in get_args(hint) and text in BLANK
    if text in BLANK:
        return False
    if isinstance(value, bool):
        return hint is bool and plain.lower() in (YES if value else NO)
    if isinstance(value, tuple):
        return text[0] == "[" and all(means(get_args(hint)[0], *pair) for pair in zip(value, listed(text), strict=True))
    if isinstance(value, dict) or dataclasses.is_dataclass(value):
        return text[0] == "{"
    if get_origin(hint) is Literal:
        return plain in get_args(hint) and plain == value
    if isinstance(value, int | float):
        return {type(value), *get_args(hint)} & {hint, type(value)} and math.isfinite(value) and same(value, plain)
    return value in (plain, str(Path(plain).absolute()))


def listed(text):
    return [part.strip() for part in text[1:-1].split(",") if part]


def same(number, text):
    return not text.startswith(("0", "-0")) and "_" not in text and Decimal(text) == Decimal(str(number))


@pytest.mark.parametrize("key", TYPES)
def test_a_text_given_to_a_setting_means_what_it_looks_like_or_is_refused_by_name(minimal, tmp_path, key):
    """In the file and on the command line alike; there nothing at all is as it is in the file."""
    written, pattern = tmp_path / "written.yaml", with_place(minimal, key)
    for text in TEXTS:
        written.write_text(pattern.replace("PLACE", text), encoding="utf-8")
        answers = asked(key, "--config", written), asked(key, "--config", minimal, f"--{key}={text}")
        for found in answers:
            if isinstance(found, str):
                assert key in found, text
                assert "\n" not in found
            else:
                assert means(TYPES[key], found[0], text), (text, found)
        refused = [isinstance(found, str) for found in answers]
        assert refused[0] == refused[1], (text, answers)
        assert refused[0] or dataclasses.is_dataclass(TYPES[key]) or answers[0] == answers[1]


@pytest.mark.parametrize("key", ["train.epochs", "cluster.gpus_per_node", "train.learning_rate", "cluster.fold.mem_gb"])
def test_a_number_that_is_read_otherwise_than_it_looks_is_refused(minimal, tmp_path, key):
    written, pattern = tmp_path / "written.yaml", with_place(minimal, key)
    for text in MISREAD:
        written.write_text(pattern.replace("PLACE", text), encoding="utf-8")
        for arguments in (["--config", written], ["--config", minimal, f"--{key}", text]):
            assert f"{key} is " in str(asked(key, *arguments)), text


def test_a_refused_number_says_how_to_write_it(minimal):
    assert "decimal digits, without zeros before them" in asked(
        "train.epochs", "--config", minimal, "--train.epochs=010"
    )
    assert "base 60" in asked("cluster.fold", "--config", minimal, "--cluster.fold.time_min=1:30:00")


def test_what_looks_like_a_number_stays_the_text_that_it_is(minimal):
    content = minimal.read_text(encoding="utf-8").replace("labels:\n", "labels:\n  study_column: 007\n")
    content = content.replace("report:\n", "report:\n  title: 1e3\n")
    minimal.write_text(content + "", encoding="utf-8")
    cfg = parse("--config", minimal, "--labels.names", "[No, 2e1, 'null', on, 1_0, 0.10]")
    assert (cfg.labels.study_column, cfg.report.title) == ("007", "1e3")
    assert cfg.labels.names == ("No", "2e1", "null", "on", "1_0", "0.10")


def test_options_of_sbatch_are_numbers_and_truth_values_where_they_look_so_without_quotes(minimal):
    options = """{nice: 100, exclusive: true, licenses: "scratch:1", time: 1:30:00, comment: "100", begin: 010}"""
    cfg = parse("--config", minimal, "--cluster.sbatch", options, "--cluster.sbatch.hold=no")
    assert cfg.cluster.sbatch == {"nice": 100, "exclusive": True, "licenses": "scratch:1", "time": "1:30:00",
                                  "comment": "100", "begin": "010", "hold": False}  # fmt: skip
    assert "cluster.sbatch.hold is null" in asked("cluster", "--config", minimal, "--cluster.sbatch", "{hold: }")
