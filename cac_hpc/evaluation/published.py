"""A published confusion matrix and what its text claims: which claims the matrix contradicts.

A file is YAML or JSON with ``matrix`` and ``claims``, optionally ``title``, ``level``, ``categories`` and ``rows``,
or CSV: rows of counts are the matrix, rows that begin with a name are claims (or one of the others).
docs/report.md shows an example.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.run import logs
from cac_hpc.run.logs import amount
from cac_hpc.settings import yaml_documents
from cac_hpc.settings.errors import InputError
from cac_hpc.statistics import metrics

KEYS = ("title", "level", "categories", "rows", "matrix", "claims")
KINDS = {  # what a claim may mean that does not say which
    "kappa": ("kappa_plain", "kappa_linear", "kappa_quadratic"),
    "precision": ("precision_macro", "precision_weighted"),
    "recall": ("recall_macro", "recall_weighted"),
    "f1": ("f1_macro", "f1_weighted"),
}
COUNTS: dict[str, Callable[[np.ndarray], Any]] = {
    "n": lambda matrix: matrix.sum(),
    "errors": lambda matrix: matrix.sum() - np.trace(matrix),
    "over": metrics.over,
    "under": metrics.under,
    "support": lambda matrix: matrix.sum(axis=1),
    "predicted": lambda matrix: matrix.sum(axis=0),
}
NOT_CLAIMED = ("", "-", "null", "~")


@dataclass(frozen=True)
class PublishedTable:
    """A matrix (K, K), rows true, and its claims as they were written: a text, or one per category."""

    title: str
    level: str  # what the matrix counts: slice or patient
    categories: tuple[str, ...]
    matrix: np.ndarray
    claims: Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Finding:
    """What became of one claim. said: what the matrix says."""

    claim: str
    claimed: str
    agrees: bool
    said: str


def read(path: Path) -> PublishedTable:
    """Read a file.

    Raises: InputError naming the file, what was found and what was wanted.
    """
    try:
        content = _read_csv(path) if path.suffix.lower() == ".csv" else yaml_documents.read_texts(path)
        return _checked(content)
    except (ValueError, OverflowError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: {error}") from None


def read_for(path: Path, names: Sequence[str]) -> PublishedTable:
    """Read a file whose results are to be shown with others of the same categories.

    Raises: InputError naming the file, what was found and what was wanted.
    """
    if not path.is_file():
        raise InputError(
            f"report.published is {str(path)!r}, which is not there; wanted a file, or --report.published null"
        )
    table = read(path)
    if table.categories != tuple(names):
        raise InputError(
            f"{path}: found the categories {', '.join(table.categories)}, wanted those of labels.names, "
            f"{', '.join(names)}; name another table, or --report.published null"
        )
    return table


def findings(table: PublishedTable) -> list[Finding]:
    """One finding per claim, and one for each pair of claims that cannot both be true."""
    known = _known(table.matrix)
    return [
        finding for name, claimed in table.claims.items() for finding in _of_claim(name, claimed, known, table)
    ] + list(_between_claims(table))


def show(path: Path, table: PublishedTable) -> int:
    """Print what became of every claim; returns 1 if anything is contradicted, else 0."""
    found = findings(table)
    wrong = [finding for finding in found if not finding.agrees]
    counted = f"{table.matrix.sum()} units, {len(table.matrix)} categories"
    logs.say(f"{path}: {counted}, {amount(len(found), 'claim')} checked")
    for finding in found:
        verdict = "agrees" if finding.agrees else "CONTRADICTION"
        logs.say(f"  {finding.claim} = {finding.claimed}: {verdict}, {finding.said}")
    known = _known(table.matrix)
    kappas = () if "kappa" in table.claims else KINDS["kappa"]
    for name in ("n", "errors", "over", "under", "accuracy", "balanced_accuracy", *kappas, "icc"):
        if name not in table.claims:
            logs.say(f"  {name}: not claimed, the matrix gives {_text(float(known[name]))}")
    logs.say(f"{len(wrong)} contradictions" if wrong else "no contradiction")
    return 1 if wrong else 0


def _known(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that can be claimed, by name: () or (K,)."""
    values = {name: value if name in _per_category() else value[0] for name, value in metrics.values(matrix).items()}
    return values | {name: np.asarray(count(matrix)) for name, count in COUNTS.items()}


def _per_category() -> set[str]:
    """What is claimed of each category by itself."""
    return {metric.name for metric in metrics.METRICS if metric.per == "category"} | {"support", "predicted"}


def _of_claim(
    name: str, claimed: str | Sequence[str], known: Mapping[str, np.ndarray], table: PublishedTable
) -> Iterator[Finding]:
    if isinstance(claimed, str):
        kinds = KINDS.get(name, (name,))
        fits = [kind for kind in kinds if _fits(claimed, float(known[kind]))]
        said = ", ".join(f"{kind} {_text(float(known[kind]))}" for kind in kinds)
        if len(kinds) == 1:
            said = f"the matrix gives {_text(float(known[name]))}"
        elif fits:
            said = f"it fits {' and '.join(fits)} ({said})"
        else:
            said = f"no kind of it fits: {said}"
        yield Finding(name, claimed, bool(fits), said)
        return
    for category, text, value in zip(table.categories, claimed, known[name].tolist(), strict=True):
        if text not in NOT_CLAIMED:
            said = f"the matrix gives {_text(float(value))}"
            yield Finding(f"{name} of {category}", text, _fits(text, float(value)), said)


