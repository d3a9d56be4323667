"""The methods of a report as text for a paper, made from its settings and facts, with the sources of its statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cac_hpc.appendix import methods_study
from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.results.calibration import Recalibration
from cac_hpc.results.cuts import AtCut, DecisionCurves
from cac_hpc.results.external import External
from cac_hpc.results.figures import Absent
from cac_hpc.results.groups import Subgroups
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.run import escaping, logs
from cac_hpc.sections import trained, wording
from cac_hpc.sections.formatting import grouped, listed, percent

HEADING = "Methods, for a paper"
MARKDOWN, LATEX = "methods.md", "methods.tex"
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pydicom")  # that are named with their versions
SOURCES = {
    "Agatston 1990": "Agatston AS et al. J Am Coll Cardiol 1990;15:827-832",
    "Bland and Altman 1986": "Bland JM, Altman DG. Lancet 1986;327:307-310",
    "Cohen 1968": "Cohen J. Psychol Bull 1968;70:213-220",
    "Cox 1958": "Cox DR. Biometrika 1958;45:562-565",
    "DeLong 1988": "DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845",
    "Efron and Tibshirani 1993": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman and Hall 1993",
    "Kingma and Ba 2015": "Kingma DP, Ba J. Adam. International Conference on Learning Representations 2015",
    "Loshchilov and Hutter 2019": "Loshchilov I, Hutter F. Decoupled weight decay regularization. International "
    "Conference on Learning Representations 2019",
    "McCullagh 1980": "McCullagh P. J R Stat Soc B 1980;42:109-142",
    "McNemar 1947": "McNemar Q. Psychometrika 1947;12:153-157",
    "Riley 2021": "Riley RD et al. Stat Med 2021;40:4230-4251",
    "Shrout and Fleiss 1979": "Shrout PE, Fleiss JL. Psychol Bull 1979;86:420-428",
    "Vickers and Elkin 2006": "Vickers AJ, Elkin EB. Med Decis Making 2006;26:565-574",
    "Vovk 2012": "Vovk V. Asian Conference on Machine Learning 2012, PMLR 25:475-490",
    "Wilson 1927": "Wilson EB. J Am Stat Assoc 1927;22:209-212",
}
OF_CUTS = {  # figures, and what is said of them
    "auroc": "AUROC",
    "auroc_delong": "its interval by DeLong (DeLong 1988)",
    "sensitivity": "sensitivity and specificity",
    "calibration_slope": "calibration slope and intercept (Cox 1958)",
}
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
TEX |= {">": r"\textgreater{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}}


@dataclass(frozen=True)
class Paragraph:
    """Sentences under a heading."""

    heading: str
    text: str


def paragraphs(report: Report, found: Circumstances) -> list[Paragraph]:
    """The methods, and last the sources that they name."""
    if report.external:
        parts = {
            "Data": methods_study.of_external_data(report, report.external),
            "Reference standard": methods_study.of_reference(report),
        }
        parts["Evaluation"] = _evaluation(report.external)
    else:
        parts = {
            "Data": methods_study.of_data(report),
            "Reference standard": methods_study.of_reference(report),
            "Images": methods_study.of_images(report),
        }
        parts |= {
            "Division of the patients": methods_study.of_division(report),
            "Model": methods_study.of_model(report),
        }
        parts |= {"Training": methods_study.of_training(report), "Choice of settings": methods_study.of_choice(report)}
    parts |= {"Statistics": _statistics(report), "Software and computers": _software(report, found)}
    texts = [Paragraph(heading, " ".join(filter(None, lines))) for heading, lines in parts.items()]
    written = [one for one in texts if one.text]
    used = [source for name, source in SOURCES.items() if any(name in one.text for one in written)]
    return [*written, Paragraph("Sources", "; ".join(used) + ".")]


def markdown(found: Sequence[Paragraph], report: Report) -> str:
    """The methods as text."""
    mark = [f"**{mark}**" for mark in [wording.status_mark(report)] if mark]
    lines = [f"**{one.heading}.** {escaping.markdown(one.text)}" for one in found]
    return logs.harmless("\n\n".join([f"# {HEADING}", *mark, *lines]) + "\n")


def latex(found: Sequence[Paragraph], report: Report) -> str:
    """The methods for ``\\input`` in a paper."""
    mark = [f"\\textbf{{{_tex(mark)}}}" for mark in [wording.status_mark(report)] if mark]
    lines = [f"\\paragraph{{{_tex(one.heading)}.}} {_tex(one.text)}" for one in found]
    return logs.harmless("\n\n".join([*mark, *lines]) + "\n")


def _tex(text: str) -> str:
    return "".join(TEX.get(sign, sign) for sign in logs.line(text))


def _statistics(report: Report) -> Iterator[str]:
    draws, seed = report.statistics.draws, report.statistics.seed
    yield "The unit of analysis is the patient. Intervals of proportions are Wilson's (Wilson 1927), others come from"
    yield f"{draws:,} draws of patients (seed {seed}; Efron and Tibshirani 1993) where tables name no other way; all"
    yield "are 95 % intervals."
    yield "Agreement is Cohen's kappa with quadratic weights (Cohen 1968) and ICC(2,1) (Shrout and Fleiss 1979)."
    yield from _cuts(report.cuts.at if report.cuts else [])
    if isinstance(report.readers, Readers):
        others = [reader for reader in report.readers.readers if reader.compared]
        if others:
            yield f"The model is compared with {listed([one.name for one in others])} in the same draws and by"
            yield "McNemar's exact test (McNemar 1947)."
        if any(reader.scores for reader in report.readers.readers):
            yield "Scores are compared by limits of agreement (Bland and Altman 1986)."
    sets = report.prediction_sets
    if isinstance(sets, PredictionSets) and sets.wanted is not None:
        wanted = percent(sets.wanted, True)
        yield f"For each patient a set of neighbouring categories is given that is to name the true one in {wanted} of"
        yield "patients (conformal prediction, Vovk 2012)."
    yield from _subgroups(report.subgroups)
    if report.how_many and report.cuts and any(one.needed for one in report.cuts.at):
        yield "Patients needed for a stated precision follow the criteria of Riley 2021."


def _cuts(found: Sequence[AtCut]) -> Iterator[str]:
    """What is given at the cuts that were judged."""
    judged = [one for one in found if any(figure.value is not None for figure in one.figures.values())]
    known = {name for one in judged for name, figure in one.figures.items() if figure.value is not None}
    if not any(one.figures["auroc_delong"].low is not None for one in judged):  # patients were tested more than once
        known -= {"auroc_delong"}
    given = [text for name, text in OF_CUTS.items() if name in known]
    if any(isinstance(one.decisions, DecisionCurves) for one in judged):
        given.append("net benefit (Vickers and Elkin 2006)")
    if given:
        yield f"For {listed([f'a score {one.event}' for one in judged])}, {listed(given)} are given."


def _subgroups(found: Subgroups | None) -> Iterator[str]:
    """By what groups of patients are compared, if any are."""
    compared = [fact for fact in found.facts if any(one.differences for one in fact.groups)] if found else []
    if found and compared:
        yield f"Figures are also given by {listed([one.fact.replace('_', ' ') for one in compared])}, of groups of"
        yield f"{found.fewest} patients or more, with {found.comparisons} comparisons that are not corrected for their"
        yield "number."


def _evaluation(found: External) -> Iterator[str]:
    known = {"left_out": "left out", "counted": "counted", "unknown": "not known"}[found.known]
    yield (
        f"Patients on whom the model was trained were {known}."
        if known != "not known"
        else ("Whether the model was trained on these patients is not known.")
    )
    if isinstance(found.recalibration, Recalibration):
        yield f"Probabilities are given as predicted and after recalibration {found.recalibration.method}."
    if not isinstance(found.internal, Absent):
        yield "Figures stand beside those of the model's own cross-validation, which describes how it was made."


def _software(report: Report, found: Circumstances) -> Iterator[str]:
    known: Mapping[str, object] = found.provenance or {}
    packages = known.get("packages")
    versions = (
        [f"{name} {packages[name]}" for name in PACKAGES if name in packages] if isinstance(packages, dict) else []
    )
    if "version" in known:
        python = [f"Python {known['python']}"] if "python" in known else []
        yield f"The software was cac_hpc {known['version']} with {listed([*python, *versions])}."
    devices = dict.fromkeys(
        f"{one.device} ({grouped(one.ranks or 1, 'process', 'processes')}, {one.precision})"
        for one in trained.of_folds(report)
        if one.device
    )
    if devices:
        yield f"Folds were trained on {listed([*devices])}."
