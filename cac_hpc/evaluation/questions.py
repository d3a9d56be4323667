"""What a reporting checklist asks that only people can answer: each question once, and the file with the answers."""

from __future__ import annotations

import difflib
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from cac_hpc.settings import yaml_documents
from cac_hpc.settings.errors import InputError

LONGEST = 1000  # characters of an answer
QUESTIONS = {  # by the key of its answer
    "title": "What is the title of the paper? It should name the method, the patients and what is predicted.",
    "abstract": "Where is the structured abstract?",
    "background": "What is the clinical background, and which models are there already?",
    "purpose": "Who is to use the model, at which point of care, and for which patients?",
    "inequalities": "Which differences in care or health between groups of people are known?",
    "objectives": "What was the study to find out, by which hypotheses?",
    "design": "Were data collected before the study was planned (retrospective) or after (prospective)?",
    "data_source": "Where are the data from: routine care, a trial, a registry, a public collection? Why these?",
    "dates": "From when to when were patients included?",
    "setting": "How many centres of which kind took part, and where?",
    "eligibility": "Which patients were included and which excluded, in which order?",
    "recruitment": "How were patients identified, and were they consecutive, random or picked?",
    "treatments": "Which treatments had patients received, and does it matter here?",
    "characteristics": "What were patients like: age, sex, risk factors, reason for the scan?",
    "deidentification": "How were the data made anonymous before they came to this computer?",
    "scanning": "On which scanners, by which protocol and how reconstructed were the scans made?",
    "missing_data": "What else was missing in the data, and what was done about it?",
    "reference": "How were the reported scores made: program and version, threshold, region?",
    "reference_rationale": "Why is that the reference standard, and which others are there?",
    "annotators": "Who made the reported scores, with how much experience?",
    "test_annotation": "Were the scores of test patients made in another way than those of the others?",
    "rater_variability": "How far do people differ who score the same scan, and were differences settled?",
    "blinding": "What did those who scored know of the patients and of the model's results?",
    "interval": "How much time, and which treatment, lay between the scan and the reference?",
    "other_diagnoses": "What else did patients without calcium have?",
    "adverse_events": "Did the scan or the reference harm anybody?",
    "sample_size": "How many patients were planned, and why so many?",
    "representativeness": "Are these patients like those in whom the model is to be used?",
    "confounders": "Which facts about patients or scanners could explain the results, and what was done about it?",
    "fairness": "What was done so that the model is as good for one group of people as for another?",
    "poor_input": "What should a user do with scans that are poor, or that the model refuses?",
    "users": "What must a user do by hand, and what must he have learned for it?",
    "interpretation": "What do the results mean, beside those of other studies?",
    "limitations": "What limits the study: patients, size, reference, generalisability?",
    "implications": "What follows for practice?",
    "next_steps": "What should be examined next?",
    "guideline": "By which guideline was the study planned and reported?",
    "ethics": "Which committee approved the study, and did patients consent?",
    "registration": "In which register, under which number is the study? If in none, say so.",
    "protocol": "Where is the protocol? If there is none, say so.",
    "funding": "Who paid for the study, and what was their part in it?",
    "conflicts": "Which interests do the authors have?",
    "involvement": "What part had patients and the public in the study? If none, say so.",
    "data_availability": "Where can the data be had, on which terms?",
    "code_availability": "Where can the code be had, on which terms?",
    "model_availability": "Where can the trained model be had, on which terms?",
}


def read_answers(path: Path, key: str) -> dict[str, str]:
    """The answers in a file, by the keys of their questions; what is left blank is no answer.

    Args:
        key: the setting or option that names the file, for messages.
    Raises: InputError naming the fault.
    """
    wanted = "wanted a YAML file of answers; python jobs/report.py RUN --questions prints one"
    try:
        found = yaml_documents.read_file(path)
    except OSError as error:
        raise InputError(f"{key} is {str(path)!r}: {error.strerror or error}; {wanted}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; {wanted}") from None
    if found is not None and not isinstance(found, Mapping):
        raise InputError(f"{path}: found no question with its answer, {wanted}")
    return {str(name): text for name, value in (found or {}).items() if (text := _answer(path, name, value))}


def _answer(path: Path, name: object, value: object) -> str:
    """The text of an answer, on one line.

    Raises: InputError if there is no such question, or the answer is none.
    """
    if name not in QUESTIONS:
        near = difflib.get_close_matches(str(name), QUESTIONS, 1)
        hint = f"perhaps {near[0]} is meant" if near else "python jobs/report.py RUN --questions lists them"
        raise InputError(f"{path}: found an answer to {str(name)[:60]!a}, which is no question; {hint}")
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path}: found a {type(value).__name__} as answer to {name}, wanted text; put it in quotes")
    text = " ".join((value or "").split())
    if len(text) > LONGEST:
        raise InputError(f"{path}: the answer to {name} has {len(text)} characters, wanted {LONGEST} at most")
    if sign := next((one for one in text if unicodedata.category(one) in ("Cc", "Cs")), None):
        raise InputError(f"{path}: the answer to {name} has {sign!a} in it, wanted text without control characters")
    return text


def template(asked: Mapping[str, str], answers: Mapping[str, str]) -> Iterator[str]:
    """Lines of a file of answers to fill in.

    Args:
        asked: for each question, by its key, which items ask it. answers: those that are known.
    """
    yield "# Answers to what only people can say, for the checklists of the report. They are shown as said by the"
    yield "# authors, never as shown by the run. Leave out what you have no answer to; a line may be as long as it must"
    yield f"# be, up to {LONGEST} characters. Name no patient. Then: --report.checklist THIS_FILE"
    for key, items in asked.items():
        yield ""
        yield from textwrap.wrap(f"{QUESTIONS[key]} ({items})", 110, initial_indent="# ", subsequent_indent="# ")
        yield f"{key}: {_quoted(answers.get(key, ''))}"


def _quoted(text: str) -> str:
    """A text as a YAML scalar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