def _between_claims(table: PublishedTable) -> Iterator[Finding]:
    """Claims that contradict each other, whatever the matrix holds."""
    claims = {name: text for name, text in table.claims.items() if isinstance(text, str)}
    n = _number(claims["n"])[0] if "n" in claims else float(table.matrix.sum())
    if {"errors", "accuracy"} <= claims.keys() and n:
        implied = 1 - _number(claims["errors"])[0] / n
        said = f"{claims['errors']} errors of {n:.0f} are an accuracy of {_text(implied)}"
        yield Finding("errors and accuracy", claims["accuracy"], _fits(claims["accuracy"], implied), said)
    if {"errors", "over", "under"} <= claims.keys():
        together = _number(claims["over"])[0] + _number(claims["under"])[0]
        said = f"over and under are {together:.0f} together"
        yield Finding("errors, over and under", claims["errors"], _fits(claims["errors"], together), said)


def _fits(text: str, value: float) -> bool:
    """Whether a value, rounded to the digits of the text, is the text."""
    claimed, unit = _number(text)
    return abs(claimed - value) <= unit / 2 + 1e-9  # NaN fits nothing


def _number(text: str) -> tuple[float, float]:
    """A number as printed, and what its last digit is worth.

    Raises: ValueError if it is none.
    """
    found = re.fullmatch(r"([0-9]*(?:\.([0-9]+))?)\s*(%?)", text.strip())
    if not found or not found[1]:
        raise ValueError(f"found {text!r}, wanted a number such as 0.965 or 96.5%")
    share = 0.01 if found[3] else 1.0
    return float(found[1]) * share, 10.0 ** -len(found[2] or "") * share


def _text(value: float) -> str:
    if np.isnan(value):
        return "nothing, it is undefined"
    return f"{value:.0f}" if value.is_integer() and value > 1 else f"{value:.4f}"


def _checked(content: Any) -> PublishedTable:
    if not isinstance(content, dict) or "matrix" not in content:
        raise ValueError("found no matrix, wanted the rows of a confusion matrix under that name")
    if unknown := sorted(content.keys() - set(KEYS)):
        raise ValueError(f"found {', '.join(unknown)}, wanted {', '.join(KEYS)}")
    rows, size = content["matrix"], len(content["matrix"])
    square = isinstance(rows, list) and all(isinstance(row, list) and len(row) == size for row in rows)
    if not square or size < 2 or not all(isinstance(cell, str) and cell.isdecimal() for row in rows for cell in row):
        raise ValueError("the matrix must be square, two categories or more, of whole numbers")
    matrix = np.array([[int(cell) for cell in row] for row in rows], dtype=np.int64)
    if not matrix.any():
        raise ValueError("the matrix counts nothing")
    side = content.get("rows", "true")
    if side not in ("true", "predicted"):
        raise ValueError(f"rows is {side!r}, but must be true or predicted")
    categories = content.get("categories") or [str(index) for index in range(size)]
    if not isinstance(categories, list) or len(categories) != size:
        raise ValueError(f"found {len(categories)} categories, wanted {size}, one per row of the matrix")
    claims = _checked_claims(content.get("claims") or {}, size)
    title, level = str(content.get("title") or "the published table"), content.get("level", "slice")
    if level not in ("slice", "patient"):
        raise ValueError(f"level is {level!r}, but must be slice or patient, what the matrix counts")
    return PublishedTable(
        title, level, tuple(map(str, categories)), matrix.T if side == "predicted" else matrix, claims
    )


def _checked_claims(claims: Any, size: int) -> dict[str, str | list[str]]:
    single = {metric.name for metric in metrics.METRICS if metric.per == "matrix"} | set(COUNTS) | set(KINDS)
    single -= {"support", "predicted"}
    if not isinstance(claims, dict):
        raise ValueError("claims must be names and values")
    for name, claimed in claims.items():
        if isinstance(claimed, list) and (name not in _per_category() or len(claimed) != size):
            wanted = f"{size} values, one per category" if name in _per_category() else "one value"
            raise ValueError(f"claim {name} has {len(claimed)} values, wanted {wanted}")
        if not isinstance(claimed, list) and name not in single:
            raise ValueError(f"claim {name} is not known, wanted one of {', '.join(sorted(single))}")
        for text in claimed if isinstance(claimed, list) else [claimed]:
            if not (isinstance(claimed, list) and text in NOT_CLAIMED):
                try:
                    _number(text)
                except (ValueError, AttributeError) as error:
                    raise ValueError(f"claim {name}: {error}") from None
    return dict(claims)


def _read_csv(path: Path) -> dict[str, object]:
    matrix: list[list[str]] = []
    claims: dict[str, str | list[str]] = {}
    others: dict[str, str | list[str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if all(cell.isdecimal() for cell in cells):
                matrix.append(cells)
            elif cells[0] in ("categories", "rows", "title", "level"):
                others[cells[0]] = cells[1:] if cells[0] == "categories" else cells[1] if len(cells) > 1 else ""
            else:
                claims[cells[0]] = cells[1] if len(cells) == 2 else cells[1:]
    return {"matrix": matrix, "claims": claims, **others}
