"""Reasons as a report may tell them: no folders, nodes, users and processes of the place where they arose.

It rather takes a word too many than one too few; the whole reason stays in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NODE, USER, FOLDER = "a node", "a user", "a folder"
HOMES = {"home", "homes", "user", "users", "scratch", "work", "data", "~"}  # what lies in them may be named by a user
PART = r"[^\s/\\:;'\"](?:[^/\\\n:;'\"]*[^\s/\\:;'\"])?"  # of a path; blanks inside it
START = r"(?:\bfile:)?(?:\b[\w.-]+:(?=[/~])|\b[A-Za-z]:(?=[/\\])|(?<![\w.~/\\:-]))"  # host: or drive:, if any
PATH = re.compile(rf"{START}(?:(?:~[\w.-]*|\.\.)?[/\\]+(?:{PART}[/\\]+)*[^\s/\\:;,'\")\]]*|~[\w.-]+)")
QUOTED = re.compile(r"""(['"])((?:[\w.-]+:)?(?:~[\w.-]*|\.\.)?[/\\][^\n]*?|~[\w.-]+)\1""")
FILE = r"(?!\S*\.(?:py|csv|json|jsonl|yaml|h5|pt|md|html|xlsx|dcm|out|err)\b)"  # a file is no node, with a line or not
PLACES = (
    (re.compile(r"[\w.+-]+@[\w.-]*\w"), USER),
    (re.compile(r"\b\w+://[^\s'\"]+"), NODE),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), NODE),
    (re.compile(rf"(?<![\w.]){FILE}[A-Za-z][\w.-]*:\d{{2,5}}\b"), NODE),
    (re.compile(rf"(?<=\bon )(?:node )?{FILE}[A-Za-z](?:[\w-]*\d[\w-]*|[\w-]+\.[\w-]+)[\w.-]*\b"), NODE),
    (re.compile(rf"\bnode {FILE}[A-Za-z](?:[\w-]*\d[\w-]*|[\w-]+\.[\w-]+)[\w.-]*\b"), NODE),
    (re.compile(r"(?<=\brank )(\d+) on (?!a node)(?:node )?[\w.-]*\w"), rf"\1 on {NODE}"),
    (re.compile(r"\b(process|pid) \d+"), r"\1"),
)


def told(reason: str, folders: Iterable[str] = (), nodes: Iterable[str] = ()) -> str:
    """A reason without the places it names: of an absolute path the last component stays, unless it may be a user.

    Args:
        folders: paths below these are told from there on; given alone, by their names. nodes: names known to be nodes.
    """
    for folder in folders:
        reason = reason.replace(f"{folder}/", "").replace(folder, folder.rpartition("/")[2])
    reason = QUOTED.sub(lambda found: f"{found[1]}{_last(found[2])}{found[1]}", reason)
    reason = PATH.sub(lambda found: _last(found[0]), reason)
    short = {name.partition(".")[0] for name in nodes}
    for name in sorted({*nodes, *short} - {""}, key=len, reverse=True):
        reason = re.sub(rf"(?<![\w.-])(?:node )?{re.escape(name)}(?![\w-])(?:\.\w[\w-]*)*", NODE, reason, flags=re.I)
    for pattern, instead in PLACES:
        reason = pattern.sub(instead, reason)
    return reason


def _last(path: str) -> str:
    """The last component of a path, if it cannot be the name of a user."""
    parts = [part for part in re.split(r"[/\\]+", path) if part]
    above = {part.lower() for part in parts[-2:-1]}
    return parts[-1] if len(parts) > 1 and not above & HOMES and not parts[-1].startswith("~") else _short(path, parts)


def _short(path: str, parts: list[str]) -> str:
    """Of a path that is not below another folder: what has a suffix is a file."""
    return parts[-1] if parts and re.search(r"[^.~]\.\w{1,5}$", parts[-1]) else FOLDER if parts else path
