"""Tasks: how they ended, waiting for them, finding and stopping them."""

from __future__ import annotations

import pytest

from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, TaskFailed
from backupsvc.pve import Pve
from backupsvc.pve.tasks import parse_upid, succeeded
from tests.fakes.pve_server import FakePve

VZDUMP = "UPID:pve:00005202:00096797:6B03FD23:vzdump:200:root@pam!lab:"
RESTORE = "UPID:pve:00003406:0008DED1:6B03FBC5:qmrestore:9010:root@pam!lab:"
OURS = "UPID:pve:00003406:0008DED1:6B03FBC5:qmrestore:9010:svc@pve!b1:"


def finished(
    fake: FakePve, upid: str, exitstatus: str, log: list[str], row: dict[str, object] | None = None
) -> None:
    """Let the fake know a task that has ended."""
    node = parse_upid(upid).node
    fake.on(
        "GET",
        f"/nodes/{node}/tasks/{upid}/status",
        {"status": "stopped", "exitstatus": exitstatus, "upid": upid},
    )
    fake.on(
        "GET",
        f"/nodes/{node}/tasks/{upid}/log",
        [{"n": n, "t": line} for n, line in enumerate(log, 1)],
    )
    fake.on("GET", f"/nodes/{node}/tasks", [{"upid": upid, "starttime": 100, **row}] if row else [])


