"""Checkpoints of plain tensors and numbers, each with its digest beside it; none is believed before it was compared."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cac_hpc.run import digests, notation, paths
from cac_hpc.run.config import InputError
from cac_hpc.run.logs import log

FORMAT_VERSION = 1


def save(path: Path, state: Mapping[str, Any], check: Callable[[], None] = paths.no_check) -> None:
    """Write the digest, then the checkpoint: a checkpoint under its final name always has one.

    The same state gives the same bytes.

    Args:
        state: tensors, numbers, texts, and lists and dictionaries of them.
        check: see `paths.atomic`.
    Raises: OSError if the disk is full or cannot be written; older checkpoints stay as they are.
    """
    with paths.atomic(path, check) as scratch:
        with scratch.open("xb") as file:
            torch.save({"format_version": FORMAT_VERSION, **state}, file)
        paths.write_text(_digest_path(path), digests.file_sha256(scratch), check)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, its tensors to the CPU.

    Raises: ValueError if it is not the file that was saved, or of another format version.
    """
    digest, content = _digest_path(path), path.read_bytes()
    if not digest.is_file() or digest.read_text(encoding="utf-8", errors="replace") != digests.bytes_sha256(content):
        raise ValueError("does not match its sha256, so it is damaged or incomplete")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("holds other things than tensors and plain values, which are not loaded") from error
    if (found := state.pop("format_version", None)) != FORMAT_VERSION:
        raise ValueError(f"found format version {notation.short(found)}, wanted {FORMAT_VERSION}")
    return state


def load_newest(candidates: Sequence[Path], belongs_to: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, saying which were passed over; None if there never was one.

    Args:
        candidates: oldest first.
        belongs_to: what must stand in the checkpoint under this name, so that it is not one of another fold.
    Raises: InputError if there are checkpoints, but none of them can be used: nothing starts from zero unasked.
    """
    for path in reversed(candidates):
        try:
            state = load(path)
            if state["belongs_to"] != belongs_to:
                raise ValueError(f"belongs to {state['belongs_to']}, wanted {dict(belongs_to)}")
            return path, state
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            log.warning("checkpoint passed over: %s: %s", path, error)
    if candidates:
        folder = candidates[0].parent
        raise InputError(
            f"{folder}: found {len(candidates)} checkpoints, none of which can be used (the log says why), wanted one; "
            "put back a copy, or delete the folder to train the fold from the beginning"
        )
    return None


def remove(path: Path) -> None:
    """Delete a checkpoint, the file before its digest."""
    path.unlink(missing_ok=True)
    _digest_path(path).unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
