"""Tasks that hang, the vzdump lock, and clocks."""

from __future__ import annotations

import time
from itertools import pairwise

from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break
from tests.unit.pvelab.guests.conftest import HOME, Api

START = f"{HOME}/qemu/104/status/start"


def running(api: Api, upid: str) -> bool:
    return bool(api("GET", f"{HOME}/tasks/{upid}/status")["status"] == "running")


def test_the_next_task_of_a_type_hangs_until_the_fault_is_cleared(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("task-hang", type="qmstart")
    upid = api("POST", START)
    assert api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local")[0] == "OK", (
        "a task of another type hangs too"
    )
    assert api.task("POST", f"{HOME}/qemu/108/status/start")[0] == "OK", (
        "not only the next one hangs"
    )
    assert running(api, upid) and lab.machine_status(104) == "stopped"
    effects.clear(lab)
    assert api.ended(upid)[0] == "OK"
    assert lab.machine_status(104) == "running"


def test_a_task_that_hangs_can_be_stopped_and_has_done_nothing(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("task-hang", type="qmstart")
    upid = api("POST", START)
    time.sleep(0.2)
    api("DELETE", f"{HOME}/tasks/{upid}")
    assert api.ended(upid)[0] == "interrupted by signal"
    assert lab.machine_status(104) == "stopped"


def test_a_held_vzdump_lock_ends_a_job_that_does_not_wait_as_recorded(
    api: Api, broken: Break
) -> None:
    broken("vzdump-lock", node="clovis")
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local", lockwait=0)
    assert status == "unexpected status"
    assert log == ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"]


def test_a_job_that_waits_for_the_lock_goes_on_when_it_is_free(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("vzdump-lock", node="clovis")
    upid = api("POST", f"{HOME}/vzdump", vmid=104, storage="local")
    time.sleep(0.5)
    assert running(api, upid)
    effects.clear(lab)
    status, log = api.ended(upid)
    assert status == "OK"
    assert log[:2] == ["INFO: trying to get global lock - waiting...", "INFO: got global lock"]


def test_a_node_whose_clock_is_wrong_says_so_everywhere_and_the_other_does_not(
    api: Api, lab: Lab, broken: Break
) -> None:
    other = lab.now("lge-pve02") - time.time()
    broken("drift", node="clovis", seconds=-86_400)
    began = time.time()
    told = api("GET", f"{HOME}/time")["time"]
    volid = api.dump(108)
    (row,) = api("GET", f"{HOME}/storage/local/content")
    right = lab.now("lge-pve02") - other
    effects.clear(lab)
    mended = lab.now("clovis")
    times = [began, told + 86_400, row["ctime"] + 86_400, right, mended, time.time()]
    # each after the one before it, to the second that PVE tells
    assert all(one < two + 2 for one, two in pairwise(times)), times
    assert row["volid"] == volid
