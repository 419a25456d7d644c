"""Operations by their commands, on a lab with modelled guests: cancelled, retried, left to workers,
followed, interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupsvc.bootstrap import Service
from backupsvc.clock import SystemClock
from backupsvc.engine.worker_loop import work
from backupsvc.operations.tick import tick, told
from backupsvc.requester import person
from backupsvc.settings import load_settings
from pvelab.accident import delete_guest
from tests.commands import Shell, briefly
from tests.waiting import HANGS, wait_until

pytestmark = pytest.mark.slow
LANGEO = Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference policy, its job due in 2099: nothing opens by itself here."""
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(
        briefly(LANGEO.read_text(encoding="utf-8")).replace(
            'schedule: "21:00"', 'schedule: "2099-01-01 21:00"'
        )
    )
    return path


@pytest.fixture
def user(site: Shell, policy: Path) -> Iterator[Shell]:
    """A user of the lab with that policy; what a test broke is mended after it."""
    yield Shell(site.state, {"BACKUPSVC_POLICY": str(policy)})
    site("lab", "fault", "clear")


@pytest.fixture
def service(user: Shell, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The user's service, opened for workers."""
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(user.state))
    monkeypatch.setenv("BACKUPSVC_POLICY", str(policy))
    made = Service(load_settings(), SystemClock(), foreground=False)
    yield made
    made.close()


@pytest.fixture
def worker(service: Service) -> Iterator[None]:
    """A worker without Celery: a thread that ticks and takes turns, long steps too."""
    ended = threading.Event()

    def run() -> None:
        due: dict[str, float] = {}
        while not ended.wait(0.1):
            looked = tick(service)
            told(service, looked)
            due |= dict.fromkeys(looked, 0.0)
            for id in [id for id, at in due.items() if at <= time.monotonic()]:
                turn = work(service.engine.executor, id, long=True)
                del due[id]
                due |= dict.fromkeys(turn.hints, 0.0) | (
                    {id: time.monotonic() + turn.again} if turn.again is not None else {}
                )

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ended.set()
    thread.join(HANGS)


