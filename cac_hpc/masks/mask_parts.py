"""What the readers of DICOM's masks and of contours have in common: what a file says of its parts, and which voxel is
whose. Axes: H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cac_hpc.masks import masks
from cac_hpc.masks.masks import MOST_PARTS, Mask, Target
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom
from cac_hpc.volumes.placement import Placement


@dataclass(frozen=True)
class Description:
    """What a file says of its mask before voxels are read.

    kind: of format. values, names: of its parts. series, frames_of_reference: SeriesInstanceUID and
    FrameOfReferenceUID of what it was drawn on, as far as it says; never to be written.
    """

    kind: str
    values: tuple[int, ...]
    names: tuple[str, ...]
    series: frozenset[str] = frozenset()
    frames_of_reference: frozenset[str] = frozenset()


OpenMask = Callable[[Target], Mask]  # brings a mask whose file is open to a study; raises InputError


@contextmanager
def reading(path: Path, wanted: str) -> Iterator[None]:
    """Turn whatever a parser or a decoder raises on a broken file into what the user should know.

    Raises: InputError naming the file, without any of its text.
    """
    try:
        with dicom.quiet():
            yield
    except (InputError, MemoryError):
        raise
    except Refused as why:
        raise InputError(f"{path}: {why.detail}, wanted {wanted}") from why
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or type(error).__name__}, wanted {wanted}") from error
    except Exception as error:
        raise InputError(f"{path}: it cannot be read ({type(error).__name__}), wanted {wanted}") from error


def select(described: Description, target: Target, path: Path) -> list[int]:
    """Where the parts that are chosen are among those of a file, in the order in which they were asked for.

    Raises: InputError naming the file and the parts that it has, or that they are too many.
    """
    known = list(zip(described.names, described.values, strict=True))
    chosen = list(dict.fromkeys(masks.index_of(wanted, known, path) for wanted in target.chosen))
    indices = chosen if target.chosen else list(range(len(known)))
    if len(indices) > MOST_PARTS:
        raise InputError(f"{path}: found {len(indices)} parts, wanted {MOST_PARTS} at most: choose some of them")
    return indices


def paint(part_HW: np.ndarray, inside_HW: np.ndarray, number: int) -> bool:
    """Give the pixels of a part its number, in place, but for those of earlier parts, which count.

    Returns: whether some are in other parts, too.
    """
    others_HW = inside_HW & (part_HW != 0) & (part_HW != number)
    part_HW[inside_HW & ((part_HW == 0) | (part_HW > number))] = number
    return bool(others_HW.any())


def placed(target: Target, path: Path) -> Placement:
    """Where the study is.

    Raises: InputError if that is not known.
    """
    if target.placement is None:
        raise InputError(f"{path}: the study's files do not say where its voxels are, wanted a mask of {masks.WITHOUT}")
    return target.placement


def check_references(frames: Collection[str], series: Collection[str], target: Target, path: Path) -> tuple[str, ...]:
    """Whether positions in a mask are positions in the study.

    Args:
        frames: FrameOfReferenceUID of all of its parts.
        series: SeriesInstanceUID of what it was drawn on.
        path: of the file, for what is raised.
    Returns: codes of `masks.WARNINGS`.
    Raises: InputError if the frame of reference is another one, or nothing tells that it is not.
    """
    known = {frame for frame in frames if frame}
    if target.frame_of_reference and known - {target.frame_of_reference}:
        raise InputError(f"{path}: found another frame of reference than the study's, in which positions mean "
                         "something else; wanted a mask that was drawn on this series")  # fmt: skip
    same_series = bool(target.series) and target.series in series
    if not (target.frame_of_reference and known) and not same_series:
        raise InputError(f"{path}: found neither the study's frame of reference nor its series, wanted a mask that "
                         "names one of them")  # fmt: skip
    return ("mask_of_other_series",) if series and target.series and not same_series else ()
