"""What a report says of the trials from which each fold chose its settings: sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

from cac_hpc.results.report import Report
from cac_hpc.results.trials import Importance, Trials
from cac_hpc.run.logs import amount
from cac_hpc.sections import trial_settings
from cac_hpc.sections.formatting import brief, figure_name, number
from cac_hpc.sections.section import Row, Section, TextTable

HEADING = "How the settings were chosen"
OWN_TRIALS = (
    "Each fold drew trials of its own (trials.sampler: tpe), for a trial follows from the figures of those before it: "
    "the trials of two folds are not the same, so that nobody can count how often one was chosen."
)
CANNOT_SAY = (
    "Importance is a setting's share in how much the figures of a fold's trials differ ({method}). It does "
    "not say which value is better, and nothing of values that were not tried or of test patients. On few patients "
    "most of what it shares out is chance, and a setting that changes nothing has its part of that."
)
LEAKS = (
    "LEAKS BY DESIGN: the trial was chosen by the test patients of all folds together, whose figures this report then "
    "shows. tables/trials.csv has figures of test patients."
)
TOO_HIGH = "The figure of the chosen trial is too high, because it is the highest of {of}: only the test result counts."
ENDED = {
    "trained": "trained to their end",
    "pruned": "pruned before it",
    "failed": "failed",
    "not_begun": "not begun (trials.gpu_hours)",
}


def verdict(report: Report) -> list[str]:
    """What the figures are an estimate of, where settings were chosen among trials."""
    found = report.trials
    if found is None:
        return []
    if not found.choices:
        return ["No fold has chosen its settings among its trials yet."]
    count, by = _count(found), figure_name(found.select_by)
    if found.select_on == "test":
        return [f"Settings were chosen among {count} by the {by} of the test patients: these figures are no estimate."]
    return [
        f"Each fold chose its settings among {count} by the {by} of {_whom(found)} alone. The pooled test result is "
        "the estimate of **this way of choosing**, not of one set of settings: test predictions of the other trials "
        "were never computed."
    ]


def sections(report: Report) -> list[Section]:
    """The section of trials; none of a run without."""
    found = report.trials
    if found is None:
        return []
    if not found.choices:
        return [Section("trials", HEADING, verdict(report), [])]
    return [Section("trials", HEADING, _lines(found), _tables(report, found))]


def short(report: Report) -> list[TextTable]:
    """Of each fold the choice: what eighty columns are enough for."""
    found = report.trials
    if found is None or not found.choices:
        return []
    cells = [
        [
            trial_settings.fold_name(one),
            str(one.patients),
            trial_settings.said(report, one.settings),
            number(one.figure),
            _share(one.again),
        ]
        for one in found.choices
    ]
    columns = ["fold", "patients", "chosen", figure_name(found.select_by), "again"]
    whose = "test" if found.select_on == "test" else "validation"
    return [TextTable(f"Settings chosen by {whose} patients; again: in how many draws of them", columns, cells)]


def rows(report: Report) -> dict[str, list[Row]]:
    """Every trial, and every choice, by the names of their tables."""
    found = report.trials
    if found is None or not found.choices:
        return {}
    names, chosen = trial_settings.tried(found), {(one.fold, one.trial) for one in found.choices}
    trials, choices = list[Row](), list[Row]()
    for row in found.trials:
        known: Row = {"fold": trial_settings.fold_name(row), "trial": row.trial}
        known |= {name: trial_settings.plain(trial_settings.value_of(report, row.settings, name)) for name in names}
        known |= {found.select_by: row.figures[-1] if row.figures else None, "epochs": max(row.epochs, default=None)}
        known |= {"ended": row.ended, "chosen": int((row.fold, row.trial) in chosen)}
        known |= {"parameters": row.parameters, "seconds": row.seconds}
        known |= {f"at_look_{at}": figure for at, figure in enumerate(row.figures) if found.rungs > 1}
        trials.append(known | {f"seed_{at}": figure for at, figure in enumerate(row.of_seeds) if found.seeds > 1})
    for one in found.choices:
        known = {"fold": trial_settings.fold_name(one), "patients": one.patients, "trial": one.trial}
        known |= {name: trial_settings.plain(trial_settings.value_of(report, one.settings, name)) for name in names}
        known |= {found.select_by: one.figure, "runner_up": one.runner_up}
        known |= {name: getattr(one.over_runner_up, name) for name in ("difference", "low", "high", "interval", "note")}
        choices.append(known | {"chosen_again": one.again, "tied": one.tied, "seed_sd": one.seed_sd})
    return {"trials.csv": trials, "choices.csv": choices}


def printed(report: Report) -> list[TextTable]:
    """The table of a paper."""
    found = report.trials
    if found is None or not found.choices:
        return []
    names = trial_settings.tried(found)
    cells = [
        [trial_settings.fold_name(one), str(one.patients), *trial_settings.cells(report, one.settings, names),
         number(one.figure), brief(one.over_runner_up), _share(one.again)]
        for one in found.choices
    ]  # fmt: skip
    columns = ["fold", "n", *(name.rpartition(".")[2] for name in names), figure_name(found.select_by)]
    columns += ["less runner-up", "again"]
    what = f"Settings chosen among {_count(found)} by the {figure_name(found.select_by)} of {_whom(found)}"
    caption = (
        f"{what}; in brackets 95\\,\\% intervals; again: in how many draws of these patients the same trial is best."
    )
    return [TextTable(caption, columns, cells)]


def _lines(found: Trials) -> list[str]:
    leaks = [f"**{LEAKS}**"] if found.select_on == "test" else []
    return [
        *leaks,
        *([] if leaks else [_noise(found), *_too_high(found)]),
        _used(found),
        *([OWN_TRIALS] if found.sampler == "tpe" else []),
        CANNOT_SAY.format(method=found.importance.method)
        if isinstance(found.importance, Importance)
        else f"Importance of the settings is not worked out: {found.importance.note}.",
    ]


def _count(found: Trials) -> str:
    """How many trials were looked at."""
    looked = [sum(bool(row.figures) for row in found.trials if row.fold == one.fold) for one in found.choices]
    return _between(looked, "trial") + (f" ({sum(looked)} in all)" if len(looked) > 1 else "")


def _too_high(found: Trials) -> list[str]:
    """That the figure of the best of several trials says too much."""
    ends = [sum(row.ended == "trained" for row in found.trials if row.fold == one.fold) for one in found.choices]
    return [TOO_HIGH.format(of=_between(ends, "trial"))] if max(ends, default=0) > 1 else []


def _between(numbers: Sequence[int], what: str) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return amount(high, what) if low == high else f"{low} to {amount(high, what)}"


def _whom(found: Trials) -> str:
    """Which patients the trials were looked at on."""
    patients = [one.patients for one in found.choices]
    if found.select_on == "test":
        return _between(patients, "test patient")
    if found.inner_folds:
        people = _between(patients, "training and validation patient")
        return f"its {people}, in {found.inner_folds} inner divisions,"
    return f"its {_between(patients, 'validation patient')}"


def _noise(found: Trials) -> str:
    """How sure the choices are."""
    known = [one.over_runner_up.low for one in found.choices if one.over_runner_up.low is not None]
    unsure = sum(low <= 0 for low in known)
    again = [one.again for one in found.choices]
    sds = [one.seed_sd for one in found.choices if one.seed_sd is not None]
    parts = [f"**How noisy the choice was.** It rests on {_whom(found).removeprefix('its ').rstrip(',')} of each fold."]
    if known:
        parts.append(
            f"The 95 % interval of the difference between chosen and runner-up reaches 0 in {unsure} of {len(known)} "
            "folds that have one."
        )
    if again:
        low, high = (_share(end) for end in (min(again), max(again)))
        share = low if low == high else f"{low} to {high}"
        parts.append(f"In draws of these patients the same trial would have been chosen in {share}.")
    if ties := sum(one.tied > 0 for one in found.choices):
        parts.append(
            f"In {ties} of {len(found.choices)} choices other trials have the very figure of the chosen one, which has "
            "the fewest parameters, or of these the lowest number: the patients did not decide."
        )
    parts.append(_seeds(sds, found.seeds))
    return " ".join(parts)


def _seeds(sds: Sequence[float], seeds: int) -> str:
    """How much the figures of the same settings differ by chance, by fold."""
    if not sds:
        return "Each trial had one seed (trials.seeds), so that nobody knows how much of a difference is its chance."
    if max(sds) == 0:
        return f"Another seed changed no figure ({amount(seeds, 'seed')})."
    between = f"{number(min(sds))} to {number(max(sds))}"
    return (
        f"The same settings under another seed differ by a standard deviation of {between} ({seeds} seeds): hold every "
        "difference against that."
    )


def _used(found: Trials) -> str:
    """How many trials ended how, and what they took."""
    counts = {end: sum(row.ended == end for row in found.trials) for end in ENDED}
    ends = ", ".join(f"{count} {ENDED[end]}" for end, count in counts.items() if count)
    parts = found.seeds * (found.inner_folds or 1)
    each = f", {parts} trainings each" if parts > 1 else ""
    hours = found.seconds / 3600
    took = f"{hours:.1f} hours" if hours >= 1 else f"{found.seconds / 60:.0f} minutes" if hours >= 0.05 else (
        f"{found.seconds:.0f} seconds"
    )  # fmt: skip
    return (
        f"Trials: {ends}{each}; {took} of training. tables/trials.csv has every trial, tables/choices.csv every choice."
    )


def _tables(report: Report, found: Trials) -> list[TextTable]:
    names = trial_settings.tried(found)
    tables = [_chosen(report, found, names), _how_sure(found)]
    if found.chosen:
        cells = [
            [str(len(one.folds)), ", ".join(map(str, one.folds)), *trial_settings.cells(report, one.settings, names)]
            for one in found.chosen
        ]
        columns = ["folds", "which", *names]
        tables.append(TextTable(f"How often each was chosen, of {amount(len(found.choices), 'fold')}", columns, cells))
    if isinstance(found.importance, Importance):
        folds = list(dict.fromkeys(fold for one in found.importance.settings for fold in one.of_folds))
        cells = [
            [
                one.setting,
                number(one.mean, 2),
                *(number(one.of_folds[fold], 2) if fold in one.of_folds else "" for fold in folds),
            ]
            for one in found.importance.settings
        ]
        caption = f"Importance of settings, from {found.importance.trials} trials that were trained to their end"
        columns = ["setting", "mean", *("all folds" if fold == "all" else f"fold {fold}" for fold in folds)]
        tables.append(TextTable(caption, columns, cells))
    return tables


def _chosen(report: Report, found: Trials, names: Sequence[str]) -> TextTable:
    """The settings that each fold was trained and tested with."""
    cells = [
        [trial_settings.fold_name(one), str(one.trial), *trial_settings.cells(report, one.settings, names)]
        for one in found.choices
    ]
    return TextTable("What each fold chose, and was trained and tested with", ["fold", "trial", *names], cells)


def _how_sure(found: Trials) -> TextTable:
    """How sure the choice of each fold is."""
    cells = [
        [trial_settings.fold_name(one), str(one.patients), str(one.trial),
         number(one.figure) + (f" (and {one.tied} more)" if one.tied else ""),
         "none" if one.runner_up is None else str(one.runner_up),
         brief(one.over_runner_up), _share(one.again),
         *([number(one.seed_sd)] if found.seeds > 1 else [])]
        for one in found.choices
    ]  # fmt: skip
    columns = [
        "fold",
        "patients",
        "trial",
        figure_name(found.select_by),
        "runner-up",
        "less runner-up",
        "again",
    ]
    whose = "test" if found.select_on == "test" else "validation"
    caption = (
        f"How sure the choice is: figures of {whose} patients, the difference to the runner-up with its 95 % interval, "
        "and how often in draws of these patients the same trial is best"
    )
    caption += "; seed sd: standard deviation of a figure over seeds" if found.seeds > 1 else ""
    return TextTable(caption, [*columns, *(["seed sd"] if found.seeds > 1 else [])], cells)


def _share(value: float) -> str:
    return f"{value:.0%}"
