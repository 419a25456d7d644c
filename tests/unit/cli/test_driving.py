"""Ctrl-C: the first does the cleanup, the second leaves at once and says what is left and which
command finishes it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from backupsvc.cli.driving import bring_to_end, check_options
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import UsageError
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Run
from tests.unit.operations.worlds import World, kinds_with, operation_of, world


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def silent(event: Any) -> None:
    pass


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    yield made
    made.catalog.close()


def opened(site: World, **special: Any) -> Any:
    plan = KINDS["backup"].workflow
    handlers = {step: special.get(step, lambda run: None) for step in plan.steps + plan.cleanup}
    site.engine = Engine(site, kinds_with({"backup": handlers}))
    return site.engine.open("backup", 108, BackupMemory("nightly"))


def dump(run: Run[BackupMemory]) -> Wait:
    press()
    return Wait("vzdump is running")


def test_the_first_ctrl_c_does_the_cleanup_and_exits_130(
    site: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    operation = opened(site, dump=dump)
    with pytest.raises(typer.Exit) as ended:
        bring_to_end(site, [operation], silent, enqueue=False)
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    assert "press Ctrl-C again to leave at once" in said and "was cleaned up" in said
    assert operation_of(site, operation.id).state == "cancelled"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_leaves_at_once_and_names_the_command_that_finishes(
    site: World, capsys: pytest.CaptureFixture[str]
) -> None:
    operation = opened(site, dump=dump, settle=dump)
    with pytest.raises(typer.Exit) as ended:
        bring_to_end(site, [operation], silent, enqueue=False)
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    assert f"left unfinished: backup {operation.id} of guest 108, at step settle" in said
    assert f"backupsvc operations cancel {operation.id}" in said
    assert operation_of(site, operation.id).state == "open"


def test_ctrl_c_while_following_ends_the_following_and_not_the_operation(
    site: World, capsys: pytest.CaptureFixture[str]
) -> None:
    operation = opened(site)
    with pytest.raises(typer.Exit) as ended:
        bring_to_end(site, [operation], lambda event: press(), enqueue=True)
    assert ended.value.exit_code == 130
    assert "the workers go on" in capsys.readouterr().err
    assert operation_of(site, operation.id).cancel is None


def test_a_command_that_was_begun_with_ctrl_c_ignored_goes_on_ignoring_it(site: World) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        operation = opened(site, dump=lambda run: press())
        bring_to_end(site, [operation], silent, enqueue=False)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert operation_of(site, operation.id).state == "done"


def test_follow_means_nothing_without_enqueue() -> None:
    with pytest.raises(UsageError):
        check_options(enqueue=False, follow=True, dry_run=False)
    with pytest.raises(UsageError):
        check_options(enqueue=True, follow=False, dry_run=True)
