"""Progress in a pipe: a line for each step, and for a wait only once it lasts and when it
changes.
"""

from __future__ import annotations

import pytest
from rich.console import Console

from backupsvc.cli.progress import SILENT_WAIT_S, Progress
from backupsvc.engine.events import StepEvent
from policies.model import Operation, OperationState
from tests.fakes.clock import SteppingClock


def operation(subject: int = 108, cancel: str | None = None) -> Operation:
    return Operation(
        f"01X{subject}", "backup", subject, OperationState.OPEN, "dump", {}, 0, 0, cancel=cancel
    )


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def progress(clock: SteppingClock) -> Progress:
    return Progress(clock=clock)


def test_a_wait_is_printed_once_it_lasts_and_again_only_when_it_changes(
    progress: Progress, clock: SteppingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(StepEvent(operation(), "step", "dump"))
    for text in ["vzdump is running"] * 20 + ["it is ending"] * 5:
        progress(StepEvent(operation(), "wait", "dump", text))
        clock.sleep(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["vzdump is running", "it is ending"]
    assert f"{SILENT_WAIT_S:.1f} s" in lines[0]


def test_a_short_wait_is_not_worth_a_line(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(StepEvent(operation(), "wait", "dump", "vzdump is running"))
    progress(StepEvent(operation(), "done", "dump", "an archive", 0.3))
    assert capsys.readouterr().err == "backup 108         dump          0.3 s  ok  an archive\n"


def test_settling_is_shown_only_when_there_is_something_to_say(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(StepEvent(operation(), "done", "settle", "", 0.1))
    assert capsys.readouterr().err == ""
    progress(StepEvent(operation(), "failed", "settle", "it still runs", 0.1))
    assert "it still runs" in capsys.readouterr().err


def test_a_step_that_was_cancelled_has_not_failed(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(StepEvent(operation(cancel="enough"), "failed", "dump", "enough", 2.0))
    assert "CANCELLED  enough" in capsys.readouterr().err


def test_quiet_is_silent(clock: SteppingClock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True, clock=clock) as progress:
        progress(StepEvent(operation(), "failed", "dump", "no room", 2.0))
        progress.line("a line")
    assert capsys.readouterr().err == ""


def test_the_live_lines_show_every_open_operation_with_its_time_and_what_it_waits_for(
    progress: Progress, clock: SteppingClock
) -> None:
    for subject in range(100, 111):
        progress(StepEvent(operation(subject), "step", "dump"))
    progress(StepEvent(operation(100), "wait", "dump", "vzdump is running"))
    progress(StepEvent(operation(101), "end", "settle"))
    clock.sleep(3)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(progress._render())
    lines = console.export_text().splitlines()
    assert lines[0] == "backup 100         dump            3 s  ...  vzdump is running"
    assert not any("backup 101" in line for line in lines)
    assert lines[-1] == "and 2 more"


FORGED = "the task failed\nrestore-test 108   judge         0.1 s  ok  proven, rung healthy"


def test_a_foreign_text_passes_for_no_line_of_ours_on_a_terminal_either(
    clock: SteppingClock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("backupsvc.cli.progress.interactive", lambda stream: True)
    monkeypatch.setenv("TERM", "dumb")  # plain lines, by the same way
    progress = Progress(clock=clock)
    progress(StepEvent(operation(), "step", "dump"))
    progress(StepEvent(operation(), "wait", "dump", FORGED))
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(progress._render())
    assert len(console.export_text().splitlines()) == 1
    progress(StepEvent(operation(), "failed", "dump", FORGED, 2.0))
    said = capsys.readouterr().err
    assert (
        "the task failed" in said
        and "\nrestore-test" not in said
        and "\n    | restore-test" in said
    )
