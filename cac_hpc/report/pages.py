"""The pages of a report: HTML that loads nothing, of its summary and the pictures beside it. The owner of Jinja2.

There are two, with the slices of patients and without: which one travels is the user's choice.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from cac_hpc.evaluation import examples
from cac_hpc.report import beside_wording, circumstances, pictures, tables, wording
from cac_hpc.run import logs, paths
from cac_hpc.run.config import Config
from cac_hpc.run.paths import RunPaths

CIRCUMSTANCES = "circumstances.json"
HERE = Path(__file__).parent
KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
CONFUSIONS = 8  # pairs of categories that are named
DARK = 0.78  # of a row, from which on white letters are the readable ones

Summary = dict[str, Any]


def write(run: RunPaths, cfg: Config, summary: Summary) -> None:
    """Write both pages, and what they tell of the circumstances."""
    told = circumstances.collect(run, cfg)
    paths.write_json(run.report / CIRCUMSTANCES, told)
    for name, text in of_report(run.report, cfg, summary, told).items():
        paths.write_text(run.report / name, text)


def of_report(folder: Path, cfg: Config, summary: Summary, told: Mapping[str, Any]) -> dict[str, str]:
    """Both pages by their files' names; arguments are those of `html`."""
    return {
        paths.page_name(summary["status"], "html", images): html(folder, cfg, summary, told, images)
        for images in (True, False)
    }


