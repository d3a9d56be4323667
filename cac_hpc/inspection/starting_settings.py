"""Settings to start from for a folder that nobody knows, as YAML: every choice that a person must make is marked.

They train the model of lesions, which needs no GPU, and are complete: what is not in them has its default.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cac_hpc.dataset import summary
from cac_hpc.inspection.found import Found
from cac_hpc.inspection.masks_found import MasksFound
from cac_hpc.inspection.series_found import SeriesFound, StudyFound
from cac_hpc.inspection.sheet_columns import SheetFound
from cac_hpc.run import logs
from cac_hpc.settings.pack import PackConfig

DECIDE = "decide:"  # begins what a person must look at
USUAL_STEP_MM = (2.4, 3.1)
FEW, MANY = 12, 25  # labelled studies, below which fewer folds are made
REST = """model:
  kind: lesions # which calcium is coronary, learned from the scores alone; configs/paper.yaml has the network of slices
  members: 3
train:
  epochs: 10
  steps: 500
  batch_size: 16
  optimizer: adamw
  learning_rate: 1.0e-2
  weight_decay: 0.1
  schedule: one_cycle
  class_weight: none
  evaluate: last
  device: cpu
  precision: fp32
cluster: # --cluster configs/cluster/gpu.yaml, with what your site needs, for a cluster
  kind: auto
  ranks_per_node: 1
