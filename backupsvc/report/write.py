"""Writes a report as files: both are rendered before the first is written, and each appears whole
or not at all.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from backupsvc.errors import UsageError
from backupsvc.report import html, json
from backupsvc.report.document import Document, told_in
from backupsvc.visible import json_text


def write_report(document: Document, directory: Path, language: str) -> list[Path]:
    """Given a report, write ``pra-<month>.html`` and ``.json`` into a directory (created if need
    be) and return their paths.

    Raise UsageError if there is no such language or the directory cannot be written.
    """
    document = told_in(document, language)
    text = json_text(json.full(document), indent=2) + "\n"
    contents = dict(zip(report_files(document), (html.render(document), text), strict=True))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            # beside the file, then renamed: whoever reads meanwhile sees the old report or the new
            handle, written = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(content)
                # mkstemp lets its owner alone read it, and a report is for others
                Path(written).chmod(0o644)
                Path(written).replace(directory / name)
            except OSError:
                Path(written).unlink(missing_ok=True)
                raise
        return [directory / name for name in contents]
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"the report cannot be written to {directory}: {reason}",
            "choose another directory with --output",
        ) from None


def report_files(document: Document) -> tuple[str, str]:
    """Given a report, return the names of its files, HTML and JSON."""
    return f"pra-{document.period.month}.html", f"pra-{document.period.month}.json"
