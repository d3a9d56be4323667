"""A run on another machine: what it has for the archive, and its files, through one ssh connection.

The other side needs sh, tail, date and sha256sum (or shasum), nothing of ours; ssh's options are the user's. A small
script goes in through the connection, its answers come back: first the list of files, then the bytes of those that were
asked for, one after the other; it writes nothing but a line of the run's ledger, where it may. Names are checked
against what a report has and bytes against the list, so that nothing else can come.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from cac_hpc.report import checksums
from cac_hpc.run import digests, disk, logs, looks
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.transfer import selection
from cac_hpc.transfer.selection import Item, Offer, Selection

MESSAGES_S = 2.0  # for the last words of an ssh that has ended; a shared connection's goes on
SILENCE_S = 120.0  # after which a connection that once spoke is given up; logging in may take as long as it takes
MAX_LINE_BYTES = 4096
MAX_GREETING_BYTES = 1 << 20  # what a login shell may print before the script speaks
BLOCK = 1 << 18
# One compound command: all of it is read before any of it runs, what comes after it are the names that are wanted.
SCRIPT = r"""{
LC_ALL=C; export LC_ALL; unset CDPATH
no() { printf 'no %s\n' "$*"; exit 0; }
printf '%s\n' MARK
cd FOLDER 2>/dev/null || no folder
[ -f config.yaml ] || no run
[ -f report/report.json ] || no report
[ -f report/SUMS ] || no list
listed="
$(cat report/SUMS)
"
if command -v sha256sum >/dev/null 2>&1; then sum() { sha256sum; }
elif command -v shasum >/dev/null 2>&1; then sum() { shasum -a 256; }
else no tool; fi
shown() {
  [ -f ledger.jsonl ] && [ ! -L ledger.jsonl ] && [ -w ledger.jsonl ] || return 0
  printf '{"time": "%s", EVENT}\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" >> ledger.jsonl; }
printf 'run %s\n' "${PWD##*/}"
printf 'made %s\n' "$(date -u -r report/report.json +%s)"
for f in TAKEN; do
  case $f in *[!A-Za-z0-9._/-]*LEFT_OUT) continue;; esac
  p=$f
  while :; do
    [ ! -L "$p" ] || no link "$p"
    case $p in */*) p=${p%/*};; *) break;; esac
  done
  [ -f "$f" ] || continue
  case $f in report/report.json) w=;; report/*) w="  ${f#report/}
";; *) w=;; esac
  case $listed in *"$w"*) ;; *) continue;; esac
  [ -r "$f" ] || no access "$f"
  d=$(sum < "$f")
  d=${d%% *}
  case $listed in *"${w:+
$d}$w"*) ;; *) no changed "$f";; esac
  printf 'file %s %s %s\n' "$(($(wc -c < "$f")))" "$d" "$f"
done
echo end
asked=$(cat)
cut=
printf '%s\n' "$asked" | while read -r at f; do
  case $at in
  end) [ -n "$cut" ] || shown 2>/dev/null;;
  ?*) tail -c "+$((at + 1))" "$f" || cut=1;;
  esac
done
printf '%s\n' MARK
exit 0
}
"""
REFUSALS = {
    "folder": "there is no such folder, wanted the folder of a run",
    "run": "found no config.yaml there, wanted the folder of a run",
    "report": "there is no report yet; python jobs/status.py {run}, started there, says where the run stands",
    "tool": "has neither sha256sum nor shasum, wanted one of them on PATH",
    "link": checksums.LINK,
    "list": f"report/{checksums.FILE}: {checksums.NO_LIST}",
    "changed": checksums.CHANGED,
    "access": "may not be read by this user; ask its owner",
}


@dataclass(frozen=True)
class RemoteFolder:
    """A folder as scp names it."""

    host: str  # with the user, as ssh takes it
    folder: str  # relative to the home folder, unless it begins with /

    def __str__(self) -> str:
        return f"{self.host}:{self.folder}"


def parse(text: str) -> RemoteFolder | None:
    """Read ``[USER@]HOST:FOLDER``, with an IPv6 address in brackets; None if it is no such thing but a local path."""
    found = re.fullmatch(r"(?:([^/:]*)@)?(?:\[([0-9A-Za-z:.%]+)\]|([^/:@\[\]]+)):(.*)", text, re.DOTALL)
    if not found:
        return None
    user, address, name, folder = found.groups()
    host = f"{user}@{address or name}" if user is not None else address or name
    if host.startswith("-") or not host.isprintable() or user == "" or not folder.isprintable():
        raise InputError(f"{text!r}: found no host and folder in it, wanted [USER@]HOST:FOLDER")
    return RemoteFolder(host, folder.removeprefix("~/") if folder != "~" else "")


class Connection:
    """One ssh that runs the script, and what it says."""

    def __init__(self, place: RemoteFolder, choice: Selection) -> None:
        self.place, self.choice, self.mark = place, choice, os.urandom(16).hex()
        self.buffer = bytearray()
        self.patience_s: float | None = None
        command = ["ssh", "-T", "-o", "RemoteCommand=none", "--", place.host, "exec sh -s"]
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise WorkError("ssh: is not on PATH, wanted to reach other machines; install the OpenSSH client") from None
        self._messages = threading.Thread(target=_pass_on, args=(self.process.stderr,), daemon=True)
        self._messages.start()

    def log_in(self) -> None:
        """Start the script, and pass over what a login shell prints before it."""
        self._tell(_script(self.place, self.choice, self.mark))
        mark = f"{self.mark}\n".encode()
        while (start := self.buffer.find(mark)) < 0:
            if len(self.buffer) > MAX_GREETING_BYTES:
                raise WorkError(f"{self.place.host}: its login shell prints without end, wanted a shell that starts sh")
            self._more()
        del self.buffer[: start + len(mark)]
        self.patience_s = SILENCE_S

    def ask(self, requests: list[tuple[int, str]]) -> None:
        """Have files sent, each from a byte on, and that noted as a look; nothing can be asked afterwards."""
        self._tell("".join(f"{start} {name}\n" for start, name in requests) + "end\n")
        with suppress(BrokenPipeError):
            self._stdin.close()

    def line(self) -> str:
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > MAX_LINE_BYTES:
                raise WorkError(f"{self.place}: sent a line of more than {MAX_LINE_BYTES} bytes, which is no list")
            self._more()
        text = self.buffer[:end].decode(errors="replace")
        del self.buffer[: end + 1]
        return text

    def copy(self, num_bytes: int, file: IO[bytes], advance: Callable[[int], None]) -> None:
        """Append that many bytes to a file as they come."""
        while num_bytes:
            if not self.buffer:
                self._more()
            part = self.buffer[:num_bytes]
            file.write(part)
            del self.buffer[: len(part)]
            num_bytes -= len(part)
            advance(len(part))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        if self.process.stdout:
            self.process.stdout.close()
        self._messages.join(MESSAGES_S)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None  # it is a pipe
        return self.process.stdin

    def _tell(self, text: str) -> None:
        with suppress(BrokenPipeError):  # its last messages say why
            self._stdin.write(text.encode())
            self._stdin.flush()

    def _more(self) -> None:
        assert self.process.stdout is not None  # it is a pipe
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], self.patience_s)[0]:
            self._dropped(f"silent for {SILENCE_S:.0f} s")
        data = os.read(descriptor, BLOCK)
        if not data:
            self._dropped("cut")
        self.buffer += data

    def _dropped(self, how: str) -> NoReturn:
        if self.patience_s is None:
            raise WorkError(
                f"{self.place.host}: no connection (ssh ended with {self.process.wait()} and says why above); "
                f"ssh {shlex.quote(self.place.host)} must work, ~/.ssh/config says how"
            )
        raise WorkError(f"{self.place.host}: the line was {how}; the same command goes on with what has come")


def _pass_on(messages: IO[bytes]) -> None:
    """Print what ssh and the other side say of errors as it comes; none of it commands the terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with messages:
        while data := os.read(messages.fileno(), BLOCK):
            sys.stderr.write(logs.harmless(decoder.decode(data)))
            sys.stderr.flush()


@contextmanager
def connect(place: RemoteFolder, choice: Selection) -> Iterator[Connection]:
    """Log in, once; ssh itself asks for passwords and codes."""
    connection = Connection(place, choice)
    try:
        connection.log_in()
        yield connection
    finally:
        connection.close()


def survey(connection: Connection) -> Offer:
    """What the run has, as the other side lists it.

    Raises: InputError if it has no report or is no run; WorkError if the list is none of a report.
    """
    facts: dict[str, str] = {}
    items: dict[str, Item] = {}
    while (line := connection.line()) != "end":
        word, _, rest = line.partition(" ")
        if word == "no":
            _refuse(connection.place, rest)
        elif word in ("run", "made"):
            facts[word] = rest
        else:
            item = _item(line, connection)
            items[item.name] = item
        if len(items) > selection.MAX_FILES:
            raise WorkError(f"{connection.place}: lists more than {selection.MAX_FILES} files, which is no report")
    if not re.fullmatch(r"[0-9]{1,12}", made := facts.get("made", "")):
        raise WorkError(f"{connection.place}: date says {made!r} of report.json, wanted seconds; its date has no -r")
    return Offer(facts.get("run", ""), int(made), tuple(items[name] for name in sorted(items)))


def fetch(connection: Connection, offer: Offer, store: Path, advance: Callable[[int], None]) -> dict[str, Path]:
    """Bring what the other side has offered, except for what an earlier attempt brought.

    Args:
        store: a folder of files named by their digests; what comes stays there, also if the line is cut.
        advance: called with the number of bytes that are there.
    Returns: where each file lies, by its name.
    Raises: WorkError if the line is cut, or a file is not what was offered.
    """
    there = {item.sha256: _num_bytes_there(store / item.sha256, item) for item in offer.items}
    advance(sum(there.values()))
    missing = {item.sha256: item for item in offer.items if there[item.sha256] < item.size}
    connection.ask([(there[digest], item.name) for digest, item in missing.items()])
    for digest, item in missing.items():
        path = store / digest
        with disk.open_own(path, "ab", buffering=0) as file:
            connection.copy(item.size - there[digest], file, advance)
        if digests.file_sha256(path) != digest:
            path.unlink()
            raise WorkError(f"{item.name}: is not what was offered, it changed or was damaged on its way; start again")
    if connection.line() != connection.mark:
        raise WorkError(f"{connection.place}: sent more than it had announced; a file grew meanwhile? start again")
    return {item.name: store / item.sha256 for item in offer.items}


def _num_bytes_there(path: Path, item: Item) -> int:
    """How much of a file is there already; what cannot be its beginning is removed."""
    size = path.stat().st_size if path.exists() else -1
    if size > item.size or (size == item.size and digests.file_sha256(path) != item.sha256):
        path.unlink()
        size = -1
    if size < 0:
        disk.open_own(path, "ab").close()
    return max(size, 0)


def _script(place: RemoteFolder, choice: Selection, mark: str) -> str:
    folder = place.folder if place.folder.startswith("/") else f"./{place.folder}"
    words = {
        "MARK": mark,
        "FOLDER": shlex.quote(folder),
        "TAKEN": " ".join(choice.taken),
        "SUMS": checksums.FILE,
        "LEFT_OUT": "".join(f"|{pattern}" for pattern in choice.left_out),
        "EVENT": json.dumps(looks.event("ssh"))[1:-1],
    }
    return re.sub("|".join(words), lambda found: words[found[0]], SCRIPT)


def _item(line: str, connection: Connection) -> Item:
    found = re.fullmatch(r"file ([0-9]{1,15}) ([0-9a-f]{64}) (\S+)", line)
    if not found or not connection.choice.admits(found[3]):
        raise WorkError(
            f"{connection.place}: offers {line[:200]!r}, wanted files of a report only; nothing was fetched"
        )
    return Item(found[3], int(found[1]), found[2])


def _refuse(place: RemoteFolder, said: str) -> NoReturn:
    code, _, name = said.partition(" ")
    where = f"{place}/{name}" if name else str(place)
    run = shlex.quote(place.folder) if place.folder.startswith("/") else f"~/{shlex.quote(place.folder)}"
    again = f"python jobs/aggregate.py --run {run}, started there,"
    known = REFUSALS.get(code)
    raise InputError(f"{where}: {known.format(run=run, again=again) if known else f'refused ({said[:200]})'}")
