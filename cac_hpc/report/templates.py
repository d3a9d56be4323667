"""Templates of HTML pages, and how they are filled. The owner of Jinja2."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from cac_hpc.run import logs
from cac_hpc.sections import formatting

HERE = Path(__file__).parent / "page"


def render(folder: Path, template: str, values: Mapping[str, Any]) -> str:
    """A page from its template; what all pages have in common lies beside those of a report.

    Args:
        folder: where the template is.
    """
    return logs.harmless(_environment(folder).get_template(template).render(values))


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader([folder, HERE]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": formatting.with_interval,
        "number": formatting.number,
        "words": formatting.words,
        "heading": formatting.heading,
        "strong": _strong,
        "breakable": lambda name: markupsafe.escape(name).replace("/", markupsafe.Markup("/<wbr>")),
    }
    return environment


def _strong(text: str) -> markupsafe.Markup:
    """Text in which every second part between ** is strong, as in Markdown."""
    parts = [markupsafe.escape(part) for part in text.split("**")]
    return markupsafe.Markup("").join(
        markupsafe.Markup("<strong>{}</strong>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def markup(text: str) -> markupsafe.Markup:
    """A text of our own that is HTML already."""
    return markupsafe.Markup(text)
