"""What an external test is made from: predictions and labels of the same studies, as a table and what goes with it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from cac_hpc.evaluation import report_json
from cac_hpc.evaluation.predicted import Predicted, probabilities
from cac_hpc.labels import label_rows, labels, matching, sheets
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import Matched
from cac_hpc.results.external import CohortFact, LeftOutStudy
from cac_hpc.results.serialization import Damaged, Json, Omitted, from_json, to_json
from cac_hpc.run import paths
from cac_hpc.run.config import InputError, LabelsConfig, ReportConfig
from cac_hpc.run.logs import log

MODEL, RULE, OTHER = "model", "rule", "other"
SETTINGS, TABLE = paths.EXTERNAL_TEST, "tested.csv"  # beside the report's folder
FORMAT_VERSION = 4
SET_ENDS = ("set_low", "set_high")  # of a prediction set: its lowest and highest category
OUT_OF_RANGE = "out_of_range"  # a column of predictions, and of the table
DIFFERENT = {  # what people call a field in which two external tests differ
    "title": "title", "names": "categories", "edges": "categories", "sources": "names of the readers",
    "internal": "bundle beside", "cuts": "--cuts", "cohorts": "facts of the studies", "known": "--known",
}  # fmt: skip
NOTHING = "found no study that has a prediction and a label"
Known = Literal["left_out", "counted", "unknown"]


@dataclass(frozen=True)
class Source:
    """Predictions of the studies: key of their columns in the table, name, and what they consist of.

    sets: whether there are prediction sets. coverage: of what share of patients these are to name the category.
    """

    key: str
    name: str
    scores: bool
    probabilities: bool
    sets: bool = False
    coverage: float | None = None


@dataclass(frozen=True)
class ExternalTest:
    """All of an external test but its table. labelled: studies of each category. internal: see `export.internal`."""

    format_version: int
    title: str
    names: list[str]
    edges: list[float]
    draws: int
    seed: int
    sources: list[Source]
    studies_found: int
    slices: int
    labelled: list[int]
    left_out: list[LeftOutStudy]
    known: Known
    known_studies: int
    out_of_range: int | None
    internal: Json | None
    cohorts: list[CohortFact]
    digests: dict[str, str]
    cuts: list[float]
    answers: Annotated[dict[str, str] | None, Omitted] = None

    @property
    def statistics(self) -> ReportConfig:
        return ReportConfig(draws=self.draws, seed=self.seed, cuts=tuple(self.cuts))


@dataclass(frozen=True)
class Asked:
    """What people ask for. names: of the model's predictions, and of those beside them."""

    title: str
    names: Sequence[str]
    cfg: ReportConfig
    count_known: bool = False
    answers: dict[str, str] | None = None  # to what only people can say, by the keys of `questions`


def collect(
    predicted: Predicted,
    beside: Sequence[Predicted],
    cfg: LabelsConfig,
    asked: Asked,
    internal: Json | None,
) -> tuple[ExternalTest, pd.DataFrame]:
    """Match predictions with the sheet's labels, and those of other programs with both.

    Args:
        internal: of the model that the predictions are of.
    Returns: all of the test but what its cohorts are like, and the table of the studies that are tested.
    Raises: InputError as `matching.match_labels`, or if nothing is left.
    """
    matched = match(predicted, cfg)
    for line in [*matched.warnings, *matched.rows_without_study]:
        log.warning("%s: %s", cfg.origin, line)
    left_out = sorted(_left_out(predicted, matched, asked), key=lambda one: (one.why, one.study, one.detail))
    gone = {one.study for one in left_out}
    rows = predicted.table[~predicted.table["study"].isin(gone)].sort_values("study", kind="stable")
    if rows.empty:
        raise InputError(f"{predicted.file}: {NOTHING} in {cfg.origin}; left out: {_counted(left_out)}")
    table = _labelled(rows, matched.labels, predicted)
    sources, columns = _sources(predicted, beside, rows, asked, cfg)
    known = "known" in predicted.columns
    test = ExternalTest(
        format_version=FORMAT_VERSION,
        title=asked.title,
        names=list(cfg.names),
        edges=list(cfg.edges),
        draws=asked.cfg.draws,
        seed=asked.cfg.seed,
        sources=sources,
        studies_found=len(predicted.table),
        slices=int(np.nansum(rows["slices"].to_numpy(float))),
        labelled=_counts([one.category for one in matched.labels.values()], len(cfg.names)),
        left_out=left_out,
        known=("counted" if asked.count_known else "left_out") if known else "unknown",
        known_studies=len(_known_studies(predicted, matched)),
        out_of_range=int(rows[OUT_OF_RANGE].sum()) if OUT_OF_RANGE in predicted.columns else None,
        internal=internal,
        cohorts=[],
        digests=_digests(predicted, beside, cfg),
        cuts=list(asked.cfg.cuts),
        answers=asked.answers,
    )
    return test, pd.concat([table, *(one.set_axis(table.index) for one in columns)], axis=1)


