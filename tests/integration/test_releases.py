"""A backup, its faults and a restore test over real HTTP, by a cluster that answers as 9.0 and by
one that answers as 9.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands import Shell, settle_briefly

pytestmark = pytest.mark.slow
VMID, AGENTLESS = 105, 108
VERSIONS = {"9.0": "9.0.11", "9.2": "9.2.11"}


@pytest.fixture(scope="module", params=list(VERSIONS))
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shell(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user of a lab of that release, with modelled guests."""
    made = Shell(tmp_path_factory.mktemp("site"))
    up = made("lab", "up", "--hypervisor", "simulated", "--pve", release)
    assert up.code == 0, up.err
    settle_briefly(made.state)
    yield made
    assert made("lab", "down").code == 0


@pytest.fixture
def user(shell: Shell) -> Iterator[Shell]:
    """That user; what a test broke is mended after it."""
    yield shell
    assert shell("lab", "fault", "clear").code == 0


def backed_up(user: Shell, vmid: int) -> dict[str, Any]:
    answer = user("backup", "run", "--vmid", vmid, "--json")
    assert "Traceback" not in answer.err
    (guest,) = answer.json["guests"]
    return dict(guest)


def test_the_lab_says_which_release_it_is_and_the_service_reads_it(
    user: Shell, release: str
) -> None:
    assert user("lab", "status", "--json").json["pve"] == VERSIONS[release]
    lines = user("doctor", "--json").json["lines"]
    assert any(line["detail"].endswith(f"Proxmox VE {VERSIONS[release]}") for line in lines), lines


def test_a_backup_is_frozen_and_its_copy_is_restored_and_answers(user: Shell) -> None:
    guest = backed_up(user, VMID)
    assert (guest["status"], guest["consistency"], guest["freeze"]) == ("ok", "frozen", "frozen")
    test = user("restore-test", VMID, "--json")
    assert (test.code, test.json["verdict"]) == (1, "simulated"), test.err
    assert test.json["rung"] != "none"


def test_a_guest_without_an_agent_is_crash_consistent_because_it_has_none(user: Shell) -> None:
    guest = backed_up(user, AGENTLESS)
    assert (guest["status"], guest["consistency"]) == ("ok", "crash-consistent")
    assert guest["consistency_reason"] == "it has no agent configured"


def test_a_silent_agent_a_refused_freeze_and_a_failed_thaw_are_told_apart(user: Shell) -> None:
    user("lab", "fault", "agent-refuses", VMID)
    guest = backed_up(user, VMID)
    assert (guest["consistency"], guest["freeze"], guest["findings"]) == (
        "crash-consistent",
        "failed",
        [],
    )
    user("lab", "fault", "clear")
    user("lab", "fault", "agent-silent", VMID)
    assert backed_up(user, VMID)["freeze"] == "agent-silent"
    user("lab", "fault", "clear")
    user("lab", "fault", "agent-refuses", VMID, "thaw")
    assert backed_up(user, VMID)["findings"] == ["guest-left-frozen"]
