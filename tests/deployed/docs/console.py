"""Console blocks of a page: what is typed, and what is said to be printed; and how both are held against a fleet.

A block begins with ```console. A line that begins with `$ ` is typed, and with it the lines that go on with `> `; those
behind are printed, in that order. Others may be printed between them, `...` within one stands for whatever it is today,
and frames of tables do not count.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 60.0
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*")
_FRAME = re.compile(r"[\u2500-\u257f\s]+")
#: Verbs that only look, which is done again until what is awaited has come.
_LOOKS = re.compile(r"(fleet (status|doctor|\w+ (list|show|watch))|promtool query|curl -s)\b")


@dataclass(frozen=True)
class Command:
    """What is typed, and the lines that are printed."""

    text: str
    expected: tuple[str, ...]

    def missing(self, output: str) -> str | None:
        """Return the first line that is expected and not there, behind the one before it; None if all are."""
        lines = iter([_plain(line) for line in output.splitlines()])
        for line in self.expected:
            pattern = ".*".join(map(re.escape, _plain(line).split("...")))
            if not any(re.fullmatch(pattern, printed) for printed in lines):
                return line
        return None


def _plain(line: str) -> str:
    return _FRAME.sub(" ", line).strip()


def commands_of(page: str) -> Iterator[Command]:
    """Yield the commands of a page."""
    for block in _BLOCK.findall(page):
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *lines = typed.replace("\\\n", "").splitlines()
            more = list(itertools.takewhile(lambda line: line.startswith("> "), lines))
            text = "\n".join([_COMMENT.sub("", first), *(line.removeprefix("> ") for line in more)])
            yield Command(text, tuple(line for line in lines[len(more) :] if _plain(line)))


@dataclass(frozen=True)
class Console:
    """Shell in which a page is followed."""

    folder: Path
    environment: Mapping[str, str]
    #: What is not typed but done, by its text: what a service manager would do.
    done_otherwise: Mapping[str, Callable[[], None]]
    #: What a word stands for, when it is typed: an id, or a port of this fleet.
    stands_for: Mapping[str, Callable[[], str]]
    #: What happens in the world after something was typed, by how that begins.
    after: dict[str, Callable[[], None]] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        """Type what a page says, and hold what is printed against it."""
        for command in commands_of(page):
            text = command.text
            if (done := self.done_otherwise.get(text)) is not None:
                done()
                continue
            for word, meaning in self.stands_for.items():
                if re.search(whole := rf"\b{re.escape(word)}\b", text):
                    text = re.sub(whole, meaning(), text)
            self._type(text, command)
            for begins, happens in self.after.items():
                if text.startswith(begins):
                    happens()

    def _type(self, text: str, command: Command) -> None:
        deadline, pause_s = time.monotonic() + LIMIT_S, 0.3
        while True:
            output = self._run(text)
            missing = command.missing(output)
            if missing is None:
                return
            if not _LOOKS.match(text) or time.monotonic() > deadline:
                raise AssertionError(f"$ {text}\n{output}\n... and not, as the page says: {missing}")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, 1.5)

    def _run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return done.stdout
