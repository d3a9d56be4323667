"""Checkpoints of plain tensors and numbers, each with its digest beside it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from cac_hpc import digests, paths
from cac_hpc.logs import log


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the digest, then the checkpoint: a checkpoint under its final name always has one."""
    with paths.atomic(path) as scratch:
        torch.save(state, scratch)
        paths.write_text(_digest_path(path), digests.file_sha256(scratch))


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint.

    Raises: ValueError if it is not the file that was saved.
    """
    digest = _digest_path(path)
    if not digest.is_file() or digest.read_text(encoding="utf-8") != digests.file_sha256(path):
        raise ValueError(f"{path}: does not match its sha256, so it is damaged or incomplete")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def load_newest(candidates: list[Path], device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, saying which were passed over; None if there is none.

    Args:
        candidates: oldest first.
    """
    for path in reversed(candidates):
        try:
            return load(path, device)
        except (ValueError, OSError, RuntimeError, pickle.UnpicklingError) as error:
            log.warning("checkpoint passed over: %s", error)
    return None


def remove(path: Path) -> None:
    """Delete a checkpoint, the file before its digest."""
    path.unlink(missing_ok=True)
    _digest_path(path).unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
