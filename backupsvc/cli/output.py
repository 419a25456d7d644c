"""The output port: one JSON object for programs, tables and sentences for people, errors for the
reader at 3 a.m.

All that the command line shows leaves through here, so that nothing foreign in it acts on the
terminal (backupsvc.visible). Whoever needs rich takes ``console``. What Python, Typer or a library
prints by itself meets the wall that ``guard`` builds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from backupsvc.visible import json_text, one_line, visible
from policies.amounts import size as size

if TYPE_CHECKING:
    from rich.console import Console

    from backupsvc.errors import BackupsvcError

_words: list[str] = []  # the command that this process carries out
# of all answers together: it is raised when a key goes, or means something else; a new key raises
# nothing
SCHEMA_VERSION = 1
# before the further lines of a foreign text: none of them may pass for a line of ours
_MORE = "\n    | "


class Wall:
    """A text stream that writes foreign characters out instead of passing them on. Has no
    ``buffer``: no way leads around it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.behind = stream

    def write(self, text: str) -> int:
        """Write a text, visible."""
        self.behind.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, visible."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.behind, name)


def guard() -> None:
    """Put a wall before standard output and standard error, if none stands there. Also what they
    cannot encode is written out.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Wall):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")
            setattr(sys, name, Wall(stream))


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output, in ASCII where that takes no UTF-8, which JSON is
    else written in.

    Its first key says which object it is: ``schema``, the command's name and the version of its
    shape.
    """
    name = "error" if "error" in value and len(value) == 1 else " ".join(_words)
    # what would be done has a shape of its own
    tense = " --dry-run" if value.get("dry_run") is True else ""
    value = {"schema": f"{name}{tense}/{SCHEMA_VERSION}", **value}
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    plain = encoding.lower().replace("-", "") != "utf8"
    sys.stdout.write(f"{json_text(value, indent=2, ascii=plain)}\n")


def answering(depth: int, word: str) -> None:
    """Given how deep in the tree of commands a word of the command line stands, and that word,
    remember who answers.
    """
    _words[depth:] = [word]


def emit_json_lines(values: Sequence[Any]) -> None:
    """Print a JSON list on standard output, in ASCII and an element a line, which takes half the
    time of indenting.

    Half a surrogate pair comes back as it came: this is for a program's own values, which it wants
    to find again.
    """
    lines = ",\n".join(json.dumps(value) for value in values)
    sys.stdout.write(f"[\n{lines}\n]\n" if lines else "[]\n")


def say(text: str = "") -> None:
    """Print one line on standard output; further lines of a foreign text stand below it, marked."""
    print(paragraph(text), flush=True)


def tell(text: str) -> None:
    """Print one line on standard error, where progress and warnings go."""
    print(paragraph(text), file=sys.stderr, flush=True)


def fail(message: str, hint: str, exit_code: int, *, as_json: bool) -> int:
    """Given an error, print it for a person (and for a program, when it asked for JSON), and return
    the exit code.
    """
    # a program reads standard output, a person standard error: each gets it in its own form
    if as_json:
        emit_json({"error": {"message": message, "hint": hint, "exit_code": exit_code}})
    tell_error(message, hint)
    return exit_code


def tell_error(message: str, hint: str) -> None:
    """Print an error on standard error, and the next action where there is one."""
    tell(f"backupsvc: {message}")
    if hint:
        tell(f"  -> {hint}")


def foresee(lines: Iterable[str], blockers: Iterable[BackupsvcError]) -> None:
    """Given the lines that tell what would be done, and what keeps it from being done, print the
    former on standard output and the latter on standard error.
    """
    for line in lines:
        say(line)
    for one in blockers:
        tell_error(one.message, one.hint)


def can_ask() -> bool:
    """Return whether somebody is there to answer: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question: str) -> bool:
    """Given a question, ask it on standard error and return the answer. Who gives none, by Ctrl-C or
    by the end of the input, says no.
    """
    import typer

    try:
        return typer.confirm(one_line(question), err=True)
    except typer.Abort:
        tell("")
        return False


def ask_words(question: str) -> str:
    """Given a question that a word would answer too fast, ask it on standard error and return what
    was typed, "" from who gives no answer.
    """
    import typer

    try:
        return str(typer.prompt(one_line(question), default="", show_default=False, err=True))
    except typer.Abort:
        tell("")
        return ""


def interactive(stream: Any = None) -> bool:
    """Return whether a stream (standard output by default) is a terminal that wants colours."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = False) -> Console:
    """Return rich's console, whose own styles pass the wall, and nothing else does. It reads no
    markup.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Port(Console):
        def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
            for segment in super().render(*args, **options):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    # rich's own escapes must pass, so it writes behind the wall, and Port makes the rest visible
    stream: Any = sys.stderr if stderr else sys.stdout
    return Port(
        file=stream.behind if isinstance(stream, Wall) else stream,
        markup=False,
        emoji=False,
        highlight=False,
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Given headers and rows, print a table: framed on a terminal, plain aligned columns in a
    pipe.
    """
    cells = [[one_line(str(cell)) if cell is not None else "-" for cell in row] for row in rows]
    if interactive():
        from rich.table import Table
        from rich.text import Text

        framed = Table(title=Text(one_line(title)) if title else None, title_justify="left")
        for header in headers:
            framed.add_column(header)
        for row in cells:
            framed.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
        console().print(framed)
        return
    if title:
        say(title)
    widths = [
        max(len(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))
    ]
    for row in [list(headers), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def paragraph(text: str) -> str:
    """Given a foreign text that is to stand as a line, return it visible, its further lines marked
    as what they are.
    """
    return visible(text.rstrip("\n")).replace("\n", _MORE)


_COLOURS = {
    **dict.fromkeys(("proven", "ok", "passed", "met", "compliant", "keep"), "green"),
    **dict.fromkeys(("failed", "breached", "critical", "remove"), "red"),
    **dict.fromkeys(("inconclusive", "warnings", "warning", "unknown", "simulated"), "yellow"),
    "protected": "cyan",
}


@contextmanager
def bar(what: str, total: int, *, silent: bool) -> Iterator[Callable[[int], None]]:
    """Given what is done and how many bytes it takes, yield what is told how many more were done;
    on a terminal it shows.
    """
    if silent or not interactive(sys.stderr):
        yield lambda count: None
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(one_line(what), total=total)
        yield lambda count: progress.advance(task, count)