def _sources(
    predicted: Predicted, beside: Sequence[Predicted], rows: pd.DataFrame, asked: Asked, cfg: LabelsConfig
) -> tuple[list[Source], list[pd.DataFrame]]:
    """Who says something of the studies that are tested, the model first, and the columns of what each says.

    Args:
        rows: of the predictions, those that are tested.
    """
    said = (predicted.scores, predicted.probabilities, predicted.sets, predicted.coverage)
    sources = [Source(MODEL, asked.names[0], *said)]
    columns = [_columns(MODEL, predicted, rows, len(cfg.names))]
    if "rule_score" in predicted.columns and rows["rule_score"].notna().any():
        sources.append(Source(RULE, "", scores=True, probabilities=False))
        columns.append(_of_rule(rows, cfg.edges))
    for number, (one, name) in enumerate(zip(beside, asked.names[1:], strict=True), start=1):
        key = OTHER + (f"_{number}" if number > 1 else "")
        sources.append(Source(key, name, one.scores, one.probabilities))
        columns.append(_columns(key, one, _same_studies(one, rows), len(cfg.names)))
    return sources, columns


def match(predicted: Predicted, cfg: LabelsConfig) -> Matched:
    """The label of every study that was predicted.

    Raises: InputError as `matching.match_labels`.
    """
    return matching.match_labels(cfg, predicted.table["study"].tolist(), predicted.file, "study")


def _left_out(predicted: Predicted, matched: Matched, asked: Asked) -> Iterator[LeftOutStudy]:
    known = _known_studies(predicted, matched)
    for row in predicted.table.itertuples():
        study = str(row.study)
        if study in matched.unlabelled:
            yield LeftOutStudy(study, "no_label", matched.unlabelled[study])
        elif row.category == -1:
            yield LeftOutStudy(study, "no_prediction", str(row.fault) or "its row has neither score nor category")
        elif study in known and not asked.count_known:
            yield LeftOutStudy(study, "known", "its patient was among the training studies")
    for text in matched.rows_without_study:  # whose cells may hold names: only where they are goes into the report
        yield LeftOutStudy("", "no_study", f"the row of cell {text.partition(' ')[0]}")


def _known_studies(predicted: Predicted, matched: Matched) -> set[str]:
    """The studies of every patient of whom one is known from training."""
    table, named = predicted.table, "patient" in predicted.columns
    own = {study: {study} for study in table["study"]}
    for study, by_predictions in zip(table["study"], table["patient"], strict=True):
        own[study] |= {f"sheet {matched.labels[study].patient}"} if study in matched.labels else set()
        own[study] |= {f"predictions {sheets.normalised(by_predictions)}"} if named and by_predictions else set()
    known = set[str]().union(*(own[study] for study in table.loc[table["known"] > 0, "study"]))
    return {study for study, names in own.items() if names & known}


def _counted(left_out: Sequence[LeftOutStudy]) -> str:
    counts = Counter(one.why for one in left_out)
    return ", ".join(f"{why} {count}" for why, count in sorted(counts.items()))


def _labelled(rows: pd.DataFrame, own: Mapping[str, Label], predicted: Predicted) -> pd.DataFrame:
    """Study, patient, reported score, category and, if that is known, whether it lies outside of the training range."""
    studies = rows["study"].tolist()
    patient = [own[study].patient for study in studies]
    if "patient" in predicted.columns:
        patient = _numbered(rows, patient, predicted.file)
    score = [np.nan if own[study].score is None else own[study].score for study in studies]
    category = [own[study].category for study in studies]
    table = pd.DataFrame({"study": studies, "patient": patient, "score": score, "category": category})
    known = OUT_OF_RANGE in predicted.columns
    return table.assign(**{OUT_OF_RANGE: rows[OUT_OF_RANGE].to_numpy()}) if known else table


def _numbered(rows: pd.DataFrame, by_sheet: Sequence[str], file: str) -> list[str]:
    """Numbers of the patients that the predictions name, unless the sheet names others.

    Raises: InputError if both do, and do not agree.
    """
    keys = [sheets.normalised(name) for name in rows["patient"]]
    number = {key: f"P{index:04d}" for index, key in enumerate(sorted(set(keys)), start=1)}
    if set(by_sheet) != set(rows["study"]):  # the sheet has patients of its own
        pairs = set(zip(keys, by_sheet, strict=True))
        if not len(pairs) == len(set(keys)) == len(set(by_sheet)):
            raise InputError(f"{file}: its column patient and labels.patient_column group the studies in two ways")
    return [number[key] for key in keys]


def _columns(key: str, one: Predicted, rows: pd.DataFrame, num_categories: int) -> pd.DataFrame:
    """What a program said of the studies: category -1 where it says nothing."""
    found: dict[str, pd.Series] = {f"{key}_category": rows["category"].astype(int)}
    if one.scores:
        found[f"{key}_score"] = rows["score"]
    if one.sets and key == MODEL:
        found |= {f"{key}_{end}": rows[end].astype(int) for end in SET_ENDS}
    if one.probabilities:
        chance_NK = probabilities(rows, num_categories)
        found |= {f"{key}_p{category}": column for category, column in enumerate(chance_NK.T)}
    return pd.DataFrame(found)


