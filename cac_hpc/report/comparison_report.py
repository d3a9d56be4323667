"""Comparisons of finished runs in, a terminal's tables, comparison.json, .csv and .md out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pandas as pd

from cac_hpc.evaluation import comparison, report_json
from cac_hpc.report.markdown import table
from cac_hpc.results.comparison import ComparedLevel, Comparison
from cac_hpc.results.figures import Difference
from cac_hpc.results.serialization import to_json
from cac_hpc.run import disk, escaping, logs, looks, paths
from cac_hpc.sections import formatting
from cac_hpc.sections.section import Row
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report_command import ReportOptions

FORMAT_VERSION = 1  # of comparison.json; docs/comparing.md
ALPHA = 0.05  # of the intervals and tests
COLUMNS = ["reference", "other", "level", "unit", "patients", "figure", "category", "reference_value", "other_value",
           "difference", "low", "high", "interval", "note"]  # fmt: skip


def show(asked: ReportOptions) -> int:
    """Compare runs in the terminal, the first with each of the others; with --out as files, too.

    Returns: 0 if all runs are complete, 1 if one is partial.
    Raises: InputError if the runs cannot be compared.
    """
    out = given_paths.out_folder(asked.out)
    runs = [Path(source) for source in (asked.source, *asked.others)]
    if tests := [run for run in runs if paths.is_external_test(run)]:
        raise InputError(
            f"{tests[0]}: found an external test, wanted runs of the same patients and folds; its own report has the "
            "figures of the cross-validation beside it, and python jobs/evaluate.py PREDICTIONS --labels SHEET --out "
            "DIR --beside OTHER_PREDICTIONS compares programs on the same patients"
        )
    found = comparison.compare_all(runs)
    with report_json.sound(*runs):  # all of it, before any of it is printed
        parts = [part for at, one in enumerate(found) for part in _parts(one, ("A", _letter(at + 1)))]
        parts += [(line, None) for line in methods(found)]
        if asked.out:
            write(out, found)
    for run in runs:
        looks.note(run, "comparison")
    screen = logs.console()
    for part, style in parts:
        screen.print(logs.line(part) if isinstance(part, str) else part, style=style, markup=False)
    if asked.out:
        screen.print(f"comparison.json, .csv and .md: {out}", markup=False, soft_wrap=True)
    return 0 if _status(found) == "COMPLETE" else 1


def write(folder: Path, found: Sequence[Comparison]) -> None:
    """Write the comparisons, comparison.json last."""
    disk.write_text(folder / "comparison.csv", escaping.csv_text(pd.DataFrame(_rows(found), columns=COLUMNS)))
    disk.write_text(folder / "comparison.md", markdown(found))
    comparisons = [to_json(one) for one in found]
    content = {"format_version": FORMAT_VERSION, "status": _status(found), "multiplicity": multiplicity(found)}
    disk.write_json(folder / "comparison.json", content | {"comparisons": comparisons})


def markdown(found: Sequence[Comparison]) -> str:
    """The comparisons as text."""
    parts = [f"# Comparison of {len(found) + 1} runs" + ("" if _status(found) == "COMPLETE" else " (PARTIAL)")]
    for number, one in enumerate(map(_escaped, found)):
        letters = ("A", _letter(number + 1))
        parts += [f"## {_title(one, letters)}", *_remarks(one)]
        parts += [
            f"Settings that differ, {' / '.join(letters)}:",
            "\n".join(f"- {escaping.code(line)}" for line in _settings(one)),
        ]
        for level, at_level in one.levels.items():
            rows = _figure_rows(at_level.figures)
            for category in at_level.categories:
                name = f"category {category.category}"
                rows += _figure_rows({f"{key}, {name}": value for key, value in category.figures.items()})
            parts += [f"### {_level_title(level, at_level, letters)}"]
            parts += [table(_columns(letters), rows), *_without_interval(at_level.figures)]
        parts += [_sign_test(one, letters)]
    return logs.harmless("\n\n".join([*parts, "## How it was counted", *methods(found)]) + "\n")


def methods(found: Sequence[Comparison]) -> list[str]:
    """What the intervals mean, and what not."""
    counted = found[0].statistics
    return [
        f"Differences: 95 % percentile intervals of {counted.draws} draws of patients (seed {counted.seed}), the "
        "same for both runs. They tell of other patients, not of training again with another seed, and none is made "
        "wider for the number of figures and runs compared: of twenty differences that are truly zero one seems not to "
        "be, by chance.",
        chance(found),
    ]


def chance(found: Sequence[Comparison]) -> str:
    """How many comparisons are made, and how likely one of them seems to find something where there is nothing.

    Source: Sidak 1967 (J Am Stat Assoc 62:626): of normal statistics, however correlated, 1 - 0.95^n is the most.
    """
    counted = multiplicity(found)
    made = "1 comparison" if counted["comparisons"] == 1 else f"{counted['comparisons']} comparisons"
    best = (
        f" Whoever picks the best of the runs compares all {counted['pairs']} pairs: "
        f"{100 * counted['by_chance_of_pairs']:.3g} %."
    )
    return (
        f"{counted['runs']} runs, {made} of each figure, each with A. If no run were better than another, at least one "
        f"would have p < {ALPHA:g} by chance alone with a probability of {100 * counted['by_chance']:.3g} %, were they "
        f"independent; they share patients and the run A, so it is this or less.{best if len(found) > 1 else ''} The "
        "runs stand in the order in which they were named, not in that of any figure."
    )


def multiplicity(found: Sequence[Comparison]) -> dict[str, float]:
    """Runs, comparisons of each figure, and the chance that one of as many independent true zeros seems to be none."""
    runs, made = len(found) + 1, len(found)
    pairs = runs * (runs - 1) // 2
    by_chance, of_pairs = (1 - (1 - ALPHA) ** number for number in (made, pairs))
    return {"runs": runs, "comparisons": made, "by_chance": by_chance, "pairs": pairs, "by_chance_of_pairs": of_pairs}


def _escaped(one: Comparison) -> Comparison:
    """The same comparison; what others have written in names of runs means nothing in Markdown."""
    reference, other = (replace(run, run=escaping.markdown(run.run)) for run in (one.reference, one.other))
    return replace(one, reference=reference, other=other, warnings=[escaping.markdown(line) for line in one.warnings])


def _parts(one: Comparison, letters: tuple[str, str]) -> Iterator[tuple[Any, str | None]]:
    """What is printed of a comparison: texts and tables, with their style."""
    yield _title(one, letters), "bold"
    lines = [*_remarks(one), f"Settings that differ, {' / '.join(letters)}:", *(f"  {line}" for line in _settings(one))]
    yield from ((line, None) for line in lines)
    for level, at_level in one.levels.items():
        title, rows = _level_title(level, at_level, letters), _figure_rows(at_level.figures)
        yield logs.table(title, _columns(letters), rows, numbers=True), None
        yield from ((line, None) for line in _without_interval(at_level.figures))
    yield _sign_test(one, letters), None


def _letter(number: int) -> str:
    return ascii_uppercase[number % 26] + ("" if number < 26 else str(number // 26))


def _status(found: Sequence[Comparison]) -> str:
    return "COMPLETE" if all(one.status == "COMPLETE" for one in found) else "PARTIAL"


def _title(one: Comparison, letters: tuple[str, str]) -> str:
    a, b = letters
    return f"{b} = {one.other.run} against {a} = {one.reference.run}, {one.patients} patients" + (
        "" if one.status == "COMPLETE" else " (PARTIAL)"
    )


def _remarks(one: Comparison) -> list[str]:
    partial = [run.run for run in (one.reference, one.other) if run.status != "COMPLETE"]
    lines = [f"PARTIAL: {' and '.join(partial)} lack folds; what is compared is what both tested."] if partial else []
    return [*lines, *one.warnings, *(f"Note: {note}." for note in one.notes)]


def _settings(one: Comparison) -> list[str]:
    return one.settings or ["none of labels, pack, split, model and train"]


def _level_title(level: str, found: ComparedLevel, letters: tuple[str, str]) -> str:
    one, other = found.n.reference, found.n.other
    counted = f"n = {one}" if one == other else f"n = {one} in {letters[0]}, {other} in {letters[1]}"
    return f"{level} level, {counted}"


def _columns(letters: tuple[str, str]) -> list[str]:
    return ["", *letters, f"{letters[1]} - {letters[0]} [95 % interval]"]


def _figure_rows(figures: Mapping[str, Difference]) -> list[list[str]]:
    return [
        [
            formatting.heading(name),
            formatting.number(figure.reference),
            formatting.number(figure.other),
            formatting.brief(figure),
        ]
        for name, figure in figures.items()
    ]


def _without_interval(figures: Mapping[str, Difference]) -> list[str]:
    """Why some differences have no interval, or are not quite of the same thing; each reason once."""
    names: dict[str, list[str]] = {}
    for name, figure in figures.items():
        if figure.note:
            names.setdefault(figure.note, []).append(formatting.heading(name))
    return [f"{'all' if len(of) == len(figures) else ', '.join(of)}: {note}." for note, of in names.items()]


def _sign_test(one: Comparison, letters: tuple[str, str]) -> str:
    test, (a, b) = one.sign_test, letters
    p_value = test.note if test.p_value is None else formatting.chance(test.p_value)
    return (
        f"Patients right more often in {b} than in {a}: {test.other_better}, less often: "
        f"{test.reference_better}, as often: {test.equal}; {test.test}: {p_value}."
    )


def _rows(found: Sequence[Comparison]) -> Iterator[Row]:
    """One row per pair of runs, level and figure."""
    for one in found:
        runs: Row = {"reference": one.reference.run, "other": one.other.run}
        for level, at_level in one.levels.items():
            where: Row = {**runs, "level": level, "unit": at_level.unit, "patients": one.patients}
            for name, figure in at_level.figures.items():
                yield {**where, "figure": name, **_cells(figure)}
            for category in at_level.categories:
                for name, figure in category.figures.items():
                    yield {**where, "figure": name, "category": category.category, **_cells(figure)}


def _cells(figure: Difference) -> Row:
    return {f"{key}_value" if key in comparison.ROLES else key: value for key, value in vars(figure).items()}
