"""What befalls the children of a ``backupsvc serve`` that goes on: they hang or die, and it says so
and is well again.

One serve for all of it, with a real redis-server and real Celery children. Each test finds it well,
and it must become so again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests import served
from tests.commands import Shell
from tests.integration.conftest import LANGEO
from tests.integration.test_serve import ours
from tests.served import Served
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(site: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The serve, stopped in order at the end, when no orphan is left."""
    made = served.start(
        site.state, tmp_path_factory.mktemp("serve") / "log", {"BACKUPSVC_POLICY": str(LANGEO)}
    )
    yield made
    assert made.stop() == 0
    assert ours(site.state) == {}, "no orphan"


@pytest.fixture
def one(running: Served) -> Iterator[Served]:
    """The serve when all is well, before a test and after it. What a test stopped goes on then."""
    running.becomes("ok")
    yield running
    for child in running.health()["children"].values():
        os.kill(child["pid"], signal.SIGCONT)
    running.becomes("ok")


def test_a_worker_that_hangs_while_its_process_lives_makes_it_failing(
    site: Shell, one: Served
) -> None:
    worker = one.pid("worker-steps")
    os.kill(worker, signal.SIGSTOP)
    state = one.becomes("failing")
    assert [
        reason
        for reason in state["reasons"]
        if reason.startswith("queue steps has consumed nothing for")
    ]
    assert state["children"]["worker-steps"]["up"], "its process lives"
    assert "polls" not in str(state["reasons"])
    assert site("serve", "--check").code == 3
    os.kill(worker, signal.SIGCONT)
    one.becomes("ok")


def test_beat_that_hangs_makes_it_failing(one: Served) -> None:
    os.kill(one.pid("beat"), signal.SIGSTOP)

    def both_silent() -> dict[str, object] | None:
        found = one.health()
        silent = [
            reason for reason in found.get("reasons", ()) if "has consumed nothing for" in reason
        ]
        return found if len(silent) == 2 else None

    assert wait_until(both_silent, one.said)["status"] == "failing"


@pytest.mark.parametrize("name", ["worker-steps", "beat", "redis"])
def test_a_child_that_is_killed_is_told_restarted_and_consumes_again(
    name: str, one: Served
) -> None:
    pid, restarts = one.pid(name), one.health()["children"][name]["restarts"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: f"{name} is down (signal SIGKILL)" in one.health()["reasons"], one.said)
    state = one.becomes("ok")
    assert (
        state["children"][name]["restarts"] == restarts + 1
        and state["children"][name]["pid"] != pid
    )
    assert f"{name} (process {pid}) ended with signal SIGKILL" in one.said()
    one.consumes()  # nothing lives on the first canary after the restart


def test_a_second_one_on_the_same_state_directory_is_refused(site: Shell, one: Served) -> None:
    second = site("serve", BACKUPSVC_POLICY=str(LANGEO))
    assert (
        second.code == 4
        and f"runs already for {site.state}, as process {one.process.pid}" in second.err
    )
    one.becomes("ok")


def test_a_redis_that_stands_still_is_survived(one: Served) -> None:
    redis = one.pid("redis")
    os.kill(redis, signal.SIGSTOP)
    time.sleep(25)  # longer than the socket's timeout
    one.becomes("failing")
    os.kill(redis, signal.SIGCONT)
    one.becomes("ok")
    one.consumes()
