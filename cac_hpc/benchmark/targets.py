"""What is measured, of whole programs, and what is wanted of it: the rows of docs/speed.md as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cac_hpc.benchmark import inputs, peers, prediction_inputs
from cac_hpc.benchmark.inputs import ONE, READING, TWO, Prepare, job
from cac_hpc.benchmark.judging import Goal, Term
from cac_hpc.benchmark.turns import BEFORE, NOW, Measurement, Program, Site

PEER, HALF = "dcm2niix", "one worker, half the size"
FLOORS = ("floor", "floor, two")  # beside which a missed target is to be seen
PLAIN: dict[str, object] = {"pack.baseline": "false", "pack.candidates": "false"}  # nobody else scores what he packs
Programs = Callable[[Site, Sequence[int]], list[Program]]


def packers(names: Sequence[str], site: Site, sizes: Sequence[int], syntax: str | None = None) -> list[Program]:
    """Peers that are installed, and packing to the full size with one and two workers; half of it beside all."""
    source, matrix = inputs.cohort(site, sizes, syntax), inputs.MATRIX[site.tiny]
    ours = {ONE: (1, matrix), TWO: (2, matrix)}
    if set(names) == set(peers.PROGRAMS):
        ours[HALF] = 1, matrix // 2
    prepared = {name: inputs.peer(name, source) for name in names if peers.version(name) is not None} | {
        name: inputs.packed(site.code, source, workers, PLAIN | {"pack.size": size})
        for name, (workers, size) in ours.items()
    }
    return [Program(name=name, prepare=one, code=site.code, source=source) for name, one in prepared.items()]


def compressed(syntax: str, site: Site, sizes: Sequence[int]) -> list[Program]:
    """One worker beside dcm2niix and beside reading alone, which shows what decoding takes; nobody if none encodes."""
    if syntax == "JPEG Lossless" and peers.version("SimpleITK") is None:
        return []
    return [one for one in packers([PEER, READING], site, sizes, syntax) if one.name != TWO]


def tasks(site: Site, sizes: Sequence[int]) -> list[Program]:
    """A task of a packing array with one small study."""
    source = inputs.phantom(site.folder / "small", studies=12, slices=24, matrix=96, field_of_view_mm=160, easy=True)
    more = {"pack.studies_per_shard": 1, "pack.size": 96, "pack.min_slices": 8, "labels.sheet": source / "labels.csv"}
    return [
        Program(name=name, prepare=inputs.packed(code, lambda _: source, 1, more, ("--shard", "0")), code=code)
        for name, code in site.codes.items()
    ]


def extras(site: Site, sizes: Sequence[int]) -> list[Program]:
    """Packing with and without rule, heart, candidates and views of difficult exams."""
    slices, matrix = (24, 128) if site.tiny else (60, 512)
    source = inputs.phantom(site.folder / "hard", studies=sizes[-1], slices=slices, matrix=matrix, hard=True, seed=11)
    size: dict[str, object] = {"pack.size": matrix, "labels.sheet": source / "labels.csv", "pack.min_slices": 8}
    everything: dict[str, object] = {"pack.baseline": "true", "pack.candidates": "true"}
    return [
        Program(name=name, prepare=inputs.packed(site.code, lambda _: source, 1, size | more), code=site.code)
        for name, more in {"plain": PLAIN, "with all": everything}.items()
    ]


def commands(made: Callable[[Site, Path], Prepare], site: Site, _: Sequence[int]) -> list[Program]:
    """The same command of this checkout and of the one that it is compared with."""
    return [Program(name=name, prepare=made(site, code), code=code) for name, code in site.codes.items()]


def on_finished(script: str, site: Site, code: Path) -> Prepare:
    run = inputs.finished(site, code)
    return lambda out, size: job(code, script, run)


def helped(site: Site, code: Path) -> Prepare:
    return lambda out, size: job(code, "launch_cv.py", "--help")


def aggregated(site: Site, code: Path) -> Prepare:
    return inputs.reported(code, inputs.finished(site, code))


def gaps(site: Site, _: Sequence[int]) -> list[Program]:
    inputs.finished(site, site.code)
    return [
        Program(
            name=NOW, prepare=inputs.folds(site, site.code), code=site.code, tell=lambda out: inputs.gap_s(out / "run")
        )
    ]


def plans(site: Site, sizes: Sequence[int]) -> list[Program]:
    source = inputs.many_studies(site.folder, sizes)
    small = {"pack.min_slices": 2, "pack.size": 16, "model.filters": "[8]"}  # so that what is planned fits on a disk
    return [
        Program(
            name=NOW,
            prepare=lambda out, size: inputs.plan(site.code, out / "run", source(size), small),
            code=site.code,
        )
    ]


def _large_run(site: Site, size: int, code: Path) -> Path:
    from cac_hpc.benchmark import large_runs  # which imports pandas: not for --help

    return large_runs.write(site.shared / inputs.name_of(site, code, "large"), size, code)


def large_commands(site: Site, sizes: Sequence[int]) -> list[Program]:
    """Looks at a run of many studies that has ended."""
    run = _large_run(site, sizes[-1], site.code)
    found: dict[str, Prepare] = {
        "resume": lambda out, size: job(site.code, "launch_cv.py", "--dry_run", resume=run),
        "status": lambda out, size: job(site.code, "status.py", run),
    }
    return [Program(name=name, prepare=prepare, code=site.code) for name, prepare in found.items()]


def large_reports(site: Site, sizes: Sequence[int]) -> list[Program]:
    return [
        Program(name=name, prepare=inputs.reported(code, _large_run(site, sizes[-1], code)), code=code)
        for name, code in site.codes.items()
    ]


def ratio(what: str, of: Term, against: Term, limit: float) -> Goal:
    return Goal(what=what, of=of, against=against, limit=limit)


def value(what: str, of: Term, limit: float) -> Goal:
    return Goal(what=what, of=of, how="value", limit=limit)


def since(limit: float, what: str) -> Goal:
    """Wall clock of this checkout against that of `BEFORE`."""
    return ratio(what, Term(NOW), Term(BEFORE), limit)


MEASUREMENTS = (
    Measurement(
        name="pack", what="Pack and seal studies of 48 slices of 512 x 512", unit="studies",
        sizes=(16, 32, 64), tiny=(4, 6, 8), needs=(PEER,), programs=partial(packers, [PEER, *FLOORS]),
        goals=(
            ratio("64 studies (3,072 slices), one worker against dcm2niix", Term(ONE), Term(PEER), 1.2),
            ratio("64 studies, two workers against dcm2niix", Term(TWO), Term(PEER), 0.75),
            ratio("16 studies (768 slices), one worker against dcm2niix", Term(ONE, at=0), Term(PEER, at=0), 1.8),
            ratio("16 studies, two workers against one", Term(TWO, at=0), Term(ONE, at=0), 1 / 1.5),
            ratio("each further study, one worker against dcm2niix, processor time",
                  Term(ONE, "cpu_seconds", "slope"), Term(PEER, "cpu_seconds", "slope"), 1.2),
            value("start of packing and sealing, one worker", Term(ONE, "cpu_seconds", "start"), 0.8),
            value("peak memory of 64 studies, one worker", Term(ONE, "peak_mb"), 131),
            value("peak memory of 64 studies, two workers", Term(TWO, "peak_mb"), 262),
            ratio("peak memory of 64 studies against 16, one worker",
                  Term(ONE, "peak_mb"), Term(ONE, "peak_mb", 0), 1.05),
        ),
    ),
    Measurement(
        name="task", what="A task of a packing array with one small study (24 slices of 96 x 96)", programs=tasks,
        goals=(
            value("start of a task of a packing array", Term(NOW, "cpu_seconds"), 0.8),
            ratio("the same, against before", Term(NOW, "cpu_seconds"), Term(BEFORE, "cpu_seconds"), 1.05),
        ),
    ),
    Measurement(
        name="extras", what="Pack difficult studies of 60 slices, plainly and with rule, heart, candidates and views",
        unit="studies", sizes=(6,), tiny=(6,), programs=extras,
        goals=(
            Goal(what="rule, heart and candidates, on top of plain packing, per study", how="difference", limit=0.3,
                 of=Term("with all", "cpu_seconds"), against=Term("plain", "cpu_seconds"), per_size=True),
        ),
    ),
    Measurement(
        name="help", what="`launch_cv.py --help`", programs=partial(commands, helped),
        goals=(since(0.5, "`launch_cv.py --help` against before"),),
    ),
    Measurement(
        name="status", what="`status.py` of a finished run",
        programs=partial(commands, partial(on_finished, "status.py")),
        goals=(since(0.5, "`status.py` of a finished run against before"),),
    ),
    Measurement(
        name="report", what="`report.py` of a finished run",
        programs=partial(commands, partial(on_finished, "report.py")),
        goals=(since(0.5, "`report.py` of a finished run against before"),),
    ),
    Measurement(
        name="aggregate", what="The report of the demo's 68 patients", programs=partial(commands, aggregated),
        goals=(since(0.4, "report of 68 patients against before"),),
    ),
    Measurement(
        name="gap", what="The folds of the demo, one after the other", programs=gaps,
        goals=(value("from the end of a fold to the first file of the next", Term(NOW, "told"), 2.0),),
    ),
    Measurement(
        name="demo", what="Phantom and run of the demo", programs=partial(commands, inputs.demo),
        goals=(since(0.5, "phantom and run of the demo against before"),),
    ),
    Measurement(
        name="plan", what="Plan and dry run of studies", unit="studies", sizes=(25_000, 50_000, 100_000),
        tiny=(100, 200, 300), programs=plans,
        goals=(
            value("plan of 100,000 studies", Term(NOW), 60),
            ratio("the same against that of 50,000", Term(NOW), Term(NOW, at=1), 2.2),
        ),
    ),
    Measurement(
        name="large-run", what="A finished run of 100,000 studies", unit="studies", sizes=(100_000,), tiny=(600,),
        programs=large_commands,
        goals=(
            value("resume check of 100,000 studies", Term("resume"), 5),
            value("status of 100,000 studies", Term("status"), 0.5),
        ),
    ),
    Measurement(
        name="large-report", what="The report of patients with 60 slices each", unit="patients", sizes=(100_000,),
        tiny=(600,), programs=large_reports,
        goals=(
            since(0.6, "report of 6 million slices of 100,000 patients against before"),
            value("its peak memory", Term(NOW, "peak_mb"), 1500),
        ),
    ),
    *(
        Measurement(
            name=syntax.lower().replace(" ", "-"), what=f"Pack 16 studies of 48 slices in {syntax}", unit="studies",
            sizes=(16,), tiny=(4,), needs=(PEER, "SimpleITK") if syntax == "JPEG Lossless" else (PEER,),
            programs=partial(compressed, syntax),
            goals=(
                ratio(f"{syntax}: one worker against dcm2niix", Term(ONE), Term(PEER), 1.0),
                ratio(f"{syntax}: one worker against reading and decoding alone, processor time",
                      Term(ONE, "cpu_seconds"), Term(READING, "cpu_seconds"), 1.2),
            ),
        )
        for syntax in peers.SYNTAXES
    ),
    Measurement(
        name="predict", what="Predict studies of 60 slices of 512 x 512 with a lesion model of five folds",
        unit="studies", sizes=(4, 8, 16), tiny=(2, 3, 4), programs=prediction_inputs.programs,
        goals=(
            ratio("each further study against reading it with pydicom", Term(ONE, at="slope"),
                  Term(READING, at="slope"), 2.0),
            ratio("each further study, two workers against one", Term(TWO, at="slope"), Term(ONE, at="slope"), 1 / 1.8),
            ratio("peak memory of 16 studies against 4", Term(ONE, "peak_mb"), Term(ONE, "peak_mb", 0), 1.05),
        ),
    ),
    Measurement(
        name="packers", what="Pack 16 studies of 48 slices of 512 x 512, everybody", unit="studies", sizes=(16,),
        tiny=(4,), needs=tuple(peers.PROGRAMS), programs=partial(packers, tuple(peers.PROGRAMS)),
        goals=(
            ratio("one worker against dcm2niix, processor time",
                  Term(ONE, "cpu_seconds"), Term(PEER, "cpu_seconds"), 1.2),
            ratio("one worker against copying the bytes", Term(ONE), Term("copy only"), 1.2),
            ratio("half the size against the full size", Term(HALF), Term(ONE), 1.0),
        ),
    ),
)  # fmt: skip
