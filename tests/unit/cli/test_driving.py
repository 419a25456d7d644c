"""Ctrl-C: the first does the cleanup, the second leaves at once and says what is left and which
command finishes it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from backupsvc.cli.driving import bring_to_end, check_options, drive_each
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import Refused, UsageError
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Run
from backupsvc.settings import Settings
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


def opening(site: World) -> Callable[[str], Any]:
    """What is busy is refused, whatever else is wanted is opened."""

    def open_one(wanted: str) -> Any:
        if wanted.startswith("busy"):
            raise Refused(f"{wanted} is at work", "wait for it")
        return opened(site)

    return open_one


def test_what_cannot_be_opened_keeps_no_other_from_its_own(site: World) -> None:
    driven = drive_each(
        site,
        ["busy 1", "free"],
        opening(site),
        lambda one: 108,
        enqueue=False,
        follow=False,
        as_json=True,
    )
    assert [(one, error.message) for one, error in driven.refused] == [
        ("busy 1", "busy 1 is at work")
    ]
    assert [(one, end.state) for one, end in driven.ended] == [("free", "done")]
    assert (driven.code, driven.workers) == (Refused.exit_code, {})


def test_each_that_was_refused_is_named_also_where_two_are_of_one_guest(
    site: World, capsys: pytest.CaptureFixture[str]
) -> None:
    site.settings = Settings()
    wanted = ["busy 1", "free", "busy 2"]
    with pytest.raises(typer.Exit) as ended:
        drive_each(
            site, wanted, opening(site), lambda one: 108, enqueue=True, follow=False, as_json=True
        )
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [row["message"] for row in told["refused"]] == [
        "busy 1 is at work",
        "busy 2 is at work",
    ]
    assert len(told["operations"]) == 1 and ended.value.exit_code == Refused.exit_code
    assert "busy 1 is at work" in said.err and "busy 2 is at work" in said.err


def test_where_all_are_refused_nothing_is_left_to_the_workers(site: World) -> None:
    site.engine = Engine(site, KINDS)
    driven = drive_each(
        site, ["busy 1"], opening(site), lambda one: 108, enqueue=True, follow=False, as_json=True
    )
    assert (len(driven.refused), driven.ended, driven.code) == (1, [], Refused.exit_code)


def test_follow_means_nothing_without_enqueue() -> None:
    with pytest.raises(UsageError):
        check_options(enqueue=False, follow=True, dry_run=False)
    with pytest.raises(UsageError):
        check_options(enqueue=True, follow=False, dry_run=True)
