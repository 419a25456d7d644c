"""The output port: one JSON object for programs, tables and sentences for people, errors for the reader at 3 a.m."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any


def emit_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(text: str = "") -> None:
    """Print one line on standard output."""
    print(text, flush=True)


def tell(text: str) -> None:
    """Print one line on standard error, where progress and warnings go."""
    print(text, file=sys.stderr, flush=True)


def fail(message: str, hint: str, exit_code: int, *, as_json: bool) -> int:
    """Given an error, print it for a person (and for a program, when it asked for JSON), and return the exit code."""
    if as_json:
        emit_json({"error": {"message": message, "hint": hint, "exit_code": exit_code}})
    tell(f"backupsvc: {message}")
    if hint:
        tell(f"  -> {hint}")
    return exit_code


def interactive(stream: Any = None) -> bool:
    """Return whether a stream (standard output by default) is a terminal that wants colours."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Given headers and rows, print a table: framed on a terminal, plain aligned columns in a pipe."""
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in rows]
    if interactive():
        _rich_table(headers, cells, title)
        return
    if title:
        say(title)
    widths = [max(len(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))]
    for row in [list(headers), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for header in headers:
        shown.add_column(header)
    for row in cells:
        shown.add_row(*(_coloured(escape(cell)) for cell in row))
    Console().print(shown)


def _coloured(cell: str) -> str:
    colours = {"proven": "green", "ok": "green", "passed": "green", "met": "green", "compliant": "green", "keep": "green"}
    colours |= {
        "failed": "red",
        "breached": "red",
        "critical": "red",
        "remove": "red",
        "inconclusive": "yellow",
        "warnings": "yellow",
    }
    colours |= {"warning": "yellow", "unknown": "yellow", "simulated": "yellow", "protected": "cyan"}
    return f"[{colours[cell]}]{cell}[/]" if cell in colours else cell


def size(value: float) -> str:
    """Given bytes, return them as a person reads them, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
