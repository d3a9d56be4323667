"""The report of a run, wherever it is: shown, brought home as one archive, opened; made now if it is behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cac_hpc.report import publishing, terminal
from cac_hpc.report.publishing import Expected
from cac_hpc.run import disk, logs, looks, paths, result_files
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.report_command import ReportOptions

# what is opened: the first that is there
PAGES = tuple(paths.page_name(status, *kind) for kind in paths.PAGES for status in paths.STATUSES)


def retrieve(asked: ReportOptions) -> int:
    """Show the report of a run here, of a run elsewhere or in an archive; keep it as an archive, open it.

    Of a run here that goes on a provisional report of the folds that are done is made, of one that ended the final one.
    That test figures were shown is noted in the run's ledger, here or elsewhere.

    Returns: 0 for a complete report, 1 for a partial or provisional one.
    Raises: InputError or WorkError saying what is in the way; what had come by then is kept for the next attempt.
    """
    source = Path(asked.source)
    if asked.questions:
        return _show_questions(source)
    if source.is_file() or not source.exists():
        folder, code = _fetch(asked)
    elif paths.is_external_test(source):
        folder, code = source, _show_external(asked)
    else:
        folder = stored_settings.run_folder(asked.source)
        _bring_up_to_date(folder)
        how: looks.How = "page" if asked.open else "terminal"
        code = _keep(folder, asked) if asked.out else terminal.show(folder, how)
    if asked.open:
        open_page(folder / "report")
    return code


def _fetch(asked: ReportOptions) -> tuple[Path, int]:
    """Take a report from an archive, or from another machine.

    Returns: the folder that it is in now, and its code.
    Raises: InputError if it is neither.
    """
    from cac_hpc.transfer import archive, fetching, remote  # not for a run here

    source = Path(asked.source)
    place = None if source.is_file() else remote.parse(asked.source)
    if place is None and not source.is_file():
        stored_settings.run_folder(asked.source)
    if asked.out is None:
        raise InputError(f"{asked.source}: found no --out, wanted --out DIR, the folder that the report comes to")
    out = given_paths.out_folder(asked.out)
    if place is None:
        return fetching.unpack(source, out)
    made, code = fetching.bring(place, out, fetching.choice_of(asked))
    return archive.unpack(made, made.parent) if asked.open else made.parent, code


def _keep(root: Path, asked: ReportOptions) -> int:
    from cac_hpc.transfer import fetching

    return fetching.keep(root, given_paths.out_folder(asked.out), fetching.choice_of(asked))


def _show_questions(root: Path) -> int:
    """Print the questions that the checklists of a finished report leave to people, with the answers that it has.

    Raises: InputError if there is no report of this version.
    """
    from cac_hpc.appendix import checklists  # takes a second: only where it is needed

    for line in checklists.questions_of(root / "report"):
        logs.say(line)
    return 0


def _show_external(asked: ReportOptions) -> int:
    """Show the report of an external test, which is whole in its folder.

    Raises: InputError if it is to be brought home.
    """
    if asked.out:
        raise InputError(f"--out {asked.out}: found an external test, wanted a run; copy {asked.source}/report, it is "
                         "whole and holds no paths")  # fmt: skip
    return terminal.show(Path(asked.source))


def open_page(folder: Path) -> None:
    """Show a report in the desktop's browser.

    Raises: WorkError if there is none.
    """
    page = next((folder / name for name in PAGES if (folder / name).is_file()), None)
    if page is None:
        raise InputError(f"{folder}: found none of {', '.join(PAGES)}, wanted the report of a run")
    import webbrowser

    if not webbrowser.open(page.absolute().as_uri()):
        raise WorkError(f"{page}: no browser was found here to open it; take the report home with --out DIR")


def _bring_up_to_date(root: Path) -> None:
    """Make a report where there is none of the folds as they are: the final one, unless it may still come by itself.

    Where that cannot be done the report that is there remains.
    """
    run = RunPaths(root)
    with suppress(OSError):
        publishing.tidy(run.report)
    if (seen := _behind(root)) is None:
        return
    from cac_hpc.report import aggregation  # takes seconds: only where it is needed

    final = not seen.at_work and not seen.aggregates
    kind = "the final one" if final else "a PROVISIONAL one"
    logs.log.info("%s: no final report of the folds as they are, so %s is made now", run.root, kind)
    try:
        (aggregation.aggregate if final else aggregation.provisional)(run.root)
    except (OSError, InputError, WorkError) as error:
        if not run.report_json.is_file():
            raise
        logs.log.warning("this report is an older one, for a new one cannot be made (%s)", error)


def _behind(root: Path) -> Expected | None:
    """What may still come, if folds are done and the report is not final, or has not all that are done, or folds go on.

    A report of folds that are not there any more is all that is left of them.
    """
    run, folders = RunPaths(root), (root / "folds").glob("fold-*")
    done = {
        int(path.name[5:])
        for path in folders
        if path.name[5:].isdecimal() and result_files.fold_is_done(FoldPaths(path))
    }
    try:
        summary = disk.read_json(run.report_json)
        status, there = summary["status"], {fold["fold"] for fold in summary["training"]}
    except FileNotFoundError:
        status, there = None, set()
    except (ValueError, KeyError, TypeError):  # whoever reads it says so
        return None
    if status == "COMPLETE" or not done or not there <= done:
        return None
    seen = publishing.find_expected(run)
    return seen if status != "PARTIAL" or there < done or seen.surely else None