"""


def text(found: Found) -> str:
    """The settings as YAML."""
    labels, num_labelled = _labels(found)
    lines = [
        "# Settings to start from, proposed by jobs/inspect_studies.py from what was found.",
        f"# Look at every line with '{DECIDE}'. Then, for this file:",
        "#   python jobs/launch_cv.py --config FILE --dry_run    checks all, shows what is taken, submits nothing",
        "#   python jobs/launch_cv.py --config FILE              packs, trains and reports",
        f"run: {_quoted(_run(found.place.root))}",
        "data:",
        f"  dicom_root: {_path(found.place.root)} # {len(found.place.studies)} studies",
        *(f"  # {DECIDE} {remark}" for remark in found.place.remarks),
        *_format(found),
        "labels:",
        *(f"  {line}" for line in labels),
        *_pack(found),
        *_split(num_labelled),
    ]
    return "\n".join(map(logs.line, lines)) + "\n" + REST


def _run(root: Path) -> str:
    """A run folder that is not there yet, named for the folder of studies."""
    own = root.parent.name if root.name.lower() in ("patient", "patients", "studies", "dicom", "data") else root.name
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", own).strip("_") or "study"
    names = (f"runs/{name}", *(f"runs/{name}_{number}" for number in range(2, 100)))
    return next((one for one in names if not Path(one).exists()), names[0])


def _format(found: Found) -> list[str]:
    """Where volumes of other formats lie beside DICOM."""
    if found.format == "auto":
        return []
    listed = ", ".join(f"{name} in {count}" for name, count in found.volumes.items())
    return [f"  format: dicom # {DECIDE} folders of studies hold other volumes, too ({listed}): are these masks?"]


def _labels(found: Found) -> tuple[list[str], int]:
    """The section of labels, and how many studies have one."""
    total = len(found.place.studies)
    sheets = sorted(
        (one for one in found.sheets if one.study and (one.score or one.vessels)), key=lambda one: -one.matched
    )
    masks = [one for one in found.masks if one.arteries and one.fitting]
    others = [f"# also found: sheet {one.path!r}, which names {one.matched} studies" for one in sheets[1:]]
    if sheets and (not masks or sheets[0].matched >= masks[0].studies):
        others += [f"# also found: masks of arteries, source: masks, masks: {_path(one.pattern)}" for one in masks]
        return [*_of_sheet(sheets[0], total), *others], sheets[0].matched
    if masks:
        others += [f"# also found: sheet {one.path!r}, which names {one.matched} studies" for one in sheets[:1]]
        return [*_of_masks(masks[0], total), *others], masks[0].studies
    if found.reports:
        line = f"source: sr # {DECIDE} {found.reports} of {len(found.looked_at)} studies looked at hold a report of it"
        return [line, "unmatched: skip # leaves out studies without one"], total * found.reports // len(found.looked_at)
    return [f"sheet: labels.csv # {DECIDE} no sheet, mask or report with scores was found; a sheet with columns",
            "# study and score, one row per study, its study the folder's name"], total  # fmt: skip


def _of_sheet(sheet: SheetFound, total: int) -> list[str]:
    lines = [f"sheet: {_path(sheet.path)}", f"study_column: {_quoted(sheet.study or '')}"]
    if sheet.score:
        lines.append(f"score_column: {_quoted(sheet.score)}")
        if sheet.vessels:
            listed = ", ".join(map(_quoted, sheet.vessels))
            lines.append(f"# vessel_columns: [{listed}] # checked against the score where this is set")
    else:
        lines += [
            "score_column: null # the sum of the vessels",
            f"vessel_columns: [{', '.join(map(_quoted, sheet.vessels))}]",
        ]
    lines += [f"patient_column: {_quoted(sheet.patient)}"] if sheet.patient else []
    lines += [f"# {DECIDE} {doubt}" for doubt in sheet.doubts]
    if sheet.dropped:
        row, study = sheet.dropped.pairs[0]
        pairs = f"row {row!r} is study {study!r}, and so on for {len(sheet.dropped.pairs)}"
        lines.append(f"{sheet.dropped.setting}: {_quoted(sheet.dropped.text)} # {DECIDE} {pairs}")
    if sheet.matched < max(total, sheet.rows):
        lines.append(f"unmatched: skip # {DECIDE} {sheet.matched} of {total} studies have one of {sheet.rows} rows; "
                     "the others are left out, and listed")  # fmt: skip
    return lines


def _of_masks(masks: MasksFound, total: int) -> list[str]:
    lines = ["source: masks # the Agatston score inside of what was drawn", f"masks: {_path(masks.pattern)}"]
    lines += [f"# {DECIDE} {remark}" for remark in masks.remarks]
    if masks.studies < total:
        without = f"{total - masks.studies} of {total} studies have no mask"
        lines.append(f"without_mask: refuse # {DECIDE} {without}; zero if they were looked at and have no calcium")
    return [*lines, "unmatched: skip # studies without a score are left out, and listed"]


def _pack(found: Found) -> list[str]:
    """The section of packing: what the default rule would not take, and what scores depend on."""
    defaults, studies = PackConfig(), list(found.looked_at.values())
    taken = [study.taken for study in studies if study.taken]
    lines = ["pack:", "  slices: false # the model of lesions needs none"]
    lines += _for_others(studies, defaults) or _for_none(studies, defaults)
    steps = Counter(round(one.spacing_mm, 1) for one in taken if one.spacing_mm)
    low, high = USUAL_STEP_MM
    if odd := {step: count for step, count in steps.items() if not low <= step <= high}:
        listed = ", ".join(f"{count} x {step:g} mm" for step, count in sorted(odd.items()))
        lines.append(f"  spacing_factor: true # {DECIDE} slices are not 3 mm apart ({listed}): false if the scores of "
                     "the labels were not multiplied by the spacing / 3 mm")  # fmt: skip
    lines += [f"  # {DECIDE} {said}" for said in _mixed(taken)]
    lines += [f"  # regions: {_path(one.pattern)} # score in these masks, not in the heart that is found; :PART chooses"
              for one in found.masks if one.fitting and not one.arteries]  # fmt: skip
    refused = len(studies) - len(taken)
    if refused and taken:
        share = min(0.9, math.ceil(10 * refused / len(studies) + 1) / 10)
        lines.append(f"  limits: {{rejected_studies: {share:g}}} # {DECIDE} {refused} of {len(studies)} studies looked "
                     "at cannot be used")  # fmt: skip
    return lines


def _for_none(studies: Sequence[StudyFound], defaults: PackConfig) -> list[str]:
    """Why no study would be taken, where that is so, and what lets them be used."""
    why = Counter(study.refused for study in studies)
    if not studies or not all(why):
        return []
    advice = summary.advice(why, replace(defaults, slices=False, candidates=True))
    return [f"  # {DECIDE} none of the studies looked at can be used ({summary.counted(why)}): {advice}"]


def _for_others(studies: Sequence[StudyFound], defaults: PackConfig) -> list[str]:
    """Settings that let series be taken which the default rule leaves out."""
    best = [study.series[0] for study in studies if study.series and not study.taken]
    if not best or len(best) < len(studies) / 2:
        return []
    lines = []
    low, high = defaults.series.thickness_mm
    thickness = [one.thickness_mm or one.spacing_mm or low for one in best]
    if min(thickness) < low or max(thickness) > high:
        wanted = f"[{min(low, *thickness, high):g}, {max(high, *thickness):g}]"
        found = f"{min(thickness):g} to {max(thickness):g} mm"
        lines.append(f"  series: {{thickness_mm: {wanted}}} # {DECIDE} slices are {found} thick, scores are defined "
                     "for 3 mm")  # fmt: skip
    if (fewest := min(one.positions for one in best)) < defaults.min_slices:
        lines.append(f"  min_slices: {fewest} # {DECIDE} some series have no more; a heart has some 40 of 3 mm")
    return lines


def _mixed(taken: Sequence[SeriesFound]) -> list[str]:
    """What should be the same in a cohort and is not, and what the headers do not say."""
    said = []
    kvp = Counter("unknown" if one.kvp is None else f"{one.kvp:g}" for one in taken)
    if set(kvp) - {"120"}:
        said.append(f"kVp is {_counts(kvp)}: calcium is the brighter the lower it is")
    kernels = Counter(one.kernel_class for one in taken)
    if "sharp" in kernels:
        said.append(f"kernels are {_counts(kernels)}: noise of sharp ones counts as calcium")
    gated = Counter(one.gating or "unknown" for one in taken)
    if set(gated) & {"NONE", "unknown"}:
        said.append(f"ECG gating is {_counts(gated)}: scores of scans without it are less exact")
    return said


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{name} in {count}" for name, count in found.most_common())


def _split(num_labelled: int) -> list[str]:
    folds = 5 if num_labelled >= MANY else 4 if num_labelled >= FEW else max(2, min(3, num_labelled))
    lines = ["split:", f"  folds: {folds}", f"  val_fraction: {0.1 if num_labelled >= MANY else 0.21:g}"]
    if num_labelled < MANY:
        lines[1] += f" # {DECIDE} {num_labelled} labelled studies are few: intervals will be wide"
    return lines


def _quoted(text: str) -> str:
    """A text as YAML and what reads it take it for itself, whatever signs are in it."""
    plain = json.dumps(text.encode("utf-8", "replace").decode().replace("${", "\\${"), ensure_ascii=False)
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in plain)


def _path(path: str | Path) -> str:
    """A path that is the same wherever the settings are used."""
    return _quoted(str(Path(path).absolute()))
