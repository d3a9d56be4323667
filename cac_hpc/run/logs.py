"""What people see while it works: log lines for SLURM's files, bars and tables for a terminal. The owner of rich."""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

log = logging.getLogger("cac_hpc")
T = TypeVar("T")
NARROW = 80  # characters: a terminal, or a pipe
LONG_WORD = 30  # characters: longer ones, as paths, are broken where the table is too wide
BLANKS = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"), " ")  # what ends a line, and tabs


def setup(prefix: str = "") -> None:
    """Send log lines to standard error; ``prefix`` says who speaks, for example a rank."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Harmless(f"%(asctime)s {prefix}%(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    log.setLevel(logging.INFO)


class _Harmless(logging.Formatter):
    """Messages of one line each, whoever wrote what they quote."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's own name
        record.message = line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))  # with the traceback below it, if there is one


def say(text: object = "", to: TextIO | None = None) -> None:
    """Print a text on standard output, or elsewhere: what it quotes commands no terminal and hides nothing."""
    print(harmless(str(text)), file=to, flush=True)


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    screen = Console(stderr=stderr, highlight=False)
    screen.push_render_hook(_HarmlessTexts())  # type: ignore[arg-type]  # rich is imported only where it prints
    return screen


class _HarmlessTexts:
    """Texts that rich is asked to print, without what commands a terminal; a hook of rich's."""

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        from rich.text import Text

        for one in renderables:
            if isinstance(one, Text):
                one.plain = harmless(one.plain)
        return renderables


def harmless(text: str) -> str:
    """A text of any number of lines without what commands a terminal, or makes people read what is not there.

    Control characters (C0, C1) go, but tabs and ends of lines; so do all format characters (bidirectional controls,
    those of no width). Separators of lines and paragraphs become blanks, halves of surrogate pairs U+FFFD.
    """
    return "\n".join(one if one.isprintable() else "".join(map(_shown, one)) for one in text.split("\n"))


def line(text: str) -> str:
    """The same of a text that is part of one line: whatever ends a line is a blank."""
    return harmless(text.translate(BLANKS))


def first_of(items: Sequence[str], most: int) -> str:
    """Things in a sentence: the first, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def amount(count: int, one: str, several: str | None = None) -> str:
    """So many things, by their name in singular and plural."""
    return f"{count} {noun(count, one, several)}"


def noun(count: int, one: str, several: str | None = None) -> str:
    """The name of so many things."""
    return one if count == 1 else several or re.sub("([^aeiou])y$", r"\1ie", one) + "s"


def lines_of(value: Any) -> Any:
    """The same of every text in lists and dictionaries, names included."""
    if isinstance(value, str):
        return value if value.isprintable() else line(value)
    if isinstance(value, dict):
        return {lines_of(name): lines_of(one) for name, one in value.items()}
    return [lines_of(one) for one in value] if isinstance(value, list | tuple) else value


def _shown(sign: str) -> str:
    if sign == "\t":
        return sign
    return {"Cc": "", "Cf": "", "Cs": "\N{REPLACEMENT CHARACTER}", "Zl": " ", "Zp": " "}.get(
        unicodedata.category(sign), sign
    )


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: bool = False, tight: bool = False
) -> Table:
    """A table for a terminal.

    Lines are broken between words where the words of all columns fit beside each other.

    Args:
        numbers: whether all columns but the first are aligned to the right. tight: whether it has many columns, as one
            has that would be wider than NARROW otherwise.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    texts = [
        [line(name) for name in columns],
        *(["-" if one is None else line(str(one)) for one in row] for row in rows),
    ]
    columns_of = list(zip(*texts, strict=True))
    widths = [max(map(cell_len, column)) for column in columns_of]
    shown = Table(title=Text(line(title)), title_justify="left", box=box.SIMPLE_HEAD)
    if tight or sum(widths) + 3 * len(widths) + 1 > NARROW:
        shown.padding, shown.pad_edge, tight = (0, 1, 0, 0), False, True
    between = 2 * len(widths) if tight else 3 * len(widths) + 1
    words = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in columns_of]
    fitted = _fitted(widths, [min(word, LONG_WORD) for word in words], console().width - between)
    for index, (column, width, word) in enumerate(zip(columns_of, fitted, words, strict=True)):
        shown.add_column(
            Text(column[0]),
            justify="right" if numbers and index else "left",
            overflow="fold",
            width=width if width < widths[index] or width == word <= LONG_WORD else None,
            min_width=word if word <= LONG_WORD else None,
        )
    for row in texts[1:]:
        shown.add_row(*map(Text, row))
    return shown


def _fitted(widths: Sequence[int], words: Sequence[int], room: int) -> list[int]:
    """Widths of columns that fit beside each other: the widest is narrowed first, none below its longest word.

    Rich narrows columns below their least width, and cuts off what then is too wide (findings/rich_min_width.sh).
    Where even the words do not fit, the widths are as they were, and Rich breaks words.
    """
    fitted = list(widths)
    while sum(fitted) > room:
        wide = [index for index, (width, word) in enumerate(zip(fitted, words, strict=True)) if width > word]
        if not wide:
            return list(widths)
        fitted[max(wide, key=fitted.__getitem__)] -= 1
    return fitted


def with_lines(title: str, table: Table, lines: Sequence[str]) -> RenderableType:
    """A table between its title, however long, and lines of text."""
    from rich.console import Group
    from rich.text import Text

    above, *below = (Text(line(one), overflow="fold") for one in (title, *lines))
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
        from rich.markup import escape

        with rich.progress.Progress(console=screen) as bars:
            bar = bars.add_task(escape(line(label)), total=total)
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
            bar = bars.add_task(escape(line(label)), total=num_bytes)
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
