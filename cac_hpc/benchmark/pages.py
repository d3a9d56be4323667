"""The tables of what was measured, in Markdown for the documentation, and every number of it in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cac_hpc.benchmark.circumstances import Moment
from cac_hpc.benchmark.judging import Judgement, spread
from cac_hpc.benchmark.turns import Measured, Measurement
from cac_hpc.run import disk

GOALS = "| what | measured | ratio or difference | target | |\n|---|---:|---:|---:|---|\n"
ROWS = "| " + GOALS.replace("\n|", "\n|---|", 1)
TINY = "Tiny input: this shows that it runs, and nothing else."


def write(
    out: Path,
    what: Measurement,
    measured: Measured,
    judged: Sequence[Judgement],
    moments: tuple[Moment, Moment],
    tiny: bool,
) -> None:
    """Write ``NAME.md`` and ``NAME.json``.

    Args:
        moments: the first and the last of the measurement. tiny: whether the input is so small that it proves nothing.
    """
    rounds = [
        [{"program": program, "size": size, **asdict(cost)} for (program, size), cost in one.items()]
        for one in measured.rounds
    ]
    began, ended = moments
    found = {
        "name": what.name, "what": what.what, "tiny": tiny, "began": asdict(began), "ended": asdict(ended),
        "missing": list(measured.missing), "unit": what.unit, "sizes": list(measured.sizes), "rounds": rounds,
        "goals": [asdict(one) for one in judged], "rows": [_goal(one) for one in judged],
    }  # fmt: skip
    disk.write_json(out / f"{what.name}.json", found)
    said = [f"### {what.name}", what.what + ".", *([TINY] if tiny else []), _circumstances(measured, moments)]
    said += [GOALS + "\n".join(map(_goal, judged)), _costs(what, measured)]
    disk.write_text(out / f"{what.name}.md", "\n\n".join(said) + "\n")


def write_all(out: Path, names: Sequence[str]) -> None:
    """``rows.md``: one table of the goals of these measurements, as far as they are there, and when each was made."""
    found = [disk.read_json(path) for name in names if (path := out / f"{name}.json").exists()]
    rows = [f"| `{one['name']}` {row}" for one in found for row in one["rows"]]
    notes = [
        f"- `{one['name']}`: {one['began']['time'][:10]}, {_commits(one['began']['commits'])}, "
        f"{one['began']['machine']}, load {one['began']['load']:g} before and {one['ended']['load']:g} after, "
        f"{len(one['rounds'])} rounds" + (f"; {TINY}" if one["tiny"] else "")
        for one in found
    ]
    disk.write_text(out / "rows.md", ROWS + "\n".join(rows) + "\n\n" + "\n".join(notes) + "\n")


def _circumstances(measured: Measured, moments: tuple[Moment, Moment]) -> str:
    began, ended = moments
    missing = f" Not installed, so not measured: {', '.join(measured.missing)}." if measured.missing else ""
    return (
        f"Measured {began.time[:10]}, {_commits(began.commits)}, on {began.machine}; load of the machine "
        f"{began.load:g} before and {ended.load:g} after; {len(measured.rounds)} rounds after a warm-up.{missing}"
    )


def _commits(commits: dict[str, str]) -> str:
    return ", ".join(f"commit {commit}" + f" ({name})" * (len(commits) > 1) for name, commit in commits.items())


def _goal(one: Judgement) -> str:
    """A row: the medians that were measured, what was made of them with its interval, the limit, and the verdict."""
    goal = one.goal
    unit = {"peak_mb": "MB"}.get(goal.of.quantity, "s")
    medians = [_digits(side.median) + f" {unit}" for side in (one.of, one.against) if side]
    made = "-"
    if one.bounds:
        low, high = _digits(one.bounds.low), _digits(one.bounds.high)
        made = f"{_digits(one.bounds.median)} ({low} to {high})" + (f" {goal.unit}" if goal.unit else "")
    limit = f"at most {_digits(goal.limit)}" + (f" {goal.unit}" if goal.unit else "")
    return f"| {goal.what} | {' against '.join(medians) or '-'} | {made} | {limit} | {one.verdict} |"


def _costs(what: Measurement, measured: Measured) -> str:
    """A row per program and size: medians, in brackets the lowest and the highest."""
    lines = [f"| program | {what.unit} | s | s of processor time | peak MB |", "|---|---:|---:|---:|---:|"]
    for program, size in measured.rounds[0]:
        of_turn = [one[program, size] for one in measured.rounds]
        cells = []
        for quantity in ("seconds", "cpu_seconds", "peak_mb"):
            found = spread([getattr(cost, quantity) for cost in of_turn])
            numbers = f"{_digits(found.median)} ({_digits(found.lowest)} to {_digits(found.highest)})"
            cells.append(numbers if found.highest else "-")  # too short for a look at its memory
        lines.append(f"| {program} | {f'{size:,}' if what.unit else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(number: float) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
