"""A guest whose agent refuses to freeze, or to thaw: PVE's texts in the log, and a guest that
really stands frozen afterwards.
"""

from __future__ import annotations

import pytest

from policies.pve.vzdump_log import Consistency, Freeze, read
from pvelab import seed
from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break, struck
from tests.unit.pvelab.guests.conftest import HOME, Api

AGENT = f"{HOME}/qemu/104/agent"
FREEZE, THAW = (
    "INFO: issuing guest-agent 'fs-freeze' command",
    "INFO: issuing guest-agent 'fs-thaw' command",
)


def dumped(api: Api, **params: object) -> tuple[str, list[str]]:
    """Dump 104 and return how the task ended and the lines about freezing."""
    status, log = api.task(
        "POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd", **params
    )
    at = next((n for n, line in enumerate(log) if "fs-freeze" in line), 0)
    end = next(n for n, line in enumerate(log) if "started backup task" in line)
    return status, log[at:end]


def frozen(api: Api) -> bool:
    return bool(api("POST", f"{AGENT}/fsfreeze-status")["result"] == "frozen")


def test_a_refused_freeze_has_pves_error_line_and_its_thaw_line_and_the_task_is_ok(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    fault = broken("agent-refuses", vmid=104)
    status, lines = dumped(api)
    assert (status, lines) == (
        "OK",
        [
            FREEZE,
            "ERROR: unable to freeze guest fs - failed to freeze /: Device or resource busy",
            THAW,
        ],
    )
    assert api("POST", f"{AGENT}/ping") == {"result": {}} and not frozen(api)
    assert struck(lab, fault) == 1


def test_a_failed_thaw_has_pves_error_line_the_task_is_ok_and_the_guest_stands_frozen(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    broken("agent-refuses", vmid=104, how="thaw")
    status, lines = dumped(api)
    why = (
        "VM 104 qmp command 'guest-fsfreeze-thaw' failed - failed to thaw /: Device or resource "
        "busy"
    )
    assert (status, lines) == ("OK", [FREEZE, THAW, f"ERROR: {why}"])
    assert frozen(api)
    assert api("POST", f"{AGENT}/fsfreeze-thaw")["result"]["error"]["desc"].startswith(
        "failed to thaw"
    )
    effects.clear(lab)
    assert api("POST", f"{AGENT}/fsfreeze-thaw") == {"result": 1} and not frozen(api)


def test_an_agent_that_says_it_thawed_and_did_not_leaves_nothing_in_the_log(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    broken("agent-refuses", vmid=104, how="stays-frozen")
    assert dumped(api) == ("OK", [FREEZE, THAW])
    assert frozen(api)
    api.task("POST", f"{HOME}/qemu/104/status/stop")
    effects.clear(lab)
    api.start(104)
    assert not frozen(api), "a guest that boots is frozen no more"


@pytest.mark.parametrize(
    "agent", ["1,freeze-fs=0", "enabled=1,freeze-fs-on-backup=0", "1,guest-fsfreeze=no"]
)
def test_a_freeze_that_is_switched_off_is_said_to_be(api: Api, lab: Lab, agent: str) -> None:
    lab.guests.need("clovis", 104).config["agent"] = agent
    api.start(104)
    assert dumped(api) == ("OK", ["INFO: skipping guest-agent 'fs-freeze', disabled in VM options"])


def test_a_silent_agent_is_told_before_the_option_is_looked_at(
    api: Api, lab: Lab, broken: Break
) -> None:
    lab.guests.need("clovis", 104).config["agent"] = "1,freeze-fs=0"
    api.start(104)
    broken("agent-silent", vmid=104)
    assert dumped(api)[1] == [
        "INFO: skipping guest-agent 'fs-freeze', agent configured but not running?"
    ]


@pytest.mark.parametrize(
    ("how", "consistency", "freeze", "alarm"),
    [
        ("freeze", Consistency.CRASH, Freeze.FAILED, False),
        ("thaw", Consistency.FROZEN, Freeze.FROZEN, True),
        ("stays-frozen", Consistency.FROZEN, Freeze.FROZEN, False),
    ],
)
def test_the_service_reads_the_labs_logs_as_pves(
    api: Api, broken: Break, how: str, consistency: Consistency, freeze: Freeze, alarm: bool
) -> None:
    api.start(104)
    broken("agent-refuses", vmid=104, how=how)
    _, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local")
    report = read(log, 104)
    assert (report.consistency, report.freeze, report.thaw_failed is not None) == (
        consistency,
        freeze,
        alarm,
    )


def test_a_restored_copy_refuses_as_its_guest_does(api: Api, broken: Break) -> None:
    broken("agent-refuses", vmid=104)
    params = {"archive": api.dump(104), "storage": "local-lvm", "net0": "virtio,bridge=vmbr9"}
    assert api.task("POST", f"{HOME}/qemu", vmid=9000, **params)[0] == "OK"
    assert api.task("POST", f"{HOME}/qemu/9000/status/start")[0] == "OK"
    answer = api("POST", f"{HOME}/qemu/9000/agent/fsfreeze-freeze")["result"]
    assert answer["error"]["class"] == "GenericError"


def test_an_unknown_way_to_refuse_is_refused(broken: Break) -> None:
    with pytest.raises(UsageError, match="knows no shrug"):
        broken("agent-refuses", vmid=104, how="shrug")


# --- the calls as PVE answers them ----------------------------------------------------------------


def test_freezing_and_thawing_by_hand_are_wrapped_and_a_frozen_agent_does_little_else(
    api: Api,
) -> None:
    api.start(104)
    assert api("POST", f"{AGENT}/fsfreeze-status") == {"result": "thawed"}
    assert api("POST", f"{AGENT}/fsfreeze-freeze") == {"result": 1}
    assert api("POST", f"{AGENT}/fsfreeze-status") == {"result": "frozen"}
    assert api("POST", f"{AGENT}/ping") == {"result": {}}
    refused = api("GET", f"{AGENT}/get-osinfo")["result"]["error"]
    assert refused["class"] == "GenericError" and "not allowed" in refused["desc"]
    assert api.refused("POST", f"{AGENT}/exec", command="/bin/true")[0] == 500
    assert api("POST", f"{AGENT}/fsfreeze-thaw") == {"result": 1}
    assert api("GET", f"{AGENT}/get-osinfo")["result"]["id"] == "simulated"


def test_whoever_may_only_look_may_ask_for_the_state_and_not_change_it(api: Api, lab: Lab) -> None:
    api.start(104)
    service = api.with_token(seed.SERVICE_TOKEN)
    assert service("POST", f"{AGENT}/fsfreeze-status") == {"result": "thawed"}
    for call in ("fsfreeze-freeze", "fsfreeze-thaw"):
        denied = (
            "Permission check failed (/vms/104, "
            "VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted)"
        )
        assert service.refused("POST", f"{AGENT}/{call}") == (403, denied)
    lab.access.roles["BackupsvcVms"].remove("VM.GuestAgent.Audit")
    rights = "VM.GuestAgent.Audit|VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted"
    assert service.refused("POST", f"{AGENT}/fsfreeze-status") == (
        403,
        f"Permission check failed (/vms/104, {rights})",
    )


@pytest.mark.parametrize("call", ["fsfreeze-status", "fsfreeze-freeze", "fsfreeze-thaw"])
def test_a_guest_that_is_off_or_has_no_agent_answers_none_of_them(api: Api, call: str) -> None:
    assert api.refused("POST", f"{AGENT}/{call}") == (500, "VM 104 is not running")
    assert api.refused("POST", f"{HOME}/qemu/108/agent/{call}") == (
        500,
        "No QEMU guest agent configured",
    )
