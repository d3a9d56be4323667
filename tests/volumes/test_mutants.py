"""Slices with damaged bytes in a series of whole ones: nothing crashes, and hardly any damage to a header is not seen.

Outcomes of a mutant: ``identical``, the study is packed as without the damage; ``rejected``, the file or the study is
in rejected.csv and whatever is packed is right; ``undetected``, something that is packed differs. Damage inside the
pixels is counted apart: DICOM has no checksum for them.
"""

import bisect
import random
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from cac_hpc.volumes import tags
from tests.support import poison
from tests.support.damage import MUTATIONS
from tests.support.poison import Reading, read

SLOWEST_S = 5.0
HEADER_SHARE = 0.85  # of the mutants
LONG = ("OB", "OW", "SQ", "UN", "UT")
TELLING = tags.KEYWORDS - set(tags.IDENTITY.values())  # attributes that are read for what is packed
Table = defaultdict[str, Counter[str]]  # outcomes by attribute


def real(study: str) -> Callable[[Path, Path], None]:
    """Twelve neighbouring slices of a real series."""

    def make(folder: Path, shared_data: Path) -> None:
        folder.mkdir()
        slices = [path for path in (shared_data / study).iterdir() if path.name != "DIRFILE"]
        slices.sort(key=lambda path: pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
        for number, path in enumerate(slices[8:20]):
            shutil.copy(path, folder / f"{number:02d}")

    return make


def synthetic(*makers: poison.Make) -> Callable[[Path, Path], None]:
    def make(folder: Path, _: Path) -> None:
        poison.write_chest(folder)
        poison.both(*makers)(folder)

    return make


BASES = {
    "synthetic": (3000, synthetic()),
    "thorax phantom, implicit": (3000, real("qrm_phantom/study_001")),
    "head phantom, explicit": (1500, real("philips_cd/S21570/S2010")),
    "big endian": (1000, synthetic(poison.in_syntax(poison.BIG_ENDIAN))),
    "RLE": (500, synthetic(poison.compressed(RLELossless))),
    "JPEG 2000": (500, synthetic(poison.compressed(JPEG2000Lossless))),
    "deflated": (250, synthetic(poison.in_syntax(poison.DEFLATED))),
    "enhanced": (250, synthetic(poison.write_enhanced)),
}
RATED = [name for name in BASES if name not in ("deflated", "enhanced")]  # these have no header for each slice


@dataclass(frozen=True)
class Places:
    """Where the elements of a file start."""

    starts: list[int]
    names: list[str]
    pixels: int

    def attribute(self, at: int) -> str:
        return self.names[max(bisect.bisect_right(self.starts, at) - 1, 0)]


def places(path: Path) -> Places:
    """As pydicom finds them; a deflated file is one stream."""
    ds, found = pydicom.dcmread(path), []
    if ds.file_meta.TransferSyntaxUID == poison.DEFLATED:
        return Places([0], ["deflate stream"], path.stat().st_size - 1)
    for part in (ds.file_meta, ds):
        for tag, element in part._dict.items():
            value_at = getattr(element, "value_tell", None) or element.file_tell
            short = ds.original_encoding[0] or element.VR not in LONG
            name = "private" if tag.is_private else pydicom.datadict.keyword_for_tag(tag)
            found.append((value_at - (8 if short else 12), name or str(tag)))
    found.sort()
    return Places([start for start, _ in found], [name for _, name in found], found[-1][0])


def _of_headers(reading: Reading) -> dict[str, Any]:
    """The facts that do not follow from which slices there are."""
    apart = ("slices", "warnings", "agatston_", "heart_", "control_", "candidates")
    return {name: value for name, value in reading.study.facts.items() if not name.startswith(apart)}


def outcome(whole: Reading, found: Reading) -> str:
    """What became of a study with one damaged file."""
    if found.study.facts is None:
        return "rejected"
    same = _of_headers(found) == _of_headers(whole)
    if same and found.slices == whole.slices and not found.codes:
        return "identical"
    shorter = found.slices in (whole.slices[1:], whole.slices[:-1]) and len(found.codes) == 1
    return "rejected" if same and shorter else "undetected"


def survey(name: str, number: int, shared_data: Path, folder: Path) -> Table:
    """Damage a series that many times, each time one of its files and otherwise than before."""
    BASES[name][1](folder, shared_data)
    size = 512 if "phantom" in name else poison.SIZE
    whole = read(folder, size=size)
    assert whole.study.facts is not None
    assert len(whole.slices) == poison.NUM_SLICES
    files = {path: (path.read_bytes(), places(path)) for path in sorted(folder.iterdir())}
    rng, table = random.Random(f"{name} {number}"), Table(Counter)
    for _ in range(number):
        path = rng.choice(list(files))
        content, where = files[path]
        in_header = rng.random() < HEADER_SHARE
        start, end = (128, where.pixels) if in_header else (where.pixels, len(content))
        at, data = rng.randrange(start, end), bytearray(content)
        rng.choice(MUTATIONS)(rng, data, at, end)
        path.write_bytes(data)
        started = time.monotonic()
        found = read(folder, size=size)
        assert time.monotonic() - started < SLOWEST_S
        table[where.attribute(at) if in_header else "pixels"][outcome(whole, found)] += 1
        path.write_bytes(content)
    return table


def total(table: Table) -> Counter[str]:
    return sum((counts for attribute, counts in table.items() if attribute != "pixels"), Counter())


def shown(name: str, table: Table) -> str:
    """Outcomes by attribute: those that we read, and all others together."""
    rows = Table(Counter, {"whole header": total(table), "pixels": table["pixels"]})
    for attribute in sorted(table):
        if attribute != "pixels":
            rows[attribute if attribute in TELLING else "all other attributes"] += table[attribute]
    columns = ("identical", "rejected", "undetected")
    lines = [f"{name:34s}" + "".join(f"{column:>12s}" for column in columns)]
    for row, counts in rows.items():
        lines.append(f"  {row:32s}" + "".join(f"{counts[column]:12d}" for column in columns))
    return "\n".join(lines)


@pytest.mark.parametrize("name", BASES)
def test_mutants_crash_nothing_and_their_damage_is_noticed(name, shared_data, tmp_path):
    table = survey(name, 60, shared_data, tmp_path / "study")
    if name in RATED:
        assert total(table)["undetected"] == 0, shown(name, table)


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_of_ten_thousand_mutants_less_than_two_in_a_thousand_headers_go_undetected(shared_data, tmp_path, capsys):
    assert sum(number for number, _ in BASES.values()) == 10_000
    rated: Counter[str] = Counter()
    for name, (number, _) in BASES.items():
        table = survey(name, number, shared_data, tmp_path / name)
        rated += total(table) if name in RATED else Counter()
        with capsys.disabled():
            print(f"\n{shown(name, table)}")
    headers, effective = rated.total(), rated["rejected"] + rated["undetected"]
    with capsys.disabled():
        print(f"\nundetected: {rated['undetected']} of {headers} damaged headers, {effective} of them with an effect")
    assert rated["undetected"] < 0.002 * headers
