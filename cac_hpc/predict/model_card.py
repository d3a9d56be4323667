"""The model card of a bundle: Markdown, with the metadata that Hugging Face reads at its top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cac_hpc.predict import bundle_members
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.training_range import CODES, NUMBERS, QUANTILES, TOLERANCE, LeftOut, Numbers, TrainingRange
from cac_hpc.report import markdown
from cac_hpc.results.cohort import CategoryRange
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.readers import ScoreAgreement
from cac_hpc.results.serialization import from_json
from cac_hpc.run import digests, escaping
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting
from cac_hpc.settings import yaml_documents

LICENCES = {  # of Hugging Face's list, by which it knows them
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "cc0-1.0",
    "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail",
    "unlicense", "eupl-1.2",
}  # fmt: skip
METRICS = (  # name of a figure, what Hugging Face calls it
    ("accuracy", "accuracy"), ("balanced_accuracy", "balanced_accuracy"), ("f1_macro", "f1"),
    ("kappa_quadratic", "cohen_kappa"),
)  # fmt: skip
HOW = {
    "lesions": "finds the calcium in and near the heart piece by piece, decides of each whether it is coronary, and "
    "adds up the Agatston scores of those that are; the probabilities of the categories follow from the score",
    "slices": "gives each slice probabilities of the categories, and a study those that follow from its slices",
}
LIMITS = (
    "Research software, not a medical device: no decision about a patient may rest on it.",
    "The figures are of a cross-validation within the training cohort. They say nothing of other scanners, protocols "
    "or populations; an external test does (`jobs/predict.py BUNDLE STUDIES --labels SHEET`).",
    "The folds' networks predict together. No figure here is of this ensemble: each study was tested by the one fold "
    "that had not seen it.",
    "A study inside of the training range may be predicted wrong all the same: attributes are looked at one by one.",
)


def text(bundle: Bundle, onnx: Sequence[str] = ()) -> str:
    """The card, whose title is made of the weights alone.

    Args:
        onnx: names of the ONNX files in the bundle.
    """
    sums = [digests.bytes_sha256(bundle_members.weights_file(weights)) for weights in bundle.weights]
    name = f"cac_hpc-{bundle.kind}-{digests.content_sha256(sums)[:8]}"
    parts = [_metadata(bundle, name), f"# {escaping.markdown(name)}", *_parts(bundle, onnx, sums)]
    return "\n\n".join(parts) + "\n"


def _parts(bundle: Bundle, onnx: Sequence[str], sums: Sequence[str]) -> Iterator[str]:
    level = from_json(bundle.internal["level"], Level)
    how = HOW.get(bundle.kind, HOW["slices"])
    own = (
        " Each fold chose the settings of its network among trials, by its own validation patients."
        if bundle.own
        else ""
    )
    yield (
        f"{len(bundle.weights)} networks of kind {bundle.kind}, of the folds of one cross-validation, made by cac_hpc "
        f"{bundle.version}. From an ECG-gated, non-contrast cardiac CT to the category of coronary artery calcium: the "
        f"model {how}.{own}"
    )
    yield "## Intended use\n\n" + _listed(
        "For: research on adult, ECG-gated, non-contrast cardiac CT that lies within the training range below.",
        "Not for: diagnosis or treatment; contrast-enhanced or ungated CT; a scanner whose studies the gate flags.",
    )
    yield "## Categories\n\n" + _categories(bundle)
    yield "## Figures\n\n" + _figures(bundle, level)
    yield "## Training range\n\n" + _range(bundle.training)
    yield "## Gate\n\n" + _gate(bundle.training)
    yield "## Limits\n\n" + _listed(*LIMITS)
    yield "## How to use\n\n" + _use(bundle, onnx, sums)


def _metadata(bundle: Bundle, name: str) -> str:
    """The block of YAML that Hugging Face reads: https://huggingface.co/docs/hub/model-cards."""
    level, known = from_json(bundle.internal["level"], Level), bundle.licence.lower() in LICENCES
    licence = {"license": bundle.licence.lower() if known else "other" if bundle.licence else "unknown"}
    if bundle.licence and not known:
        licence["license_name"] = bundle.licence
    metrics = [
        {"type": kind, "name": f"{figure.replace('_', ' ')} by patient, cross-validated", "value": value}
        for figure, kind in METRICS
        if (value := level.pooled.figures[figure].value) is not None
    ]
    task = {"type": "image-classification", "name": "Category of coronary artery calcium"}
    patients = amount(bundle.internal["cohort"]["patients"], "patient")
    dataset = {"type": "private", "name": f"{patients} of the training cohort"}
    plain = {
        **licence,
        "library_name": "cac_hpc",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "ct", "cardiac", "coronary-artery-calcium", "agatston", bundle.kind],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}],
    }
    return f"---\n{yaml_documents.write(plain)}---"


def _categories(bundle: Bundle) -> str:
    ranges = [from_json(one, CategoryRange) for one in bundle.internal["categories"]]
    counts = bundle.internal["cohort"]["studies_per_category"]
    cells = [[escaping.markdown(one.name), _scores(one), str(count)] for one, count in zip(ranges, counts, strict=True)]
    return markdown.table(("category", "Agatston score", "training studies"), cells)


