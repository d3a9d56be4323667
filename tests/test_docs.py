"""README and docs/: sizes, links, generated tables, and that every command, file and setting they name exists."""

import importlib.util
import itertools
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from cac_hpc.benchmark import gpu_speed, lesion_speed, rows, training_speed, trials_speed
from cac_hpc.masks import shapes
from cac_hpc.settings import (
    config,
    evaluate_command,
    export_command,
    inspect_command,
    launch_command,
    phantom_command,
    predict_command,
    report_command,
    run_commands,
    score_command,
    setting_names,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
EXAMPLES = {"RUN": "runs/mystudy", "FILE": "mystudy.yaml", "I": "3"}  # what stands for a value in a command
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMANDS = (  # modules that read options of jobs
    evaluate_command, export_command, inspect_command, launch_command, phantom_command, predict_command,
    report_command, run_commands, score_command,
)  # fmt: skip
SECTIONS = "|".join(kind for kind in setting_names.names() if "." not in kind)
SETTING = re.compile(rf"({SECTIONS})(\.[a-z_]+)+")
FILE = re.compile(r"(?:\w+/)+[\w*]+\.(?:py|sh|sbatch|yaml|md|txt|html)")
SUFFIXES = {"json", "html", "md", "py", "csv", "tex", "yaml", "pt"}


class Accepted(Exception):
    """A command line that its parser has read."""


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def text(page):
    return page.read_text(encoding="utf-8")


def prose(page):
    return FENCE.sub("", text(page))


def code_spans(page):
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(page))]


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def blocks(*languages):
    return [body for page in PAGES for language, body in FENCE.findall(text(page)) if language in languages]


def commands():
    lines = [line for body in blocks("sh") for line in body.replace("\\\n", " ").splitlines()]
    found = [span for page in PAGES for span in code_spans(page) if re.match(r"(python )?jobs/\w+\.py .", span)]
    parts = [shlex.split(line, comments=True) for line in (*lines, *found)]
    return sorted({shlex.join(part) for words in parts for part in split_at(words, "&&") if part})


def split_at(words, separator):
    at = [-1, *(index for index, word in enumerate(words) if word == separator), len(words)]
    return [words[before + 1 : after] for before, after in itertools.pairwise(at)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder in which the examples of the documents have the files that they name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAC_DICOM_ROOT", "studies")
    monkeypatch.setenv("CAC_LABELS", "labels.csv")
    monkeypatch.setenv("COCA", "coca")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "mystudy.yaml").write_bytes((ROOT / "configs" / "paper.yaml").read_bytes())
    (tmp_path / "mysite.yaml").write_bytes((ROOT / "configs" / "cluster" / "gpu.yaml").read_bytes())
    (tmp_path / "mytrials.yaml").write_bytes((ROOT / "configs" / "trials" / "paper.yaml").read_bytes())
    cfg, _ = launch_command.parse_launch(None, ["--config", "mystudy.yaml"])
    for name in ("mystudy", "wider", "augmented", "demo"):
        (tmp_path / "runs" / name / "report").mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text(config.to_yaml(cfg), encoding="utf-8")
        (tmp_path / "runs" / name / "report" / "report.json").touch()
    return tmp_path


def accepted(*_, **__):
    raise Accepted


def read_only(parse):
    """The parser, after which nothing else is done."""

    def wrapped(*arguments, **options):
        parse(*arguments, **options)
        raise Accepted

    return wrapped


