"""A guest that its dump left frozen, over real HTTP against modelled guests: told at once, and
found until it is thawed.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell

pytestmark = pytest.mark.slow
VMID = 105


@pytest.fixture
def lab(site: Shell) -> Iterator[Shell]:
    """The lab, without faults before and after, and with nobody frozen."""
    yield site
    site("lab", "fault", "clear")
    if asked(site, "fsfreeze-status") == "frozen":
        asked(site, "fsfreeze-thaw")


def asked(site: Shell, call: str) -> Any:
    """Ask the guest's agent as the lab's root."""
    saved, root = (
        json.loads((site.state / "lab" / name).read_text("utf-8"))
        for name in ("settings.json", "root.json")
    )
    url = f"https://{saved['pve']['host']}/api2/json/nodes/{node_of(site)}/qemu/{VMID}/agent/{call}"
    request = urllib.request.Request(
        url, b"", {"Authorization": f"PVEAPIToken={root['token']}"}, method="POST"
    )
    context = ssl.create_default_context(cafile=saved["pve"]["ca_file"])
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def node_of(site: Shell) -> str:
    return next(
        path.parent.parent.name
        for path in (site.state / "lab").glob(f"etc/pve/nodes/*/qemu-server/{VMID}.conf")
    )


def found(site: Shell) -> list[int]:
    """The guests of which ``pra status`` says that they were left frozen."""
    findings = site("pra", "status", "--json").json["findings"]
    return [item["vmid"] for item in findings if item["id"] == "guest-left-frozen"]


@pytest.mark.parametrize("how", ["thaw", "stays-frozen"])
def test_a_guest_left_frozen_is_told_at_once_and_found_until_somebody_thaws_it(
    lab: Shell, how: str
) -> None:
    lab("lab", "fault", "agent-refuses", VMID, how)
    answer = lab("backup", "run", "--vmid", VMID, "--json")
    (guest,) = answer.json["guests"]
    assert (answer.code, guest["status"], guest["findings"], guest["exitstatus"]) == (
        1,
        "warnings",
        ["guest-left-frozen"],
        "OK",
    )
    assert guest["file_systems"]["state"] == "frozen" and guest["verified"] is True
    assert found(lab) == [VMID]
    shown = lab("operations", "show", guest["operation"])
    assert shown.code == 0 and "guest-left-frozen" in shown.out
    lab("lab", "fault", "clear")
    assert asked(lab, "fsfreeze-status") == "frozen", (
        "nobody may thaw a guest whose policy does not say so"
    )
    asked(lab, "fsfreeze-thaw")
    assert found(lab) == []


def test_the_next_backup_that_finds_the_guest_thawed_ends_the_finding(lab: Shell) -> None:
    lab("lab", "fault", "agent-refuses", VMID, "stays-frozen")
    said = lab("backup", "run", "--vmid", VMID)
    assert (
        said.code == 1
        and "guest-left-frozen: the dump left its file systems frozen" in said.out + said.err
    )
    lab("lab", "fault", "clear")
    asked(lab, "fsfreeze-thaw")
    answer = lab("backup", "run", "--vmid", VMID, "--json")
    assert (answer.code, answer.json["guests"][0]["file_systems"]["state"]) == (0, "thawed")
    assert found(lab) == []


def test_a_guest_whose_policy_says_so_is_thawed_and_only_with_the_right_to_do_it(
    lab: Shell, policy_of: Path
) -> None:
    policy_of.write_text(
        f"site: s\ntimezone: Europe/Paris\njobs: {{nightly: {{guests: [{VMID}], thaw: true}}}}\n"
    )
    lab("lab", "fault", "agent-refuses", VMID, "stays-frozen")
    answer = lab("backup", "run", "--vmid", VMID, "--json", BACKUPSVC_POLICY=str(policy_of))
    # the lab's token may only look
    assert answer.code == 1 and answer.json["guests"][0]["findings"] == ["guest-left-frozen"]
    doctor = lab("doctor", BACKUPSVC_POLICY=str(policy_of))
    assert doctor.code == 4 and "VM.GuestAgent.FileSystemMgmt" in doctor.out


def test_a_refused_freeze_is_crash_consistent_and_a_warning_and_no_alarm(lab: Shell) -> None:
    lab("lab", "fault", "agent-refuses", VMID)
    answer = lab("backup", "run", "--vmid", VMID, "--json")
    (guest,) = answer.json["guests"]
    assert (answer.code, guest["status"], guest["consistency"], guest["freeze"]) == (
        0,
        "warnings",
        "crash-consistent",
        "failed",
    )
    assert guest["warnings"] == [
        "unable to freeze guest fs - failed to freeze /: Device or resource busy"
    ]
    assert (guest["findings"], guest["file_systems"]["state"]) == ([], "thawed")