class Started:
    """A command that runs while the test does something else."""

    def __init__(self, user: Shell, log: Path, *words: object) -> None:
        environment = os.environ | user.env | {"BACKUPSVC_STATE_DIR": str(user.state)}
        command = [sys.executable, "-m", "backupsvc", *map(str, words)]
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it said."""
        code = self.process.wait(HANGS)
        return code, self._log.read_text(encoding="utf-8")


def open_at(user: Shell, step: str, event: str) -> dict[str, Any]:
    """Wait for an open operation in whose history that event of that step stands; return it as
    ``show`` does.
    """

    def look() -> dict[str, Any] | None:
        for row in user("operations", "list", "--open", "--json").json["operations"]:
            shown: dict[str, Any] = user("operations", "show", row["id"], "--json").json
            if any((line["step"], line["event"]) == (step, event) for line in shown["transitions"]):
                return shown
        return None

    found: dict[str, Any] = wait_until(look)
    return found


def task_of(shown: dict[str, Any]) -> str:
    return str(next(line["upid"] for line in shown["transitions"] if line["event"] == "task"))


def test_a_backup_whose_dump_hangs_is_cancelled_from_elsewhere_and_its_task_is_stopped(
    user: Shell, service: Service, tmp_path: Path
) -> None:
    user("lab", "fault", "task-hang", "vzdump")
    running = Started(user, tmp_path / "log", "backup", "run", "--vmid", 105)
    shown = open_at(user, "dump", "task")
    assert service.pve.tasks.poll(task_of(shown)) is None
    row = user("operations", "list", "--open", "--json").json["operations"][0]
    assert row["waits"] == "vzdump is running" and row["driver"].endswith(f":{running.process.pid}")
    cancelled = user("operations", "cancel", shown["id"][-8:], "--reason", "the disk is needed")
    assert (
        cancelled.code == 0
        and f":{running.process.pid} drives it and is asked to end it" in cancelled.out
    )
    code, said = running.end()
    assert code == 1 and "CANCELLED  the disk is needed" in said
    after = user("operations", "show", shown["id"], "--json").json
    assert (after["state"], after["error"]) == ("cancelled", f"the disk is needed, by {person()}")
    result = service.pve.tasks.poll(task_of(shown))
    assert result is not None and not result.ok


def test_a_failed_backup_is_retried_once_its_cause_is_gone(user: Shell) -> None:
    user("lab", "fault", "storage-full", "clovis/local")
    failed = user("backup", "run", "--vmid", 105, "--json")
    assert failed.code == 1
    id = failed.json["guests"][0]["operation"]
    again = user("operations", "retry", id)
    assert again.code == 1 and "no archive" in again.out
    user("lab", "fault", "clear")
    done = user("operations", "retry", id, "--json")
    assert done.code == 0, done.err
    assert (done.json["state"], done.json["retry_of"]) == ("done", id)
    assert any(item["operation"] == done.json["id"] for item in _archives(user, 105))
    refused = user("operations", "retry", done.json["id"])
    assert refused.code == 4 and "Traceback" not in refused.err


def _archives(user: Shell, vmid: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user("catalog", "list", "--vmid", vmid, "--json").json["archives"]
    return found


def test_what_is_enqueued_waits_for_the_workers_and_says_that_none_is_seen(user: Shell) -> None:
    answer = user("backup", "run", "--vmid", 106, "--enqueue", "--json")
    assert answer.code == 0
    assert "WARNING" in answer.err and answer.json["workers"]["consuming"] is not True
    row = answer.json["operations"][0]
    assert (row["state"], row["driver"]) == ("open", None)
    busy = user("backup", "run", "--vmid", 106, "--enqueue")
    assert busy.code == 4 and row["id"] in busy.err
    assert user("operations", "cancel", row["id"]).code == 0


def test_a_follower_of_enqueued_work_sees_what_the_foreground_shows_and_exits_alike(
    user: Shell, worker: None
) -> None:
    answer = user("backup", "run", "--vmid", 105, "--vmid", 106, "--enqueue", "--follow", "--json")
    assert answer.code == 0, answer.err
    assert [guest["status"] for guest in answer.json["guests"]] == ["ok", "ok"]
    said = user("backup", "run", "--vmid", 105, "--enqueue", "--follow")
    assert said.code == 0
    for step in ("locate", "dump", "thawed", "read-back", "verify"):
        assert any(
            line.split()[:3] == ["backup", "105", step] and "  ok" in line
            for line in said.err.splitlines()
        )
    assert not any("settle" in line for line in said.err.splitlines())
    test = user("restore-test", 105, "--enqueue", "--follow", "--json")
    assert (test.code, test.json["verdict"]) == (1, "simulated")
    shown = user("operations", "show", test.json["operation"], "--follow")
    assert shown.code == 1 and "tear-down" in shown.out
    pruned = user("prune", "--enqueue", "--follow", "--json")
    assert pruned.code == 0 and pruned.json["error"] is None


def test_law_1_a_cancelled_restore_is_retried_only_while_its_guest_is_absent(user: Shell) -> None:
    assert user("backup", "run", "--vmid", 110, "--json").code == 0
    delete_guest(user.state / "lab", _archives(user, 110)[0]["node"], 110)
    asked = user("restore", 110, "--enqueue", "--json", "--no-start")
    assert asked.code == 0, asked.err
    id = asked.json["operations"][0]["id"]
    assert user("operations", "cancel", id).code == 0
    assert user("operations", "retry", id, "--dry-run", "--json").json["asked"]["start"] is False
    done = user("operations", "retry", id, "--json")
    assert done.code == 0, done.out + done.err
    again = user("operations", "retry", id)
    assert again.code == 4 and "guest 110" in again.err and "exists" in again.err


def test_a_second_ctrl_c_leaves_at_once_and_the_command_it_names_finishes_the_rest(
    user: Shell, service: Service, tmp_path: Path
) -> None:
    user("lab", "fault", "task-hang", "vzdump")
    user("lab", "fault", "api", "DELETE", "/nodes/*/tasks/*", "delay", "--seconds", 120)
    running = Started(user, tmp_path / "log", "backup", "run", "--vmid", 106)
    shown = open_at(user, "dump", "task")
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: "press Ctrl-C again" in (tmp_path / "log").read_text(encoding="utf-8"))
    # the cleanup waits for its answer
    wait_until(lambda: "struck: 1" in user("lab", "status", "--json").json["faults"][1])
    running.process.send_signal(signal.SIGINT)
    code, said = running.end()
    assert code == 130 and "Traceback" not in said
    assert f"backupsvc operations cancel {shown['id']}" in said
    user("lab", "fault", "clear", 2)
    finished = user("operations", "cancel", shown["id"])
    assert finished.code == 0 and "its cleanup was done here" in finished.out
    result = service.pve.tasks.poll(task_of(shown))
    assert result is not None and not result.ok


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("operations show 01NOSUCH", 2),
        ("operations show 01", 2),
        ("operations cancel 01NOSUCH", 2),
        ("operations retry 01NOSUCH", 2),
        ("operations list --state purple", 2),
        ("operations list --kind purple", 2),
        ("backup run --follow", 2),
        ("prune --enqueue --dry-run", 2),
    ],
)
def test_a_users_mistake_gets_an_exit_code_and_a_sentence_and_no_traceback(
    user: Shell, words: str, code: int
) -> None:
    answer = user(*words.split())
    assert answer.code == code
    assert "backupsvc: " in answer.err and "Traceback" not in answer.err


def test_after_kill_9_of_a_command_its_guest_is_free_at_once(user: Shell, tmp_path: Path) -> None:
    assert user("backup", "run", "--vmid", 108).code == 0
    assert user("lab", "fault", "task-hang", "qmrestore").code == 0
    one = Started(user, tmp_path / "log", "restore-test", 108)
    left = open_at(user, "begin", "task")
    # and nobody buries it: as long as its parent does not look, its process id stays taken
    one.process.kill()
    answer = user("restore-test", 108, "--json")
    one.process.wait()
    assert (answer.code, answer.json["verdict"]) == (1, "simulated"), answer.err
    assert user("operations", "show", left["id"], "--json").json["state"] != "open"


def test_after_kill_9_of_a_command_what_it_left_in_a_nodes_queue_is_waited_for_by_nobody(
    user: Shell, tmp_path: Path
) -> None:
    assert user("lab", "fault", "storage-slow", "clovis/local", 12000).code == 0
    words = [word for vmid in (100, 101, 102, 103, 104) for word in ("--vmid", vmid)]
    one = Started(user, tmp_path / "log", "backup", "run", *words)
    open_at(user, "dump", "task")
    one.process.kill()
    # nobody drives them on, and the dump that runs may end
    assert user("lab", "fault", "clear").code == 0
    left = user("operations", "list", "--open", "--json").json["operations"]
    waiting = {row["id"] for row in left if row["step"] == "locate"}
    assert waiting, "some wait in the queue of their node"
    answer = user("backup", "run", "--vmid", 105, "--json", timeout=HANGS)
    one.process.wait()
    assert answer.code == 0, answer.out + answer.err
    still = user("operations", "list", "--open", "--json").json["operations"]
    assert waiting <= {row["id"] for row in still if row["step"] == "locate"}, (
        "none of those that waited was driven on"
    )
    for row in still:
        assert user("operations", "cancel", row["id"]).code == 0