def parse_job(words, monkeypatch):
    for module in COMMANDS:
        for name in [name for name in vars(module) if name.startswith("parse_")]:
            monkeypatch.setattr(module, name, read_only(getattr(module, name)))
    for module in (gpu_speed, lesion_speed, rows, training_speed, trials_speed):
        monkeypatch.setattr(module, "measure", accepted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", words)
    job = load(ROOT / words[0], "job")
    with pytest.raises((Accepted, SystemExit)) as ended:
        job.main()
    assert ended.type is Accepted or ended.value.code == 0


def parse_cluster(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.syspath_prepend(str(ROOT / "slurm" / "dev"))
    load(ROOT / words[0], "dev_cluster").parse_arguments()


def check_pip(words):
    for extra in re.findall(r"\[(\w+)\]", words[-1]):
        assert f'"{extra}": [' in text(ROOT / "setup.py")


def check_command(words, monkeypatch):
    """A command is accepted by what would read it. Programs that are not known here are not for the documents."""
    words = [word for word in words if word != "sudo"]
    while "python" in Path(words[0]).name:
        words.pop(0)
    words = [EXAMPLES.get(word, word.replace("RUN/", f"{EXAMPLES['RUN']}/")) for word in words]
    program = words[0]
    if program.startswith("jobs/"):
        parse_job(words, monkeypatch)
    elif program == "slurm/dev/cluster.py":
        parse_cluster(words, monkeypatch)
    elif program == "docs/site/tables.py":
        assert words[1:] == []
    elif program == "make":
        assert re.search(rf"^{words[1]}:", text(ROOT / "Makefile"), re.MULTILINE)
    elif program == "sbatch":
        assert (ROOT / next(word for word in words if word.endswith(".sbatch"))).is_file()
    elif Path(program).name == "pip":
        check_pip(words)
    else:
        # -m: a module of Python itself
        assert program in ("-m", ".", "export", "find", "touch", "sinfo", "sacctmgr"), words


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_bytes()) <= 10_000


def test_commands_use_the_active_environment_which_the_readme_activates_first():
    readme = text(ROOT / "README.md")
    assert readme.index("\n. .venv/bin/activate\n") < readme.index("python jobs/")
    for page in PAGES:
        assert ".venv/bin/python" not in text(page)
        assert not re.findall(r"(?<!python )\bjobs/\w+\.py -{0,2}\w", " ".join(text(page).split())), page


def test_the_glossary_is_short_and_in_order():
    terms = re.findall(r"^\| ([^|]+) \|", text(DOCS / "glossary.md"), re.MULTILINE)[1:]
    assert 20 <= len(terms) <= 30
    assert terms == sorted(set(terms), key=str.lower)


def test_generated_parts_are_up_to_date():
    found = load(DOCS / "site" / "tables.py", "tables").outputs()
    found = {path: wanted for path, wanted in found.items() if path.suffix == ".md"}  # the schema: tests/results
    old = [path.name for path, wanted in found.items() if text(path) != wanted]
    assert not old, "python docs/site/tables.py updates them"
    assert len(found) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_settings_that_are_named_exist(page):
    names = {*setting_names.names()}
    for span in code_spans(page):
        for file in FILE.findall(span):
            written = file.startswith(("report/", "RUN/", "build/", "studies/STUDY/")) and not file.endswith(".py")
            assert written or any([*place.glob(file)] for place in (ROOT, ROOT / "cac_hpc")), file
        if SETTING.fullmatch(span) and span.rpartition(".")[2] not in SUFFIXES:
            module = ROOT / "cac_hpc" / (span.replace(".", "/") + ".py")
            assert span in names or module.is_file(), span


@pytest.mark.parametrize("command", commands())
def test_commands_are_accepted(command, workplace, monkeypatch):
    check_command(shlex.split(command), monkeypatch)


def test_every_make_target_that_is_named_exists():
    named = {target for page in PAGES for target in re.findall(r"`make ([\w-]+)", text(page))}
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert named <= targets
    assert "test" in named | {words.split()[1] for words in commands() if words.startswith("make ")}


def test_what_check_table_prints_is_what_the_documents_show(capsys, monkeypatch):
    (shown,) = blocks("console")
    command, *lines = shown.splitlines()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    assert load(ROOT / "jobs" / "check_table.py", "job").main() == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != "  ..."] == [line for line in printed if line in lines]


def test_yaml_examples_are_read(tmp_path):
    for body in blocks("yaml"):
        given = yaml.safe_load(body)
        if "discs" in given:
            (tmp_path / "shapes.yaml").write_text(body, encoding="utf-8")
            assert len(shapes.read_shapes(tmp_path / "shapes.yaml")) == 2
        else:
            setting_names.check_names(config.Config, given, "")
            for section, values in given.items():
                if isinstance(values, dict):
                    setting_names.check_names(setting_names.types_of(config.Config)[section], values, f"{section}.")
