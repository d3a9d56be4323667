"""What measured programs work on: cohorts, runs that are planned or finished; and the commands of our jobs."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cac_hpc.benchmark import costs, peers, scans
from cac_hpc.benchmark.turns import BEFORE, NOW, Site
from cac_hpc.run import logs
from cac_hpc.settings.phantom_command import PhantomConfig

MATRIX, SLICES = {False: 512, True: 64}, {False: 48, True: 10}  # of a cohort, and of a tiny one
ONE, TWO, READING = "one worker", "two workers", "pydicom, rescaled"  # names of programs that are measured
PER_SHARD = 2  # studies: as many shards for each of two workers, whatever the number of studies
DEMO: dict[bool, dict[str, object]] = {
    tiny: {"studies": 12 if tiny else 68, "slices": 12, "matrix": 128, "field_of_view_mm": 160}
    for tiny in (False, True)
}
LINKS = 100  # study folders that are different, where there are many: the others are links to their files

Prepare = Callable[[Path, int], list[str]]


def job(code: Path, script: str, *arguments: object, **options: object) -> list[str]:
    """The command of one of our jobs."""
    given = [f"--{key}={value}" for key, value in options.items()]
    return [sys.executable, str(code / "jobs" / script), *map(str, arguments), *given]


def cohort(site: Site, sizes: Sequence[int], syntax: str | None = None) -> Callable[[int], Path]:
    """Write as many studies as the largest size, with a sheet of scores beside the folder of each size.

    Args:
        syntax: of its pixels, a name of `peers.SYNTAXES`; None leaves them uncompressed.
    Returns: the folder of each size.
    """
    logs.log.info("writing %d studies", max(sizes))
    roots = {size: site.folder / f"{size}-studies" for size in sizes}
    whole = roots[max(sizes)]
    scans.write_studies(whole, max(sizes), SLICES[site.tiny], MATRIX[site.tiny])
    for path in whole.rglob("*.dcm") if syntax else []:
        peers.compress(path, str(syntax))
    for size, root in roots.items():
        for study in sorted(whole.iterdir())[:size] if root != whole else []:
            shutil.copytree(study, root / study.name, copy_function=os.link)
        write_sheet(root)
    return roots.__getitem__


def write_sheet(root: Path) -> None:
    """Scores of all categories in turn, in ``root.csv``."""
    names = sorted(path.name for path in root.iterdir())
    rows = [f"{name},{number % 6 * 300}" for number, name in enumerate(names)]
    root.with_suffix(".csv").write_text("\n".join(["study,score", *rows, ""]), encoding="utf-8")


def plan(code: Path, run: Path, source: Path, more: Mapping[str, object]) -> list[str]:
    """The launcher on folders of studies with a sheet beside them: it plans a run on the CPU and does not start it.

    Args:
        more: settings beside these.
    """
    settings = {
        "run": run, "data.dicom_root": source, "labels.sheet": source.with_suffix(".csv"), "train.epochs": 1,
        "train.device": "cpu", "train.precision": "fp32", "cluster.kind": "local", **more,
    }  # fmt: skip
    return job(code, "launch_cv.py", "--dry_run", **settings)


def packed(
    code: Path, source: Callable[[int], Path], workers: int, more: Mapping[str, object], arguments: Sequence[str] = ()
) -> Prepare:
    """Plan a run as its user would; the command packs and seals it.

    Args:
        more: settings beside these. arguments: of the command, as ``--shard 0``.
    """

    def prepare(out: Path, size: int) -> list[str]:
        settings = {
            "pack.studies_per_shard": PER_SHARD, "split.folds": 2, "split.val_fraction": 0.25,
            "cluster.pack.cpus": workers, **more,
        }  # fmt: skip
        costs.call(code, plan(code, out, source(size), settings), out.with_suffix(".log"))
        return [*job(code, "pack.py", "--run", out), *arguments]

    return prepare


def peer(name: str, source: Callable[[int], Path]) -> Prepare:
    return lambda out, size: peers.command(name, source(size), out)


def phantom(out: Path, **settings: object) -> Path:
    """A synthetic cohort, made once."""
    from cac_hpc.phantom import cohort as phantoms

    if not out.exists():
        phantoms.write_cohort(PhantomConfig(out=str(out), **settings))  # type: ignore[arg-type]
    return out


def of_demo(site: Site, code: Path, run: Path, source: Path, **more: object) -> dict[str, object]:
    """Settings of a run of the demo: configs/lesions.yaml, or configs/demo.yaml before there were lesions."""
    config = code / "configs" / "lesions.yaml"
    tiny: dict[str, object] = {}
    if site.tiny:
        tiny = {"split.folds": 2, "train.epochs": 2, "cluster.ranks_per_node": 1}
        tiny |= {"train.steps": 20} if config.exists() else {}
    return {
        "config": config if config.exists() else config.with_name("demo.yaml"), "run": run, "data.dicom_root": source,
        "labels.sheet": source / "labels.csv", "cluster.kind": "local", **tiny, **more,
    }  # fmt: skip


def name_of(site: Site, code: Path, what: str) -> str:
    """Of a folder that each checkout has for itself."""
    return f"{what}-{NOW if code == site.code else BEFORE}"


def finished(site: Site, code: Path) -> Path:
    """A run of the demo that has ended, made once for each checkout."""
    run = site.shared / name_of(site, code, "finished")
    if not run.exists():
        source = phantom(site.shared / "demo", easy=True, **DEMO[site.tiny])
        logs.log.info("running the demo in %s", run)
        costs.call(code, job(code, "launch_cv.py", **of_demo(site, code, run, source)), site.folder / "log")
    return run


def demo(site: Site, code: Path) -> Prepare:
    """Phantom and run, as ``make demo`` has them."""

    def prepare(out: Path, _: int) -> list[str]:
        made = job(code, "make_phantom.py", "--easy", out=out / "scans", **DEMO[site.tiny])
        launch = job(code, "launch_cv.py", **of_demo(site, code, out / "run", out / "scans"))
        return ["sh", "-c", f"{shlex.join(made)} && {shlex.join(launch)}"]

    return prepare


def folds(site: Site, code: Path) -> Prepare:
    """The folds and the report of a run whose studies are packed, a fold after the other."""

    def prepare(out: Path, _: int) -> list[str]:
        dataset = finished(site, code) / "dataset"
        ranks = 1 if site.tiny else 2  # as the demo has them: a fold takes the whole machine
        more = {"data.packed_dir": dataset, "cluster.cpus_per_rank": max(1, len(os.sched_getaffinity(0)) // ranks)}
        return job(code, "launch_cv.py", **of_demo(site, code, out / "run", site.shared / "demo", **more))

    return prepare


def gap_s(run: Path) -> float:
    """Seconds from the last file of a fold to the first of the next, the mean; folds ran one after the other."""
    ends, starts = [], []
    for fold in (run / "folds").iterdir():
        ends.append((fold / "predictions.csv").stat().st_mtime)
        starts.append(min(path.stat().st_mtime for path in fold.rglob("*") if path.is_file()))
    pairs = list(zip(sorted(ends)[:-1], sorted(starts)[1:], strict=True))
    return sum(start - end for end, start in pairs) / len(pairs)


def many_studies(folder: Path, sizes: Sequence[int]) -> Callable[[int], Path]:
    """Folders of two small files each, and a sheet with a row for each."""
    logs.log.info("writing %d study folders", max(sizes))
    made, roots = folder / "distinct", {size: folder / f"{size}-folders" for size in sizes}
    scans.write_studies(made, LINKS, 2, 32)
    distinct = [sorted(study.iterdir()) for study in sorted(made.iterdir())]
    for size, root in roots.items():
        for number in range(size):
            (folder := root / f"S{number:06d}").mkdir(parents=True)
            for path in distinct[number % LINKS]:
                os.link(path, folder / path.name)
        write_sheet(root)
    return roots.__getitem__


def reported(code: Path, run: Path) -> Prepare:
    """The stage aggregate; the report that is there goes first."""

    def prepare(_: Path, __: int) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(run / "report")
        return job(code, "aggregate.py", "--run", run)

    return prepare


def commit(code: Path) -> str:
    """The commit of a checkout in words, and whether it was changed since."""
    git = ["git", "-C", str(code), "describe", "--always", "--dirty", "--abbrev=10"]
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return found.replace("-dirty", ", changed since") if found else "not in a git checkout"
