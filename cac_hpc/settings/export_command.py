"""Options of exporting a run as a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from cac_hpc.settings.checks import require_text


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which run becomes a bundle, where it goes, and on what terms others may use it."""

    run: str
    out: str  # a new folder, or a new file that ends with .zip
    licence: str = ""  # an identifier of SPDX, or any text; it stands in the bundle and its model card
    onnx: bool = False  # also write each fold's network as ONNX

    def __post_init__(self) -> None:
        require_text("--licence", self.licence)


def parse_export(doc: str | None, argv: Sequence[str] | None = None) -> ExportConfig:
    """Read ``RUN --out BUNDLE [--licence TEXT] [--onnx]``.

    Raises: InputError for a text that cannot be shown.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="the run folder, of a complete run")
    text = "the bundle: a new folder, or one file if the name ends with .zip"
    parser.add_argument("--out", required=True, metavar="BUNDLE", help=text)
    text = "on what terms others may use the model: an identifier of SPDX such as CC-BY-4.0, or any text"
    parser.add_argument("--licence", default="", metavar="TEXT", help=text)
    parser.add_argument("--onnx", action="store_true", help="also write each fold's network as ONNX (extra onnx)")
    return ExportConfig(**vars(parser.parse_args(argv)))
