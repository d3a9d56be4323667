"""What people see while it works: log lines for SLURM's files, bars and tables for a terminal. The owner of rich."""

from __future__ import annotations

import logging
import threading
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

log = logging.getLogger("cac_hpc")
T = TypeVar("T")


def setup(prefix: str = "") -> None:
    """Send log lines to standard error; ``prefix`` says who speaks, for example a rank."""
    logging.basicConfig(format=f"%(asctime)s {prefix}%(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    log.setLevel(logging.INFO)


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    screen = Console(stderr=stderr, highlight=False)
    screen.push_render_hook(_Harmless())  # type: ignore[arg-type]  # rich is imported only where it prints
    return screen


class _Harmless:
    """Texts that rich is asked to print, without what commands a terminal; a hook of rich's."""

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        from rich.text import Text

        for one in renderables:
            if isinstance(one, Text):
                one.plain = harmless(one.plain)
        return renderables


def harmless(text: str) -> str:
    """A text without control characters (C0, C1), but tabs and ends of lines."""
    return "".join(sign for sign in text if sign in "\t\n" or unicodedata.category(sign) != "Cc")


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: bool = False, tight: bool = False
) -> Table:
    """A table for a terminal.

    Args:
        numbers: whether all columns but the first are aligned to the right. tight: whether it has many columns.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(harmless(title)), title_justify="left", box=box.SIMPLE_HEAD)
    if tight:
        shown.padding, shown.pad_edge = (0, 1, 0, 0), False
    for index, column in enumerate(columns):
        shown.add_column(Text(harmless(column)), justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text("-" if cell is None else harmless(str(cell))) for cell in row))
    return shown


def with_lines(title: str, table: Table, lines: Sequence[str]) -> RenderableType:
    """A table between its title, however long, and lines of text."""
    from rich.console import Group
    from rich.text import Text

    above, *below = (Text(harmless(line), overflow="fold") for line in (title, *lines))
    return Group(above, table, *below)


def redraw(render: Callable[[], RenderableType], steps: Generator[object, None, None]) -> None:
    """Draw a table on the terminal, again at every step and once after the last."""
    from rich.live import Live

    with closing(steps), Live(render(), console=console(), auto_refresh=False) as live:
        for _ in steps:
            live.update(render(), refresh=True)
        live.update(render(), refresh=True)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield what is called, from any thread, when one more is done: a bar on a terminal, ten log lines elsewhere."""
    screen = console(stderr=True)
    if screen.is_terminal:
        import rich.progress

        with rich.progress.Progress(console=screen) as bars:
            bar = bars.add_task(harmless(label), total=total)
            yield lambda: bars.advance(bar)
        return
    step, lock, done = max(1, total // 10), threading.Lock(), 0

    def advance() -> None:
        nonlocal done
        with lock:
            done += 1
            if done % step == 0 or done == total:
                log.info("%s: %d of %d", label, done, total)

    yield advance


@contextmanager
def transfer(label: str, num_bytes: int) -> Iterator[Callable[[int], None]]:
    """Yield what is called with the number of bytes that have come: a bar on a terminal, ten log lines elsewhere."""
    screen = console(stderr=True)
    if screen.is_terminal:
        import rich.progress as parts
        from rich.markup import escape

        columns = (parts.DownloadColumn(), parts.TransferSpeedColumn(), parts.TimeRemainingColumn())
        with parts.Progress("{task.description}", parts.BarColumn(), *columns, console=screen) as bars:
            bar = bars.add_task(escape(harmless(label)), total=num_bytes)
            yield lambda count: bars.advance(bar, count)
        return
    done = shown = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        if (tenths := 10 * done // max(num_bytes, 1)) > shown:
            shown = tenths
            log.info("%s: %.1f of %.1f MB", label, done / 1e6, num_bytes / 1e6)

    yield advance


def track(items: Sequence[T], label: str) -> Iterator[T]:
    """Go through the items, showing how many are done."""
    with progress(label, len(items)) as advance:
        for item in items:
            yield item
            advance()
