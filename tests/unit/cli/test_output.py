"""The output port: nothing foreign acts on the terminal through it, and nothing of ours leads
around it.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.live import Live
from rich.text import Text

from backupsvc.cli import output
from backupsvc.cli.output import Wall

ROOT = Path(__file__).parents[3]
BAD = "\x1b[35m\x9b2J\u202e[red]x\r\nguest 1 is proven"
SHOWN = r"\x1b[35m\x9b2J\u202e[red]x\x0d"
PORT = ROOT / "backupsvc" / "cli" / "output.py"
SOURCES = [*(ROOT / "backupsvc").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
# the log's own way out (docs/logging.md)
LOGS = [ROOT / "backupsvc" / "logs.py", ROOT / "backupsvc" / "serve" / "children.py"]
OURS = sorted(path for path in SOURCES if path not in (PORT, *LOGS))
FORBIDDEN = {"echo", "secho", "confirm", "prompt", "style", "progressbar", "echo_via_pager"}
STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
IMPORTS = {"Console", "print", "get_console", "Prompt", "Confirm", "stdout", "stderr", *FORBIDDEN}


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def around(tree: ast.AST, *, logs: bool = False) -> Iterator[tuple[int, str]]:
    """What leads around the port in a module: its line, and what it is. ``logs``: it may set up
    logging and write to files.
    """
    harmless = {id(stream) for node in ast.walk(tree) for stream in _asked(node)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "input")
        ):
            yield node.lineno, node.func.id
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            forbidden = name in STREAMS and id(node) not in harmless
            if forbidden or (
                name.partition(".")[2] in FORBIDDEN and name.startswith(("typer.", "click."))
            ):
                yield node.lineno, name
            if name.startswith("rich.") and name.rpartition(".")[2] in IMPORTS:
                yield node.lineno, name
            if name in ("logging.StreamHandler", "logging.basicConfig", "os.write") and not logs:
                yield node.lineno, name
        if isinstance(node, ast.ImportFrom) and node.module in (
            "rich.console",
            "rich",
            "rich.prompt",
            "typer",
            "click",
            "sys",
        ):
            wrong = sorted({item.name for item in node.names} & IMPORTS)
            yield from ((node.lineno, f"from {node.module} import {name}") for name in wrong)


def _asked(node: ast.AST) -> list[ast.AST]:
    """The streams that a node only asks something: whether they are terminals, or their number."""
    if isinstance(node, ast.Attribute) and node.attr in ("isatty", "fileno"):
        return [node.value]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "interactive":
        return list(node.args)
    return []


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_but_through_the_port(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"line {line}: {what}" for line, what in around(tree, logs="cli" not in path.parts)]
    assert not found, f"{path.name}: say it with backupsvc.cli.output: {found}"


@pytest.mark.parametrize(
    "text",
    [
        "print('x')",
        "import typer\ntyper.echo('x')",
        "from typer import echo",
        "import sys\nsys.stdout.write('x')",
        "import sys\nsys.stderr.buffer",
        "import sys\nsys.__stdout__",
        "import sys, json\njson.dump({}, sys.stdout)",
        "import sys\nf(file=sys.stderr)",
        "from sys import stdout",
        "from rich.console import Console",
        "from rich import print",
        "import rich\nrich.print('x')",
        "import rich.console\nrich.console.Console()",
        "import logging\nlogging.StreamHandler()",
        "import os\nos.write(1, b'x')",
    ],
)
def test_the_ways_around_the_port_are_seen(text: str) -> None:
    assert list(around(ast.parse(text)))


def test_a_line_is_one_line_and_what_follows_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(f"guest 108 ({BAD})\n")
    output.tell(BAD)
    out, err = capsys.readouterr()
    assert out == f"guest 108 ({SHOWN}\n    | guest 1 is proven)\n"
    assert err == f"{SHOWN}\n    | guest 1 is proven\n"


def test_a_table_in_a_pipe_keeps_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "state"), [(BAD, "ok"), (None, "failed")], title=BAD)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[3] == f"{SHOWN}\\nguest 1 is proven  ok"


def test_a_table_on_a_terminal_has_our_styles_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdout", Wall(terminal))
    output.table(("name", "state"), [(f"{BAD}:skull:", "failed")], title="[red]Jobs")
    sent = terminal.getvalue()
    assert (
        "\x1b[31mfailed" in sent
        and f"{SHOWN}\\nguest 1 is proven:skull:" in sent
        and "[red]Jobs" in sent
    )
    assert "\x1b[35m" not in sent and "\x9b" not in sent and "\u202e" not in sent


def test_whatever_rich_is_given_passes_the_consoles_own_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", terminal)
    console = output.console(stderr=True)
    with Live(Text(BAD), console=console, refresh_per_second=1):
        output.guard()
        print(BAD, file=sys.stderr)
        console.print(BAD)
    assert "\x1b[35m" not in terminal.getvalue() and terminal.getvalue().count(r"\x1b[35m") >= 3


def test_the_wall_has_no_way_around_it() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    wall = Wall(stream)
    with pytest.raises(AttributeError):
        _ = wall.buffer
    assert wall.write("a\x1bb") == 3
    wall.writelines(["\x07", "c"])
    wall.flush()
    assert stream.buffer.getvalue() == rb"a\x1bb\x07c"


def test_what_others_print_meets_the_wall_and_what_cannot_be_encoded_is_written_out() -> None:
    script = (
        "import sys, logging; from backupsvc.cli.output import guard; guard(); guard()\n"
        "sys.stdout.write('\\x1b[35ma\\n'); print('b\\x9b\\u2026')\n"
        "logging.warning('\\x1b[35mc\\udcff'); raise ValueError('\\x1b[35md')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stdout == b"\\x1b[35ma\nb\\x9b\\u2026\n"
    assert (
        b"\x1b" not in done.stderr
        and rb"\x1b[35mc\udcff" in done.stderr
        and rb"\x1b[35md" in done.stderr
    )


def test_json_is_one_object_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"name": BAD})
    out = capsys.readouterr().out
    assert (
        json.loads(out).items() > {"name": BAD}.items()
        and "\x9b" not in out
        and "\u202e" not in out
    )
    output.emit_json_lines([{"name": f"{BAD}\x7f"}, 2])
    lines = capsys.readouterr().out
    assert (
        json.loads(lines) == [{"name": f"{BAD}\x7f"}, 2] and lines.isascii() and "\x7f" not in lines
    )
    output.emit_json_lines([])
    assert capsys.readouterr().out == "[]\n"
