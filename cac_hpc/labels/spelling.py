"""Names of studies and patients, compared as people write them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K")
ZEROS = re.compile("^0+(?=[0-9])")
TOKEN = re.compile(r"[^\W\d_]+|\d+")
NUMBER = r"\d+(?:[.,·٫٬⁄/:]\d+)*"  # with whatever may be a decimal point, or of which one does not know


def normalised(name: str) -> str:
    """The name of a study or patient as it is compared.

    Unicode compatibility forms (NFKC) and case are made equal, blanks around it and zeros in front of it are dropped,
    and blanks inside it become one: `` 007`` is ``7`` and ``01A`` is ``1a``, but ``A07`` is not ``A7``.
    """
    return without_zeros(folded(name))


def without_zeros(text: str) -> str:
    """A name that is `folded` without the zeros in front of it."""
    return ZEROS.sub("", text) if text.startswith("0") else text


def folded(name: str) -> str:
    """The same with the zeros in front of it."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def spellings(name: str) -> list[str]:
    """Two ways to write a name that others may share: its letters and numbers, and the same without separators inside.

    Zeros in front of a number and behind a decimal point do not count: 01.0 is 1, but 1.5 is not 15.
    """
    text = normalised(name)
    joined = re.sub(r"(?<=.)[\s_'’-]+", "", text)
    return [" ".join(map(_plain_number, _letters_and_numbers(way))) or way for way in (text, joined)]


def _letters_and_numbers(text: str) -> list[str]:
    return re.findall(rf"^-?[.,]?{NUMBER}|{NUMBER}|[^\W\d_]+", text)


def _plain_number(part: str) -> str:
    """A number without zeros that do not count; 1,000 stays, for it may be one or a thousand."""
    part = re.sub(r"^0+(?=\d)", "", part)
    if decimal := re.fullmatch(r"(\d+)(?:\.|,(?!\d{3}$))(\d+)", part):
        return f"{decimal[1]}.{decimal[2]}".rstrip("0").rstrip(".")
    return part


def by_spelling(others: Mapping[str, str]) -> dict[str, str]:
    """What is said of each name, by all its `spellings`."""
    return {spelling: said for name, said in others.items() for spelling in spellings(name)}


def near_miss(name: str, others: Mapping[str, str], search: bool) -> str:
    """Ask whether one of others may have been meant.

    Args:
        others: what to call them in the question, as `by_spelling` returns it.
        search: also look for a name in which only letters differ, as after a typing error.
    Returns: the end of a sentence, empty if there is none.
    """
    ways = spellings(name)
    close = [way for way in ways if way in others] or (_letters_differ(ways[0], others) if search else [])
    return f"; did you mean {others[close[0]]}?" if close else ""


def _letters_differ(near: str, others: Iterable[str]) -> list[str]:
    """The most similar one that has the same numbers; a number alone is similar to none."""
    words, numbers = _words_and_numbers(near)
    same = [other for other in others if words and (found := _words_and_numbers(other))[0] and found[1] == numbers]
    return difflib.get_close_matches(near, same, n=1)


def _words_and_numbers(spelling: str) -> tuple[list[str], list[str]]:
    parts = spelling.split(" ")
    return [part for part in parts if part.isalpha()], [part for part in parts if not part.isalpha()]


def near_equal(patient: Mapping[str, str]) -> list[list[str]]:
    """Groups of studies whose numbers differ in separators, zeros in front or case alone, and not all of one patient.

    Args:
        patient: of each study, by study number.
    """
    keys = [tokens(study) for study in patient]
    if len(set(keys)) == len(keys):
        return []
    alike = grouped(patient, tokens).values()
    return [studies for studies in alike if len({patient[study] for study in studies}) > 1]


def tokens(study: str) -> tuple[str, ...]:
    """Letters and numbers of a study number, so that A07, a-7 and A 007 are alike, but 1-12 and 11-2 are not."""
    return tuple(token.lstrip("0") or "0" for token in TOKEN.findall(folded(study))) or (study,)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by the name under which they are compared, in the order of the first of each."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
