"""The words and rows for what stands beside the network: the Agatston rule, itself half blind, and cropping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cac_hpc.report import wording

RULE, LOOKS = "The Agatston rule beside it", "Where the network looks"
BESIDE = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_plain", "kappa_quadratic")


@dataclass(frozen=True)
class Table:
    """A table of the report; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def rule(summary: dict[str, Any]) -> list[str]:
    """What the Agatston rule says of the same patients, and how to read it."""
    found = summary["rule"]
    if found["note"]:
        return [f"The Agatston rule is not set beside the network: {found['note']}."]
    patients, scores, test = found["levels"]["patient"], found["scores"], found["sign_test"]
    left_out = f" (studies of patients without a score, left out: {found['left_out']['studies']})"
    p_value = test["note"] if test["p_value"] is None else f"{test['test']}, {wording.chance(test['p_value'])}"
    lines = [
        "The rule (lesions of at least 130 HU where the heart is, found automatically, scored as by Agatston) was told "
        "nothing of the labels. Of a patient it gives the category of the score, of a slice that of the slice's own "
        f"part of the score. Both on the same {patients['n']['other']} tests of patients{left_out}.",
        f"Of the patients the network is right more often on {test['other_better']}, the rule on "
        f"{test['reference_better']}, both are equal on {test['equal']}: {p_value}.",
    ]
    if scores["bias"] is None:
        lines.append(f"Rule's less reported score: not given, for there are {scores['note']}.")
    else:
        lines.append(
            f"Rule's less reported score, {scores['n']} patients: mean {scores['bias']:+.1f}, 95 % limits of agreement "
            f"{scores['low']:+.1f} to {scores['high']:+.1f}."
        )
    return lines


def rule_tables(summary: dict[str, Any]) -> list[Table]:
    """The rule's figures beside the network's, its matrices, and what slices cannot show."""
    if summary["rule"]["note"]:
        return []
    levels, names = dict(reversed(summary["rule"]["levels"].items())), wording.category_names(summary)
    figures = [
        [f"{level}, {name.replace('_', ' ')}",
         *(wording.with_interval(results["matrices"][role]["figures"][name]) for role in ("reference", "other")),
         wording.difference(results["figures"][name])]
        for level, results in levels.items() for name in BESIDE
    ]  # fmt: skip
    empty = [
        [
            name,
            str(row["studies"]),
            str(row["slices"]),
            str(row["empty"]),
            wording.with_interval({**row, "value": row["share"]}),
        ]
        for name, row in zip(names, summary["rule"]["empty_slices"], strict=True)
    ]
    of_all = ["", "Agatston rule", "network", "network less rule"]
    return [
        Table("The rule and the network on the same units, in brackets 95 % intervals", of_all, figures),
        *(
            Table(
                f"Confusion matrix of the rule, {level} level, rows true, columns predicted",
                ["true \\ predicted", *names],
                wording.matrix_rows(names, results["matrices"]["reference"]),
            )
            for level, results in levels.items()
        ),
        Table(
            "Slices without any voxel of 130 HU where the heart is: what nobody can read from a slice alone",
            ["category", "studies", "slices", "without", "share [95 % interval]"],
            empty,
        ),
    ]


def occlusion(summary: dict[str, Any]) -> list[str]:
    """What the network was shown of each slice in the occlusion test."""
    found = summary["occlusion"]
    if found["note"]:
        return [f"The network was not tested on parts of slices: {found['note']}."]
    left_out = found["left_out"]["studies"]
    without = f" Studies in which no heart was found, left out: {left_out}." if left_out else ""
    if found["left_out"]["folds"]:
        without += f" Folds without this test, left out: {', '.join(map(str, found['left_out']['folds']))}."
    return [
        "The same slices were shown to the network once more with all but a box around the heart blank, and once with "
        f"that box blank ({found['blank_hu']:g} HU). The box is {found['share']:.0%} of a slice. A network that reads "
        f"the coronary arteries keeps its accuracy with the heart alone and loses it without.{without}"
    ]