def _scores(one: CategoryRange) -> str:
    if one.score_above is None:
        return f"up to {one.score_up_to:g}"
    return f"above {one.score_above:g}" + ("" if one.score_up_to is None else f", up to {one.score_up_to:g}")


def _figures(bundle: Bundle, level: Level) -> str:
    names = [escaping.markdown(name) for name in bundle.names]
    rows = [[name.replace("_", " "), formatting.with_interval(figure)] for name, figure in level.pooled.figures.items()]
    calibrated = {} if isinstance(level.calibration, Absent) else level.calibration.figures
    rows += [[name.replace("_", " "), formatting.with_interval(figure)] for name, figure in calibrated.items()]
    if scores := bundle.internal["scores"]:
        of_log = from_json(scores, ScoreAgreement).log_mean_absolute
        rows.append(["mean absolute difference of log(1 + score)", shown(of_log)])
    matrix = [[f"**{name}**", *map(str, row)] for name, row in zip(names, level.pooled.confusion_matrix, strict=True)]
    return "\n\n".join(
        [
            f"By patient, cross-validated, n = {level.pooled.n}; 95 % intervals.",
            markdown.table(("figure", "value [95 % interval]"), rows),
            "Confusion matrix, rows true, columns predicted:",
            markdown.table(("", *names), matrix),
        ]
    )


def _range(training: TrainingRange) -> str:
    rows = [
        [
            " ".join(filter(None, (NUMBERS[name][0], f"({NUMBERS[name][1]})" * bool(NUMBERS[name][1])))),
            *("" if value is None else f"{value:.4g}" for value in _values(one)),
            str(one.n),
            str(one.unknown),
        ]
        for name, one in training.numbers.items()
    ]
    codes = [
        [CODES[name], escaping.markdown(", ".join(f"{code} ({count})" for code, count in one.counts.items()))]
        for name, one in training.codes.items()
    ]
    head = ("attribute", "lowest", *(f"{100 * share:g} %" for share in QUANTILES), "highest", "n", "not known")
    return "\n\n".join([markdown.table(head, rows), markdown.table(("attribute", "training studies"), codes)])


def _values(one: Numbers) -> list[float | None]:
    quantiles: list[float | None] = [*one.quantiles] or [None] * len(QUANTILES)
    return [one.low, *quantiles, one.high]


RULE = (
    f"A study is flagged if a number lies beyond the training studies' by more than {100 * TOLERANCE:g} % of their "
    "range or of that end, whichever is more; if none of them had its code; or if what was known of all of them is not "
    "known of it. Names of kernels and scores are listed, but flag nothing."
)
MEANING = (
    "The same, of training studies that were left out of the range, as flagged of all. False alarm: a flagged study "
    "whose patient the cross-validation predicted right; miss: one that was not flagged and predicted wrong. Its folds "
    "had seen the kernel that is left out here: on a new scanner the model can be worse. 95 % intervals, wider where "
    "studies of one kernel are alike."
)


def _gate(training: TrainingRange) -> str:
    rows = [
        [_left_out(one), *(counted(figure) for figure in (one.flagged, one.false_alarms, one.misses)), _reasons(one)]
        for one in training.gate
    ]
    head = ("left out in turn", "flagged", "false alarms", "misses", "flagged for")
    return "\n\n".join([RULE, MEANING, markdown.table(head, rows)]) if rows else f"{RULE} It was not measured."


def gate(training: TrainingRange) -> list[str]:
    """What the gate did to studies that were left out of the range, in lines."""
    return [
        f"gate, {_left_out(one)} left out in turn: flagged {counted(one.flagged)}, false alarms "
        f"{counted(one.false_alarms)}, misses {counted(one.misses)}"
        for one in training.gate
    ]


def _left_out(found: LeftOut) -> str:
    return f"each of {found.groups} studies" if found.by == "study" else f"each of {found.groups} {found.by}s"


def _reasons(found: LeftOut) -> str:
    words = {**CODES, **{name: words for name, (words, _) in NUMBERS.items()}}
    return ", ".join(f"{words[name]} {count}" for name, count in found.attributes.items())


def counted(figure: Figure) -> str:
    """A share as how many of how many, with its interval."""
    if figure.value is None:
        return "0 of 0"
    return f"{round(figure.value * figure.n)} of {figure.n}, {formatting.with_interval(figure)}"


def shown(figure: Figure) -> str:
    """A figure with its interval and the number of units."""
    return f"{formatting.with_interval(figure)}, n = {figure.n}" if figure.value is not None else f"- ({figure.note})"


def _use(bundle: Bundle, onnx: Sequence[str], sums: Sequence[str]) -> str:
    lines = ["```sh", "python jobs/predict.py BUNDLE STUDIES --out DIR", "```"]
    listed = [f"- `fold-{fold}.pt`: `{digest}`" for fold, digest in enumerate(sums)]
    files = [f"{', '.join(f'`{name}`' for name in onnx)}: the same networks as ONNX."] if onnx else []
    return "\n\n".join(
        [
            "\n".join(lines),
            f"Licence: {escaping.markdown(bundle.licence) or 'none is given, so nothing is allowed beyond the law'}.",
            *files,
            "SHA-256 of the weights:\n\n" + "\n".join(listed),
        ]
    )


def _listed(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)
