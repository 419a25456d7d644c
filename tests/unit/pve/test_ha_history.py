"""What HA did, as a node's log, its tasks and the cluster's log tell it: times by this machine's
clock, and nothing read out of what is no such log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backupsvc.errors import PveError, PvePermissionDenied
from backupsvc.pve import Pve, ha_history
from backupsvc.pve.ha_history import NodeClock
from policies.ha.failovers import Line, Task
from tests.fakes.pve_server import FakePve, Reply, Request, refuse

NOW = int(datetime(2026, 3, 9, 20, 0, tzinfo=UTC).timestamp())
HOUR = 3600
CLOCK = NodeClock(HOUR, UTC, NOW + HOUR)  # an hour ahead
SYSLOG = "/nodes/lge-pve02/syslog"


def log(*texts: str) -> list[dict[str, Any]]:
    return [{"n": n, "t": text} for n, text in enumerate(texts, 1)]


def said(clock: str, text: str, who: str = "pve-ha-crm") -> str:
    return f"Mar 09 {clock} lge-pve02 {who}[1409]: {text}"


def test_a_nodes_clock_is_read_with_its_zone_and_one_that_is_not_known_here_by_its_distance(
    fake: FakePve, pve: Pve
) -> None:
    told = {"time": NOW, "localtime": NOW + HOUR, "timezone": "Europe/Paris"}
    fake.on("GET", "/nodes/clovis/time", told)
    assert str(pve.ha_history.clock("clovis").zone) == "Europe/Paris"
    assert pve.ha_history.clock("clovis").now == NOW
    fake.on("GET", "/nodes/clovis/time", told | {"timezone": "Mars/Olympus"})
    assert pve.ha_history.clock("clovis").zone == timezone(timedelta(hours=1))
    fake.on("GET", "/nodes/clovis/time", told | {"timezone": "../../etc/passwd"})
    assert pve.ha_history.clock("clovis").zone == timezone(timedelta(hours=1))
    for wrong in ({"time": 1 << 50}, {"localtime": NOW + 90_000}):
        fake.on("GET", "/nodes/clovis/time", told | wrong)
        with pytest.raises(PveError, match="no time that there is"):
            pve.ha_history.clock("clovis")


def test_the_managers_lines_are_read_page_by_page_by_this_machines_clock(
    fake: FakePve, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ha_history, "PAGE", 2)
    monkeypatch.setattr(ha_history, "MOST", 6)
    lines = [
        said("20:00:00", "first"),
        "-- Boot 4b1d --",
        said("20:30:00", "second"),
        said("20:31:00", "of another", "pve-ha-lrm"),
        said("20:32:00", "third"),
    ]

    def answer(request: Request) -> Reply:
        start, limit = int(request.params.get("start", 0)), int(request.params["limit"])
        held = lines if "since" in request.params else [said("01:00:00", "boot"), *lines]
        assert request.params["service"] == "pve-ha-crm"
        return Reply(log(*held)[start : start + limit], beside={"total": len(held)})

    fake.on("GET", SYSLOG, answer)
    found, oldest = pve.ha_history.manager_log("lge-pve02", CLOCK, NOW - HOUR)
    assert found == (
        Line("lge-pve02", NOW - HOUR, "first"),
        Line("lge-pve02", NOW - 1800, "second"),
        Line("lge-pve02", NOW - 1680, "third"),
    )
    assert oldest == NOW - 20 * HOUR
    asked = [request.params for request in fake.requests if request.path == SYSLOG]
    assert [one.get("start") for one in asked] == [None, "0", "2", "4"]
    assert asked[1]["since"] == "2026-03-09 20:00:00", "by the node's own clock and zone"
    lines *= 2
    with pytest.raises(PveError, match="more than 6 lines"):
        pve.ha_history.manager_log("lge-pve02", CLOCK, NOW - HOUR)


def test_an_empty_log_holds_nothing_and_one_of_another_form_is_not_read(
    fake: FakePve, pve: Pve
) -> None:
    fake.on("GET", SYSLOG, log("no content"))
    assert pve.ha_history.manager_log("lge-pve02", CLOCK, NOW) == ((), None)
    fake.on("GET", SYSLOG, log("2026-03-09T20:00:00 pve-ha-crm: x"))
    with pytest.raises(PveError, match="no form that is known"):
        pve.ha_history.manager_log("lge-pve02", CLOCK, NOW)
    fake.on("GET", SYSLOG, refuse(403, "Permission check failed (/nodes/lge-pve02, Sys.Syslog)"))
    with pytest.raises(PvePermissionDenied):
        pve.ha_history.manager_log("lge-pve02", CLOCK, NOW)


def test_starts_and_moves_of_guests_are_read_and_nothing_else(fake: FakePve, pve: Pve) -> None:
    def row(kind: str, id: str, at: int, **more: Any) -> dict[str, Any]:
        upid = f"UPID:clovis:00001F2A:0006106A:{at + HOUR:08X}:{kind}:{id}:root@pam:"
        return {"upid": upid, **more}

    rows = [
        row("qmstart", "108", NOW - 60, endtime=NOW + HOUR - 57, status="OK"),
        row("vzmigrate", "200", NOW - 50, endtime=NOW + HOUR - 40, status="job errors"),
        row("qmstart", "109", NOW - 5, status="RUNNING"),
        row("vzdump", "108", NOW - 50, endtime=NOW + HOUR - 40, status="OK"),
        row("qmstart", "", NOW - 50, endtime=NOW + HOUR - 40, status="OK"),
    ]
    fake.on("GET", "/nodes/clovis/tasks", rows)
    names = [one["upid"] for one in rows]
    assert pve.ha_history.tasks("clovis", CLOCK, NOW - HOUR) == (
        Task(names[0], "clovis", "start", 108, NOW - 60, NOW - 57, True, "root@pam"),
        Task(names[1], "clovis", "move", 200, NOW - 50, NOW - 40, False, "root@pam"),
        Task(names[2], "clovis", "start", 109, NOW - 5, None, False, "root@pam"),
    )
    asked = [one.params for one in fake.requests]
    assert {one["since"] for one in asked} == {str(NOW)}
    assert {one["typefilter"] for one in asked} == {"qmstart", "vzstart", "qmigrate", "vzmigrate"}


def test_whoever_began_a_task_it_is_read_and_however_many_there_are(
    fake: FakePve, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ha_history, "LIST_LIMIT", 2)
    monkeypatch.setattr(ha_history, "MOST", 8)
    users = ["root@pam", "svc@pve!b1", "root@pam", "anna@pve", "root@pam"]
    rows = [
        {
            "upid": f"UPID:clovis:00001F2A:0006106A:{NOW + HOUR - n:08X}:qmstart:{100 + n}:{user}:",
            "endtime": NOW + HOUR,
            "status": "OK",
        }
        for n, user in enumerate(users)
    ]

    def answer(request: Request) -> Any:
        asked = request.params
        found = [one for one in rows if f":{asked['typefilter']}:" in str(one["upid"])]
        if "userfilter" in asked:
            found = [one for one in found if asked["userfilter"] in str(one["upid"])]
        first = int(asked.get("start", 0))
        page = found[first : first + int(asked["limit"])]
        if first == 0 and found:  # one begins between two pages, and moves the others
            rows.insert(0, rows[0] | {"upid": str(rows[0]["upid"]).replace(":100:", ":200:")})
        return page

    fake.on("GET", "/nodes/clovis/tasks", answer)
    found = pve.ha_history.tasks("clovis", CLOCK, NOW - HOUR)
    assert [(one.vmid, one.by) for one in reversed(found)] == [
        (100 + n, user) for n, user in enumerate(users)
    ]
    rows *= 2
    with pytest.raises(PveError, match="more than 8 tasks"):
        pve.ha_history.tasks("clovis", CLOCK, NOW - HOUR)


def test_a_line_of_the_clusters_log_is_a_sign_of_life_of_who_wrote_it(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 13)
    found = pve.ha_history.signs()
    assert set(found) == {"pve"} and found["pve"] == tuple(sorted(set(found["pve"])))
    assert found["pve"][-1] == 1795422196
