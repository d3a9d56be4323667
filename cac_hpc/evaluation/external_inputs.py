"""Predictions and labels of the same studies matched: what an external test is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cac_hpc.evaluation.external_files import (
    FORMAT_VERSION,
    MODEL,
    OTHER,
    OUT_OF_RANGE,
    RULE,
    SET_ENDS,
    ExternalTest,
    Known,
    Source,
)
from cac_hpc.evaluation.predicted import Predicted, probabilities
from cac_hpc.labels import label_rows, labels, matching, spelling
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import Matched
from cac_hpc.results.external import LeftOutStudy
from cac_hpc.results.serialization import Json
from cac_hpc.run.logs import log
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig


@dataclass(frozen=True)
class Asked:
    """What people ask for. names: of the model's predictions, and of those beside them."""

    title: str
    names: Sequence[str]
    cfg: ReportConfig
    count_known: bool = False
    answers: dict[str, str] | None = None  # to what only people can say, by the keys of `questions`


def collect(
    predicted: Predicted, beside: Sequence[Predicted], cfg: LabelsConfig, asked: Asked, internal: Json | None
) -> tuple[ExternalTest, pd.DataFrame]:
    """Match predictions with the sheet's labels, and those of other programs with both.

    Args:
        internal: of the model that the predictions are of.
    Returns: all of the test but what its cohorts are like, and the table of the studies that are tested.
    Raises: InputError as `matching.match_labels`, or if nothing is left.
    """
    matched = matching.match_labels(cfg, predicted.table["study"].tolist(), predicted.file, "study")
    for line in [*matched.warnings, *matched.rows_without_study]:
        log.warning("%s: %s", cfg.origin, line)
    left_out = _left_out(predicted, matched, asked)
    rows = _tested(predicted, left_out, cfg.origin)
    table = _labelled(rows, matched.labels, predicted)
    sources, columns = _sources(predicted, beside, rows, asked, cfg)
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
        known=_known(predicted, asked),
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


def _left_out(predicted: Predicted, matched: Matched, asked: Asked) -> list[LeftOutStudy]:
    """Studies and rows of the sheet that are not tested, and why."""
    known, found = _known_studies(predicted, matched), []
    for row in predicted.table.itertuples():
        study = str(row.study)
        if study in matched.unlabelled:
            found.append(LeftOutStudy(study, "no_label", matched.unlabelled[study]))
        elif row.category == -1:
            why = str(row.fault) or "its row has neither score nor category"
            found.append(LeftOutStudy(study, "no_prediction", why))
        elif study in known and not asked.count_known:
            found.append(LeftOutStudy(study, "known", "its patient was among the training studies"))
    for text in matched.rows_without_study:  # whose cells may hold names: only where they are goes into the report
        found.append(LeftOutStudy("", "no_study", f"the row of cell {text.partition(' ')[0]}"))
    return sorted(found, key=lambda one: (one.why, one.study, one.detail))


def _tested(predicted: Predicted, left_out: Sequence[LeftOutStudy], origin: str) -> pd.DataFrame:
    """The rows of the studies that are left.

    Raises: InputError if there are none.
    """
    gone = predicted.table["study"].isin([one.study for one in left_out])
    rows = predicted.table[~gone].sort_values("study", kind="stable")
    if rows.empty:
        counts = sorted(Counter(one.why for one in left_out).items())
        why = ", ".join(f"{why} {count}" for why, count in counts)
        found = f"found no study that has a prediction and a label in {origin}; left out: {why}"
        raise InputError(f"{predicted.file}: {found}")
    return rows


def _known(predicted: Predicted, asked: Asked) -> Known:
    """What becomes of studies of patients that the model was trained on."""
    if "known" not in predicted.columns:
        return "unknown"
    return "counted" if asked.count_known else "left_out"


def _known_studies(predicted: Predicted, matched: Matched) -> set[str]:
    """The studies of every patient of whom one is known from training."""
    table, named = predicted.table, "patient" in predicted.columns
    own = {study: {study} for study in table["study"]}
    for study, by_predictions in zip(table["study"], table["patient"], strict=True):
        own[study] |= {f"sheet {matched.labels[study].patient}"} if study in matched.labels else set()
        own[study] |= {f"predictions {spelling.normalised(by_predictions)}"} if named and by_predictions else set()
    known = set[str]().union(*(own[study] for study in table.loc[table["known"] > 0, "study"]))
    return {study for study, names in own.items() if names & known}


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
    keys = [spelling.normalised(name) for name in rows["patient"]]
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
    table = one.table.assign(key=one.table["study"].map(spelling.normalised)).set_index("key")
    keys = rows["study"].map(spelling.normalised)
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
