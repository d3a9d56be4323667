"""Batches from host memory onto the device, ahead of who computes with them. Axes: N slice, H row, W column."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing

import torch
from torch import Tensor

AHEAD = 2  # batches on their way while one is computed with


class _Slot:
    """Room for one batch on the GPU: when it was filled, and when nobody computes with it any more."""

    def __init__(self, like: Tensor, device: torch.device) -> None:
        self.hu_NHW = torch.empty_like(like, device=device)
        self.filled = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.free = torch.cuda.Event()  # type: ignore[no-untyped-call]


def on_device(host: Generator[Tensor, None, None], device: torch.device) -> Generator[Tensor, None, None]:
    """The batches of ``host`` on the device, in order; each is valid until the next one is asked for.

    To a GPU they are copied on a stream of their own, `AHEAD` batches ahead; on the CPU they are handed on.

    Args:
        host: int16 (n, H, W) batches in host memory, pinned for a GPU; each valid until the next one is asked for.
    """
    return _on_gpu(host, device) if device.type == "cuda" else host


def _on_gpu(host: Generator[Tensor, None, None], device: torch.device) -> Generator[Tensor, None, None]:
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    computing = torch.cuda.current_stream(device)
    slots: deque[_Slot] = deque()  # the one filled longest ago first
    coming: deque[tuple[_Slot, Tensor]] = deque()
    with closing(host):
        try:
            for batch_NHW in host:
                slot = _slot_for(batch_NHW, slots, device, computing, copying)
                coming.append((slot, _copy(batch_NHW, slot, copying)))
                if len(coming) > AHEAD:
                    yield from _hand_over(coming, computing)
                slot.filled.synchronize()  # the next batch may be written where this one lay
            while coming:
                yield from _hand_over(coming, computing)
        finally:
            copying.synchronize()  # before the memory of either side is given to others


def _slot_for(
    batch_NHW: Tensor,
    slots: deque[_Slot],
    device: torch.device,
    computing: torch.cuda.Stream,
    copying: torch.cuda.Stream,
) -> _Slot:
    """The slot used longest ago, or a new one while there are few or those there are too small."""
    if len(slots) > AHEAD:
        slot = slots.popleft()
        if len(slot.hu_NHW) >= len(batch_NHW):
            copying.wait_event(slot.free)
            slots.append(slot)
            return slot
    slot = _Slot(batch_NHW, device)
    copying.wait_stream(computing)  # its memory may have been somebody's who still computes
    slots.append(slot)
    return slot


def _copy(batch_NHW: Tensor, slot: _Slot, copying: torch.cuda.Stream) -> Tensor:
    into_NHW = slot.hu_NHW[: len(batch_NHW)]
    with torch.cuda.stream(copying):
        into_NHW.copy_(batch_NHW, non_blocking=True)
        slot.filled.record(copying)
    return into_NHW


def _hand_over(coming: deque[tuple[_Slot, Tensor]], computing: torch.cuda.Stream) -> Generator[Tensor, None, None]:
    slot, hu_NHW = coming.popleft()
    computing.wait_event(slot.filled)
    yield hu_NHW
    slot.free.record(computing)
