"""QEMU's human monitor over the API: ``info`` alone (05_restore_ok 151-157)."""

from __future__ import annotations

import pytest

from pvelab.access import Identity
from pvelab.api.qemu.monitor import monitor
from pvelab.kernel import Call, Lab, LabError
from tests.unit.pvelab.guests.conftest import HOME, Api

MONITOR = f"{HOME}/qemu/104/monitor"


def test_info_tells_how_a_guest_is(api: Api) -> None:
    assert api.refused("POST", MONITOR, command="info status") == (500, "VM 104 not running")
    api.start(104)
    assert api("POST", MONITOR, command="info status") == "VM status: running\r\n"
    api.task("POST", f"{HOME}/qemu/104/status/suspend")
    assert api("POST", MONITOR, command="info status") == "VM status: paused\r\n"
    assert api("POST", MONITOR, command="info version").startswith("simulated: ")


def test_other_commands_are_refused_in_pves_words(api: Api) -> None:
    api.start(104)
    assert api.refused("POST", MONITOR, command="screendump /tmp/x.ppm") == (
        500,
        "root-only command 'screendump'",
    )
    told = (
        "command 'nosuch' non-existent or not assigned a required permission yet, limiting to "
        "root user"
    )
    assert api.refused("POST", MONITOR, command="nosuch") == (500, told)


def test_nobody_acts_on_the_host_of_the_lab_through_the_monitor(lab: Lab) -> None:
    call = Call(
        "POST",
        MONITOR,
        {"node": "clovis", "vmid": "104", "command": "screendump /tmp/x"},
        Identity("root@pam"),
        lab,
    )
    with pytest.raises(LabError, match="serves `info` only"):
        monitor(call)
