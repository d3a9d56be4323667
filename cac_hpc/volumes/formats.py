"""The formats of studies that can be read: a further one is a reader and a line of the table."""

from __future__ import annotations

from collections.abc import Sequence

from cac_hpc.volumes import dicom_study, volume_study
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.study import Reader

READERS = {
    "dicom": Reader(lambda entries: True, dicom_study.open_study, dicom_study.by_headers),
    "volume": Reader(volume_study.claims, volume_study.open_study, volume_study.by_headers),
}


def reader_of(entries: Sequence[Entry]) -> Reader:
    """The reader of a study's files: the first other than DICOM's that claims them, as DICOM files have any name."""
    others = (reader for name, reader in READERS.items() if name != "dicom" and reader.claims(entries))
    return next(others, READERS["dicom"])
