"""A task's log for people: of a row of progress its first and last line, and nothing else left
out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.task_logs import without_progress

RECORDED = Path(__file__).parents[2] / "golden" / "recorded_real"
RESTORE = [f"progress {n}% (read {n * 343670784} bytes, duration {n} sec)" for n in range(1, 101)]
DUMP = [
    f"INFO:  {n:2d}% ({n}.0 GiB of 100.0 GiB) in {n}s, read: 1.0 GiB/s, write: 0 B/s"
    for n in range(101)
]


@pytest.mark.parametrize(
    ("row", "more"),
    [
        (RESTORE, 98),
        (DUMP, 99),
        ([f"transferred {n}.0 GiB of 9.0 GiB ({n}.00%)" for n in range(9)], 7),
    ],
)
def test_a_row_of_progress_is_its_two_ends_and_a_count(row: list[str], more: int) -> None:
    shortened = without_progress(["INFO: starting", *row, "INFO: done"])
    assert shortened == [
        "INFO: starting",
        row[0],
        f"... {more} more lines of progress ...",
        row[-1],
        "INFO: done",
    ]


def test_short_rows_and_two_rows_with_something_between_stay_apart() -> None:
    assert without_progress(RESTORE[:3]) == RESTORE[:3]
    assert without_progress(RESTORE[:4]) == [
        RESTORE[0],
        "... 2 more lines of progress ...",
        RESTORE[3],
    ]
    both = without_progress([*RESTORE[:50], "WARN: slow storage", *RESTORE[50:]])
    assert both.count("WARN: slow storage") == 1 and len(both) == 7


def test_no_line_of_a_recorded_log_is_lost_but_progress() -> None:
    logs = [found for file in sorted(RECORDED.rglob("*.json*")) for found in _logs(file)]
    assert logs, "nothing was recorded"
    for log in logs:
        kept = without_progress(log)
        assert [line for line in log if "%" not in line] == [
            line for line in kept if "%" not in line and not line.startswith("... ")
        ]


def _logs(file: Path) -> list[list[str]]:
    """Every task log in a file of recorded exchanges: lists of {n, t}."""
    found: list[list[str]] = []

    def look(value: object) -> None:
        if (
            isinstance(value, list)
            and value
            and all(isinstance(row, dict) and set(row) == {"n", "t"} for row in value)
        ):
            found.append([str(row["t"]) for row in value])
        elif isinstance(value, list | dict):
            for item in value.values() if isinstance(value, dict) else value:
                look(item)

    for line in (
        file.read_text(encoding="utf-8").splitlines()
        if file.suffix == ".jsonl"
        else [file.read_text(encoding="utf-8")]
    ):
        look(json.loads(line))
    return found
