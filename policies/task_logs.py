"""Shorten a task's log for people: of a row of progress lines the first and the last, and how many
there were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

# vzdump, qmrestore, and a copied or moved disk (tests/golden/recorded_real; qemu-server
# PVE/QemuServer.pm, qemu_img_convert)
_PROGRESS = re.compile(
    r"(?:INFO: +)?\d+% \(.*|progress \d+% \(.*|(?:drive-\S+: )?transferred .* of .* \(\d.*"
)
_MIN_ROW = 3  # a row of two says as much as its two ends


def without_progress(lines: Iterable[str]) -> list[str]:
    """Given a log's lines, return them, each row of progress lines as its first, how many more
    there were, and its last.
    """
    found: list[str] = []
    for progress, row in groupby(lines, key=lambda line: _PROGRESS.fullmatch(line) is not None):
        told = list(row)
        if progress and len(told) > _MIN_ROW:
            told = [told[0], f"... {len(told) - 2} more lines of progress ...", told[-1]]
        found += told
    return found