def test_a_recorded_backup_runs_and_then_ends_well_with_its_whole_log(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("03", 8, 12, 14)
    assert pve.tasks.poll(VZDUMP) is None
    result = pve.tasks.poll(VZDUMP)
    assert result is not None and result.ok and result.exitstatus == "OK" and result.warnings == 0
    assert (
        result.log[0].startswith("INFO: starting new backup job")
        and result.log[-1] == "TASK OK"
        and len(result.log) == 24
    )
    # 50 lines would be the default
    assert fake.sent("GET", f"/nodes/pve/tasks/{VZDUMP}/log") == [{"limit": "0"}]
    result.raise_if_failed("backing up guest 200")


def test_a_recorded_restore_of_a_cut_archive_fails_with_pves_words(fake: FakePve, pve: Pve) -> None:
    fake.replay("06", 19, 20)
    fake.on("GET", "/nodes/pve/tasks", [])
    result = pve.tasks.poll(RESTORE)
    assert (
        result is not None and not result.ok and result.exitstatus.endswith("failed: exit code 133")
    )
    with pytest.raises(
        TaskFailed,
        match=r"x failed: the archive is cut off \(.*premature end\); PVE ended it with: .* exit "
        r"code 133",
    ) as caught:
        result.raise_if_failed("restoring archive x")
    assert caught.value.upid == RESTORE and caught.value.log == result.log and caught.value.hint


def test_law_2_a_bridge_that_is_missed_only_inside_the_task_is_a_missing_permission_that_no_hint_grants(
    fake: FakePve, pve: Pve
) -> None:
    finished(
        fake,
        RESTORE,
        "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)",
        ["TASK ERROR: 403"],
    )
    result = pve.tasks.poll(RESTORE)
    assert result is not None
    with pytest.raises(PvePermissionDenied, match=r"SDN\.Use") as caught:
        result.raise_if_failed("restoring archive x")
    assert "acl modify" not in caught.value.hint and "doctor --role --restore" in caught.value.hint
    assert caught.value.exit_code == 4


def test_dumps_of_others_are_told_by_their_guest_and_a_job_of_several_guests_by_none(
    fake: FakePve, pve: Pve
) -> None:
    several, our_own = VZDUMP.replace(":200:", "::"), VZDUMP.replace("root@pam!lab", "svc@pve!b1")
    over = VZDUMP.replace(":200:", ":201:")
    rows = [{"upid": upid} for upid in (VZDUMP, several, our_own, RESTORE)] + [
        {"upid": over, "status": "OK", "endtime": 1}
    ]
    fake.on("GET", "/cluster/tasks", rows)
    found = {(dump.node, dump.vmid, dump.begins) for dump in pve.tasks.dumps_of_others()}
    assert found == {("pve", 200, 0x6B03FD23), ("pve", None, 0x6B03FD23)}


@pytest.mark.parametrize(
    ("exitstatus", "good"),
    [("OK", True), ("WARNINGS: 2", True), ("job errors", False), ("", False), ("ok", False)],
)
def test_only_ok_and_warnings_are_success(exitstatus: str, good: bool) -> None:
    assert succeeded(exitstatus) is good


def test_warnings_are_counted_and_are_no_failure(fake: FakePve, pve: Pve) -> None:
    finished(fake, RESTORE, "WARNINGS: 3", ["WARN: x", "TASK WARNINGS: 3"])
    result = pve.tasks.poll(RESTORE)
    assert result is not None and result.ok and result.warnings == 3


def test_an_unexpected_status_is_corrected_by_the_last_line_of_the_log(
    fake: FakePve, pve: Pve
) -> None:
    finished(fake, RESTORE, "unexpected status", ["rescan volumes...", "TASK OK"])
    result = pve.tasks.poll(RESTORE)
    assert result is not None and result.ok and result.exitstatus == "OK"


def test_an_unexpected_status_is_corrected_by_the_task_list(fake: FakePve, pve: Pve) -> None:
    finished(
        fake,
        RESTORE,
        "unexpected status",
        ["rescan volumes..."],
        {"status": "WARNINGS: 1", "endtime": 102},
    )
    result = pve.tasks.poll(RESTORE)
    assert result is not None and result.ok and result.exitstatus == "WARNINGS: 1"


def test_an_unexpected_status_stays_a_failure_when_nothing_says_otherwise(
    fake: FakePve, pve: Pve
) -> None:
    finished(
        fake,
        VZDUMP,
        "unexpected status",
        ["ERROR: can't acquire lock"],
        {"status": "unexpected status", "endtime": 102},
    )
    result = pve.tasks.poll(VZDUMP)
    assert result is not None and not result.ok and result.exitstatus == "unexpected status"


def test_an_empty_log_is_empty(fake: FakePve, pve: Pve) -> None:
    finished(fake, RESTORE, "OK", ["no content"])
    assert pve.tasks.log(RESTORE) == []


def test_a_task_that_the_node_does_not_know_is_not_found(fake: FakePve, pve: Pve) -> None:
    fake.replay("07", 54)
    with pytest.raises(PveNotFound):
        pve.tasks.poll("UPID:pve:00000001:00000001:60000000:vzdump:100:root@pam:")


@pytest.mark.parametrize("upid", ["", "garbage", "UPID:bad", VZDUMP[:-1], VZDUMP + "x"])
def test_what_is_no_upid_is_refused_before_anything_is_asked(
    fake: FakePve, pve: Pve, upid: str
) -> None:
    with pytest.raises(PveError):
        pve.tasks.poll(upid)
    assert fake.requests == []


def test_a_upid_is_taken_apart() -> None:
    task = parse_upid(VZDUMP)
    assert (task.node, task.start, task.type, task.id, task.user) == (
        "pve",
        0x6B03FD23,
        "vzdump",
        "200",
        "root@pam!lab",
    )
    assert parse_upid("UPID:pve:000053F2:00097285:6B03FD3F:vzdump::root@pam!lab:").id == ""


def test_stopping_a_task_that_is_gone_is_no_error(fake: FakePve, pve: Pve) -> None:
    fake.replay("07", 56)
    pve.tasks.stop("UPID:pve:00000001:00000001:60000000:vzdump:100:root@pam:")
    assert fake.changes() == [
        ("DELETE", "/nodes/pve/tasks/UPID:pve:00000001:00000001:60000000:vzdump:100:root@pam:")
    ]


def test_finding_returns_running_and_finished_tasks_of_this_token_newest_first(
    fake: FakePve, pve: Pve
) -> None:
    later = OURS.replace("6B03FBC5", "6B03FBD5")
    fake.on("GET", "/nodes/pve/time", {"time": 1_795_423_000})
    fake.on(
        "GET",
        "/nodes/pve/tasks",
        [
            {
                "upid": OURS,
                "user": "svc@pve",
                "tokenid": "b1",
                "status": "OK",
                "starttime": 0x6B03FBC5,
            },
            {"upid": later, "user": "svc@pve!b1", "status": "RUNNING", "starttime": 0x6B03FBD5},
            {
                "upid": RESTORE,
                "user": "root@pam",
                "tokenid": "lab",
                "status": "OK",
                "starttime": 0x6B03FBC5,
            },
        ],
    )
    rows = pve.tasks.find("pve", type="qmrestore", vmid=9010, since=1_795_422_000)
    assert [(row.upid, row.status, row.user) for row in rows] == [
        (later, "running", "svc@pve!b1"),
        (OURS, "OK", "svc@pve!b1"),
    ]
    (asked,) = fake.sent("GET", "/nodes/pve/tasks")
    assert asked == {
        "source": "all",
        "typefilter": "qmrestore",
        "vmid": "9010",
        "since": "1795421999",
        "limit": "500",
    }
    assert len(pve.tasks.find("pve", type="qmrestore", vmid=9010, since=0, mine=False)) == 3


def test_finding_allows_for_a_node_whose_clock_is_an_hour_ahead(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/nodes/pve/time", {"time": 1_795_423_000 + 3644})
    fake.on("GET", "/nodes/pve/tasks", [])
    pve.tasks.find("pve", type="vzdump", vmid=108, since=1_795_423_000)
    assert fake.sent("GET", "/nodes/pve/tasks")[0]["since"] == str(1_795_423_000 + 3644 - 1)


def test_finding_works_without_the_right_to_read_the_nodes_clock(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 99)
    fake.on("GET", "/nodes/pve/tasks", [])
    assert pve.tasks.find("pve", type="vzdump", vmid=108, since=1_795_423_000) == []