def html(folder: Path, cfg: Config, summary: Summary, told: Mapping[str, Any], images: bool) -> str:
    """The page.

    Args:
        folder: of the report, with its figures. summary: what report.json holds. told: what circumstances.json holds.
        images: whether slices of patients are shown.
    """
    return logs.harmless(
        _environment()
        .get_template("page.html")
        .render(
            summary=summary,
            names=wording.category_names(summary),
            verdict=wording.verdict(summary).split("**"),
            missing=wording.missing_lines(summary),
            mark=tables.status_mark(summary),
            trained=_trained(summary),
            patients_counted=tables.counted("patient", summary["levels"]["patient"]),
            methods=wording.methods(summary),
            limits=wording.limits(summary),
            inflation=wording.inflation(summary),
            inflation_columns=wording.INFLATION_COLUMNS,
            inflation_rows=wording.inflation_rows(summary),
            cards=_cards(summary),
            levels=[_level(level, results, summary) for level, results in wording.tested(summary)],
            beside=_beside(summary),
            crop=beside_wording.crop(summary),
            flow=_flow(summary["cohort"]["intake"]),
            category_rows=_category_rows(summary),
            fold_rows=_fold_rows(summary),
            acquisition=_acquisition(summary["cohort"]["intake"]),
            window=pictures.window_name(cfg),
            galleries=_galleries(folder, summary) if images else None,
            network=pictures.network(summary),
            network_rows=_network_rows(summary),
            training_rows=_training_rows(summary),
            stage_rows=_stage_rows(told),
            speed_rows=_speed_rows(told),
            settings=[(section, list(_flat(values))) for section, values in summary["settings"].items()],
            circumstances=told,
            picture=lambda name: _data(folder / "figures" / name),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": wording.with_interval,
        "number": wording.text,
        "words": _words,
        "heading": tables.heading,
        "breakable": lambda name: markupsafe.escape(name).replace("/", markupsafe.Markup("/<wbr>")),
    }
    return environment


def _cards(summary: Summary) -> list[dict[str, Any]]:
    """The figures that are looked at first, those of patients before those of slices."""
    cards = []
    for level in ("patient", "slice"):
        results = summary["levels"][level]
        figures, n = results["pooled"]["figures"], results["pooled"]["n"]
        if n:
            chance = figures["majority_accuracy"]["value"]
            against = f"always guessing the largest category: {wording.text(chance)}"
            cards.append({"name": f"accuracy, {level} level", "figure": figures["accuracy"], "against": against})
            against = f"agreement by chance: 0; {tables.counted(level, results)}"
            cards.append(
                {"name": f"quadratic kappa, {level} level", "figure": figures["kappa_quadratic"], "against": against}
            )
    return cards


def _trained(summary: Summary) -> dict[str, str]:
    """What the folds say of their training; where they differ, all of it."""
    names = ("parameters", "epochs", "precision", "device", "ranks")
    return {
        name: ", ".join(dict.fromkeys(_count(fold.get(name, "not recorded")) for fold in summary["training"]))
        for name in names
    }


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _level(level: str, results: dict[str, Any], summary: Summary) -> dict[str, Any]:
    """What the page says of one level."""
    pooled, published = results["pooled"], wording.published_at(level, summary)
    return {
        "level": level,
        "results": results,
        "matrix": _matrix(pooled["confusion_matrix"]),
        "figure_columns": ["figure", *wording.fold_columns(results)],
        "figure_rows": wording.figure_rows(results),
        "sign_test": wording.sign_test(pooled),
        "categories": [
            {"name": name, "support": support, "predicted": predicted, **category}
            for name, category, support, predicted in zip(
                wording.category_names(summary),
                pooled["categories"],
                pooled["support"],
                pooled["predicted"],
                strict=True,
            )
        ],
        "category_figures": tables.category_figures(pooled),
        "published": published,
        "published_title": wording.published_title(published) if published else None,
        "counted": tables.counted(level, results),
        "units": tables.units(level, results),
        "collapsed": wording.collapsed_rows(results),
        "calibration": wording.calibration_text(results),
        "confusions": _confusions(pooled["confusion_matrix"], wording.category_names(summary)),
        "other_rules": wording.other_rules(results),
    }


def _beside(summary: Summary) -> list[dict[str, Any]]:
    """What stands beside the network: the rule, and itself with a part of each slice blank."""
    scores = "Score of the rule over the reported one, a point for each test of a patient; the grid is the categories'."
    rule = {"lines": beside_wording.rule(summary), "tables": beside_wording.rule_tables(summary)}
    looks = {"lines": beside_wording.occlusion(summary), "tables": beside_wording.occlusion_tables(summary)}
    return [
        {"id": "rule", "heading": beside_wording.RULE, "pictures": [("scores", scores)], **rule},
        {"id": "looks", "heading": beside_wording.LOOKS, "pictures": [], **looks},
    ]


def _matrix(matrix: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Cells with their share of the row."""
    rows = []
    for index, row in enumerate(matrix):
        total = max(sum(row), 1)
        rows.append(
            [
                {"count": count, "share": round(count / total, 3), "dark": count / total >= DARK, "right": index == at}
                for at, count in enumerate(row)
            ]
        )
    return rows


def _confusions(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of categories that are taken for each other most."""
    pairs: list[dict[str, Any]] = [
        {"true": names[row], "predicted": names[column], "count": count, "of": sum(cells), "off": abs(row - column)}
        for row, cells in enumerate(matrix)
        for column, count in enumerate(cells)
        if count and row != column
    ]
    return sorted(pairs, key=lambda pair: (-pair["count"], -pair["off"], pair["true"]))[:CONFUSIONS]


def _flow(intake: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From what was found to what was used, each step with what it lost; the numbers close."""
    studies, files = intake["studies"], intake["files"]
    return [
        {"unit": "studies", "found": studies["found"], "used": studies["used"],
         "lost": [("without a label", studies["without_label"]), *studies["refused"].items()]},
        {"unit": "files", "found": files["found"], "used": files["used"], "lost": list(files["rejected"].items())},
    ]  # fmt: skip


def _acquisition(intake: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, found in intake["acquisition"].items():
        if "known" not in found:
            rows.append([_words(name), ", ".join(f"{value}: {count}" for value, count in found.items()), ""])
        elif found["known"]:
            unit = f" {found['unit']}" if found["unit"] else ""
            between = f"{found['min']:g} to {found['max']:g}{unit}, median {found['median']:g}"
            rows.append([_words(name.removesuffix("_mm")), between, str(found["known"])])
    return rows


def _category_rows(summary: Summary) -> list[list[str]]:
    counts = summary["cohort"]["intake"]["categories"]
    return [
        [category["name"], _number(category["score_above"], "no score below"), _number(category["score_up_to"], "any"),
         str(labelled), str(used)]
        for category, labelled, used in zip(summary["categories"], counts["labelled"], counts["used"], strict=True)
    ]  # fmt: skip


def _fold_rows(summary: Summary) -> list[list[str]]:
    return [
        [str(fold), *(" / ".join(map(str, counts)) for counts in patients),
         " / ".join(str(sum(part)) for part in zip(*patients, strict=True))]
        for fold, patients in enumerate(summary["cohort"]["folds"])
    ]  # fmt: skip


def _network_rows(summary: Summary) -> list[list[str]]:
    return [
        [layer["layer"], layer["detail"], " x ".join(map(str, layer["output"])), f"{layer['parameters']:,}"]
        for layer in pictures.network(summary)
    ]


def _training_rows(summary: Summary) -> list[list[str]]:
    names = ("fold", "train_slices", "val_slices", "test_slices", "tested_epoch", "epochs", "ranks", "precision",
             "device", "residency")  # fmt: skip
    return [[str(facts.get(name, "")) for name in names] for facts in summary["training"]]


def _stage_rows(told: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for use in told["stages"]:
        minutes, wait = (_rounded(use[name], 60) for name in ("seconds", "queue_s"))
        rows.append(
            [use["stage"], str(use["tasks"]), str(use["starts"]), minutes, str(use["time_min"]),
             _rounded(use["peak_gib"]), f"{use['mem_gb']:g}", _rounded(use["core_hours"] or None),
             _rounded(use["gpu_hours"] or None), wait]
        )  # fmt: skip
    hours = [_rounded(sum(use[name] for use in told["stages"]) or None) for name in ("core_hours", "gpu_hours")]
    return [*rows, ["all", "", "", "", "", "", "", *hours, ""]]


def _speed_rows(told: Mapping[str, Any]) -> list[list[str]]:
    names = ("train_seconds", "val_seconds", "slices_per_second", "peak_memory_mb", "gpu_utilization_percent")
    return [
        [str(fold["fold"]), str(fold["epochs"]), *(_rounded(fold.get(name)) for name in names)]
        for fold in told["folds"]
    ]


def _rounded(value: float | None, per: float = 1) -> str:
    """Three digits, and more before the point."""
    return "-" if value is None else f"{value / per:.0f}" if value / per >= 100 else f"{value / per:.3g}"


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:g}"


def _galleries(folder: Path, summary: Summary) -> list[dict[str, Any]]:
    """The slices that are shown, as far as their pictures are there."""
    titles = {"samples": "Sample slices", "misclassified": "Misclassified slices"}
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in titles}
    stems = {id(example): stem for stem, example in examples.shown(summary)}
    for kind, shown in found.items():
        for example in summary["examples"][kind]["slices"]:
            path = folder / "figures" / f"{stems[id(example)]}.png"
            if path.is_file():
                shown.append({**example, "picture": _data(path)})
    return [
        {"kind": kind, "title": title, "rule": summary["examples"][kind]["rule"], "slices": found[kind],
         "picked": len(summary["examples"][kind]["slices"])}
        for kind, title in titles.items()
    ]  # fmt: skip


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Settings of a section as dotted names and texts."""
    if not isinstance(values, Mapping):
        return [(prefix, "not set" if values is None else _text(values))]
    return [row for key, value in values.items() for row in _flat(value, f"{prefix}.{key}" if prefix else key)]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _data(path: Path) -> str | None:
    """A picture as an address that needs no file; None if it is not there."""
    if not path.is_file():
        return None
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