def _of_rule(rows: pd.DataFrame, edges: Sequence[float]) -> pd.DataFrame:
    score = rows["rule_score"].to_numpy(float)
    category = np.where(np.isnan(score), -1, labels.categories(np.nan_to_num(score).tolist(), edges))
    return pd.DataFrame({f"{RULE}_category": category, f"{RULE}_score": score})


def _same_studies(one: Predicted, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the same studies, in their order; category -1 of studies that it lacks.

    Raises: InputError if it has none of them.
    """
    table = one.table.assign(key=one.table["study"].map(sheets.normalised)).set_index("key")
    keys = rows["study"].map(sheets.normalised)
    if not keys.isin(table.index[table["category"] >= 0]).any():
        raise InputError(f"{one.file}: found predictions of none of the studies, wanted those of the same studies")
    found = table.reindex(keys)
    return found.assign(category=found["category"].fillna(-1))


def _counts(categories: Sequence[int], num_categories: int) -> list[int]:
    counts: list[int] = np.bincount(np.array(categories, int), minlength=num_categories).tolist()
    return counts


def _digests(predicted: Predicted, beside: Sequence[Predicted], cfg: LabelsConfig) -> dict[str, str]:
    found = {"predictions_sha256": predicted.sha256, "labels_sha256": label_rows.content(cfg)}
    return found | {f"beside_{number}_sha256": one.sha256 for number, one in enumerate(beside, start=1)}


def check_place(out: Path, test: ExternalTest, table: pd.DataFrame) -> None:
    """The folder holds no report yet, or that of this very external test.

    Raises: InputError naming what differs.
    """
    if not (out / SETTINGS).exists():
        if (out / "report").exists():
            raise InputError(f"--out {out}: found a report in it that is of no external test, wanted another folder")
        return
    before, now = _object(out / SETTINGS), to_json(test)
    keys = [key for key in now if before.get(key) != now[key] and key != "answers"]
    other = [DIFFERENT.get(key, "settings") for key in keys if key != "digests"]
    digests_before = before["digests"] if isinstance(before.get("digests"), dict) else {}
    known = {**digests_before, **test.digests}
    other = [
        name.removesuffix("_sha256") for name in known if digests_before.get(name) != test.digests.get(name)
    ] + other
    if other or not (out / TABLE).is_file() or (out / TABLE).read_text(encoding="utf-8") != _text(table):
        what = ", ".join(dict.fromkeys(other)) or "table"
        raise InputError(
            f"--out {out}: found the report of another external test in it (other {what}), which would be replaced; "
            f"wanted the same again, or another folder"
        )


def check_labels(out: Path, cfg: LabelsConfig) -> None:
    """The report that is there was made with these sheets.

    Raises: InputError if not.
    """
    known = _object(out / SETTINGS).get("digests")
    if not isinstance(known, dict) or known.get("labels_sha256") != label_rows.content(cfg):
        given = " ".join(f"--labels {shlex.quote(sheet)}" for sheet in cfg.sheets)
        raise InputError(
            f"--out {out}: found a report that was made with another sheet than {cfg.origin}; wanted that sheet, or a "
            f"report elsewhere: python jobs/evaluate.py {shlex.quote(str(out))} {given} --out ELSEWHERE"
        )


def _object(path: Path) -> dict[str, Any]:
    """What is in a JSON file of ours; nothing where it is damaged."""
    try:
        return report_json.load(path)
    except (OSError, Damaged):
        return {}


def _text(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))


def write(out: Path, test: ExternalTest, table: pd.DataFrame) -> None:
    """Write both, so that the report can be made again."""
    paths.write_text(out / TABLE, _text(table))
    paths.write_json(out / SETTINGS, to_json(test))


def read(out: Path) -> tuple[ExternalTest, pd.DataFrame]:
    """What `write` wrote.

    Raises: InputError naming the file that is not there, or damaged.
    """
    try:
        content = report_json.load(out / SETTINGS)
        if (version := content.get("format_version")) != FORMAT_VERSION:
            raise InputError(f"{out / SETTINGS}: found format version {version!r}, wanted {FORMAT_VERSION}")
        table = pd.read_csv(out / TABLE, dtype="str", keep_default_na=False)
        return from_json(content, ExternalTest), _numeric(table)
    except (OSError, Damaged, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{out}: {SETTINGS} or {TABLE} cannot be read ({error}); evaluate the predictions again"
        ) from None


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """The same numbers as were written; blank cells are NaN."""
    numbers = [name for name in table if name not in ("study", "patient")]
    found = table.assign(**{str(name): [float(text or "nan") for text in table[name]] for name in numbers})
    whole = ("category", *SET_ENDS, OUT_OF_RANGE)
    return found.astype({name: int for name in map(str, numbers) if name.endswith(whole)})
