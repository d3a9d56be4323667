"""Texts as they stand in documents and on the command line, before anybody says what they mean."""

from __future__ import annotations

import re

NULL = re.compile(r"~|null|Null|NULL|")


class Plain(str):
    """A text that stands there without quotes."""