def occlusion_tables(summary: dict[str, Any]) -> list[Table]:
    """Figures with everything, the heart and the rest to be seen, and accuracies of each fold."""
    if summary["occlusion"]["note"]:
        return []
    views, folds = summary["occlusion"]["views"], summary["occlusion"]["folds"]
    figures = [
        [f"{level}, {name.replace('_', ' ')}", wording.text(of_views[0]["reference"], 3),
         *(cell for figure in of_views for cell in (wording.text(figure["other"], 3), wording.difference(figure)))]
        for level in ("patient", "slice") for name in BESIDE
        for of_views in [[one["levels"][level]["figures"][name] for one in views.values()]]
    ]  # fmt: skip
    accuracies = [[*fold["patient"].values(), *fold["slice"].values()] for fold in folds]
    by_fold = [
        [f"fold {fold['fold']}", *(wording.text(value, 3) for value in values)]
        for fold, values in zip(folds, accuracies, strict=True)
    ]
    return [
        Table(
            "What is left of the network's figures where a part of each slice is blank",
            ["", "everything seen", "the heart alone", "change [95 %]", "all but the heart", "change by it [95 %]"],
            figures,
        ),
        Table(
            "Accuracy by fold: everything seen, the heart alone, all but the heart",
            ["", *(f"{level}s: {seen}" for level in ("patient", "slice") for seen in ("all", "heart", "rest"))],
            by_fold,
        ),
    ]


def short_tables(summary: dict[str, Any]) -> list[Table]:
    """Of both, the accuracies: what eighty columns are enough for."""
    found = []
    if levels := summary["rule"].get("levels"):
        rows = [
            [f"{level}, {name.replace('_', ' ')}", wording.text(figure["reference"], 3),
             wording.text(figure["other"], 3), wording.difference(figure)]
            for level, results in reversed(levels.items())
            for name, figure in ((name, results["figures"][name]) for name in ("accuracy", "kappa_quadratic"))
        ]  # fmt: skip
        found.append(Table(RULE, ["", "rule", "network", "less rule [95 % interval]"], rows))
    if views := summary["occlusion"].get("views"):
        rows = [
            [
                f"{level}, accuracy",
                *(wording.text(figure, 3) for figure in (of[0]["reference"], of[0]["other"], of[1]["other"])),
            ]
            for level in ("patient", "slice")
            for of in [[one["levels"][level]["figures"]["accuracy"] for one in views.values()]]
        ]
        found.append(
            Table(f"{LOOKS}: what is left where the rest is blank", ["", "all", "heart", "all but heart"], rows)
        )
    return found


def crop(summary: dict[str, Any]) -> list[str]:
    """What cropping to the heart has changed, if slices were cropped."""
    found = summary["cohort"]["intake"].get("crop")
    if not found:
        return []
    refused = summary["cohort"]["intake"]["studies"]["refused"].get("no_heart", 0)
    if not found["studies"]:
        return [f"No slice was cropped (pack.crop: heart): no heart was found in {found['whole']} studies."]
    side, share, pixel, whole = (found[name] for name in ("side_mm", "share", "pixel_mm", "whole_pixel_mm"))
    return [
        f"Slices were cropped to a square around the heart and {found['margin_mm']:g} mm around it (pack.crop: heart) "
        f"before they were resampled: its side is {side['min']:.0f} to {side['max']:.0f} mm, median "
        f"{side['median']:.0f}; {share['median']:.0%} of a slice (median) are kept, and a packed pixel is "
        f"{pixel['median']:.2f} mm wide in place of {whole['median']:.2f}. {found['whole']} studies are whole, for no "
        f"heart was found in them, and {refused} were left out for it. What it did to the results: python "
        "jobs/report.py RUN_WITHOUT_CROP RUN."
    ]
