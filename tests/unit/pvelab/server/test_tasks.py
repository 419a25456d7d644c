"""Tasks: UPIDs, logs, exit statuses, and what is left of them after the lab was killed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pvelab.errors import LabError, TaskDied, TaskVanished
from pvelab.kernel import Lab
from pvelab.tasks import UPID, TaskLog, Tasks, Upid, last_status
from tests.waiting import HANGS

from .conftest import Client


def _tasks(directory: Path) -> Tasks:
    return Tasks({"clovis": directory}, lambda node: 0x69B04A00)


def test_a_task_that_returns_ends_with_task_ok(tmp_path: Path) -> None:
    tasks = _tasks(tmp_path)
    upid = tasks.spawn("clovis", "qmstart", "108", "root@pam!lab", lambda log: log.line("starting"))
    assert tasks.wait(upid) == "OK"
    assert tasks.log(Upid.parse(upid)) == ["starting", "TASK OK"]


def test_the_upid_names_node_start_type_guest_and_token(tmp_path: Path) -> None:
    upid = _tasks(tmp_path).spawn("clovis", "vzdump", "", "svc@pve!b1", lambda log: None)
    assert UPID.match(upid)
    parsed = Upid.parse(upid)
    assert (parsed.node, parsed.starttime, parsed.type, parsed.id, parsed.user) == (
        "clovis",
        0x69B04A00,
        "vzdump",
        "",
        "svc@pve!b1",
    )
    assert parsed.row()["user"] == "svc@pve"
    assert parsed.row()["tokenid"] == "b1"


def test_warnings_are_counted_into_the_status(tmp_path: Path) -> None:
    tasks = _tasks(tmp_path)
    upid = tasks.spawn("clovis", "vzdump", "1", "root@pam", lambda log: log.warn("disk is old"))
    assert tasks.wait(upid) == "WARNINGS: 1"
    assert tasks.log(Upid.parse(upid)) == ["WARN: disk is old", "TASK WARNINGS: 1"]


@pytest.mark.parametrize(
    "error", [TaskDied("job errors"), LabError(500, "job errors"), ValueError("job errors")]
)
def test_whatever_a_worker_dies_of_is_its_status(tmp_path: Path, error: Exception) -> None:
    def die(log: TaskLog) -> None:
        raise error

    tasks = _tasks(tmp_path)
    assert tasks.wait(tasks.spawn("clovis", "vzdump", "1", "root@pam", die)) == "job errors"


def test_a_worker_that_vanishes_leaves_an_unexpected_status(tmp_path: Path) -> None:
    def vanish(log: TaskLog) -> None:
        log.line("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout")
        raise TaskVanished

    tasks = _tasks(tmp_path)
    assert (
        tasks.wait(tasks.spawn("clovis", "vzdump", "1", "root@pam", vanish)) == "unexpected status"
    )


def test_line_feeds_of_an_error_are_folded_into_blanks() -> None:
    assert last_status(["INFO: x", "TASK ERROR: two", "lines"]) == "two lines"


def test_tasks_survive_a_restart_and_those_cut_short_read_as_unexpected(tmp_path: Path) -> None:
    tasks, hold = _tasks(tmp_path), threading.Event()
    done = tasks.spawn("clovis", "qmstart", "1", "root@pam", lambda log: None)
    tasks.wait(done)

    def held(log: TaskLog) -> None:
        hold.wait(20)

    cut = tasks.spawn("clovis", "vzdump", "1", "root@pam", held)
    reopened = _tasks(tmp_path)
    assert reopened.exitstatus(done) == "OK"
    assert reopened.exitstatus(cut) == "unexpected status"
    hold.set()
    tasks.wait(cut)


def test_a_running_task_is_told_to_stop_through_the_api(lab: Lab, client: Client) -> None:
    def work(log: TaskLog) -> None:
        assert log.cancelled.wait(HANGS)
        log.check_cancelled()

    upid = lab.tasks.spawn("clovis", "vzdump", "100", "root@pam!lab", work)
    assert client.get(f"/nodes/clovis/tasks/{upid}/status")["status"] == "running"
    assert client.get("/nodes/clovis/tasks?source=active")[0]["status"] == "RUNNING"
    assert client.data("DELETE", f"/nodes/clovis/tasks/{upid}") is None
    lab.tasks.wait(upid)
    assert client.get(f"/nodes/clovis/tasks/{upid}/status")["exitstatus"] == "interrupted by signal"


def test_the_log_is_paged_and_numbered_from_one(lab: Lab, client: Client) -> None:
    upid = lab.tasks.spawn(
        "clovis",
        "vzdump",
        "100",
        "root@pam!lab",
        lambda log: log.line("\n".join(f"line {n}" for n in range(1, 61))),
    )
    lab.tasks.wait(upid)
    path = f"/nodes/clovis/tasks/{upid}/log"
    assert len(client.get(path)) == 50
    assert len(client.get(f"{path}?limit=0")) == 61
    assert client.get(f"{path}?start=59&limit=2") == [
        {"n": 60, "t": "line 60"},
        {"n": 61, "t": "TASK OK"},
    ]
    assert client.ask("GET", f"{path}?download=1").body.startswith(b"line 1\nline 2\n")


def test_a_token_sees_its_own_tasks_and_a_user_those_of_its_tokens(
    lab: Lab, client: Client, service: Client
) -> None:
    lab.access.acl[:] = [entry for entry in lab.access.acl if entry["path"] != "/"]
    mine = lab.tasks.spawn("clovis", "vzdump", "100", "backupsvc@pve!service", lambda log: None)
    other = lab.tasks.spawn("clovis", "vzdump", "101", "root@pam", lambda log: None)
    lab.tasks.wait(mine), lab.tasks.wait(other)
    assert [row["upid"] for row in service.get("/nodes/clovis/tasks")] == [mine]
    assert {row["upid"] for row in client.get("/nodes/clovis/tasks")} == {mine, other}
    refused = service.ask("GET", f"/nodes/clovis/tasks/{other}/status")
    assert (refused.status, refused.reason) == (
        403,
        "Permission check failed (/nodes/clovis, Sys.Audit)",
    )


def test_a_task_is_only_known_on_its_own_node(lab: Lab, client: Client) -> None:
    upid = lab.tasks.spawn("clovis", "qmstart", "100", "root@pam", lambda log: None)
    lab.tasks.wait(upid)
    assert (
        client.ask("GET", f"/nodes/lge-pve02/tasks/{upid}/status").reason
        == "Parameter verification failed."
    )


def test_filters_of_the_task_list(lab: Lab, client: Client) -> None:
    def fail(log: TaskLog) -> None:
        raise TaskDied("job errors")

    good = lab.tasks.spawn("clovis", "vzdump", "100", "root@pam!lab", lambda log: None)
    bad = lab.tasks.spawn("clovis", "vzdump", "101", "backupsvc@pve!service", fail)
    lab.tasks.wait(good), lab.tasks.wait(bad)
    for query, expected in {
        "vmid=100": {good},
        "errors=1": {bad},
        "statusfilter=ok": {good},
        "statusfilter=error,ok": {good, bad},
        "typefilter=qmstart": set(),
        "userfilter=BACKUPSVC": {bad},
        "since=4000000000": set(),
    }.items():
        assert {row["upid"] for row in client.get(f"/nodes/clovis/tasks?{query}")} == expected, (
            query
        )
    assert b'"total"' not in client.ask("GET", "/nodes/clovis/tasks?typefilter=qmstart").body
    assert b'"total":2' in client.ask("GET", "/nodes/clovis/tasks?limit=1").body
