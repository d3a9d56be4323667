"""A folder that nobody knows: where its studies are, what their series, sheets, reports and masks are, for settings to
start from.

Headers of some studies are read, and one mask or three with the scans that they belong to. Nothing that is handed on
identifies a patient, but names of folders, files and columns do stand in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cac_hpc.inspection import inspection_view, layout, masks_found, series_found, sheet_columns, starting_settings
from cac_hpc.inspection.found import Found
from cac_hpc.inspection.layout import Layout
from cac_hpc.inspection.series_found import StudyFound
from cac_hpc.run import disk, logs
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.inspect_command import InspectConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files, structured_reports
from cac_hpc.volumes.files import Entry

SHEETS = (".csv", ".xlsx")
MOST_SHEETS = 8


def inspect(cfg: InspectConfig) -> int:
    """Show what is in a folder, and print or write settings to start from.

    Returns: exit code, 1 if no study that was looked at could be used.
    Raises: InputError if there are no studies, or the file for the settings is there already.
    """
    if cfg.out is not None and Path(cfg.out).exists():
        raise InputError(f"--out {cfg.out}: it is there already, wanted a new file")
    found = look(cfg)
    text = starting_settings.text(found)
    if cfg.json:
        logs.say(disk.json_text(inspection_view.to_json(found)), None)
    else:
        inspection_view.show(found)
        if cfg.out is None:
            logs.say(f"\nsettings to start from (--out FILE writes them):\n\n{text}")
    if cfg.out is not None:
        disk.write_text(Path(cfg.out), text)
        logs.log.info("settings to start from are in %s: read its comments, then python jobs/launch_cv.py --config %s "
                      "--dry_run",
                      cfg.out, cfg.out)  # fmt: skip
    return int(found.usable == 0)


def look(cfg: InspectConfig) -> Found:
    """Find studies, sheets and masks, and read what the headers of some studies say."""
    began = time.monotonic()
    place, pack = layout.find(Path(cfg.folder)), PackConfig()
    looked_at, volumes, reports = dict[str, StudyFound](), dict[str, int](), 0
    for name in layout.spread(list(place.studies), cfg.studies):
        if looked_at and time.monotonic() - began > cfg.seconds:
            break
        entries = files.list_files(place.studies[name])
        looked_at[name] = _study(place.studies[name], entries, pack)
        for known in {entry.volume_format for entry in entries} - {None}:
            volumes[str(known)] = volumes.get(str(known), 0) + 1
        reports += _has_score(looked_at[name].objects)
    sheets = [sheet_columns.look(path, place.studies) for path in _sheets(cfg, place)]
    found = Found(place, looked_at, volumes, reports, sheets, [])
    return replace(found, masks=masks_found.find(place, cfg.masks, looked_at, found.format))


def _study(folder: Path, entries: list[Entry], pack: PackConfig) -> StudyFound:
    """What is in a study. Volumes of other formats beside DICOM images are taken for masks."""
    if 0 < sum(entry.volume_format is not None for entry in entries) < len(entries):
        dicom = series_found.read_study(files.list_files(folder, "dicom"), pack)
        if dicom.series:
            return dicom
    return series_found.read_study(entries, pack)


def _has_score(objects: Sequence[Path]) -> bool:
    """Whether one of the files is a structured report with a calcium score that can be read, by another program."""
    for path in objects:
        if structured_reports.is_report(path):
            try:
                found = structured_reports.read(path)
            except structured_reports.ReportError:
                continue
            if found is not None and not found.own:
                return True
    return False


def _sheets(cfg: InspectConfig, place: Layout) -> Iterator[Path]:
    """The sheets that are named, else those beside the studies, above them and in the given folder."""
    if cfg.labels:
        yield from map(Path, cfg.labels)
        return
    near = dict.fromkeys([place.root, place.root.parent, Path(cfg.folder)])
    found = [path for folder in near for path in sorted(folder.iterdir()) if path.suffix.lower() in SHEETS]
    yield from [path for path in dict.fromkeys(found) if path.is_file() and not path.name.startswith((".", "~"))][
        :MOST_SHEETS
    ]
