"""A lab that answers as 9.0 or as 9.2: its version, and every text in which the two differ, as the
service reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from policies.pve.vzdump_log import Consistency, Freeze, read
from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from pvelab.release import RELEASES, release_of
from tests.unit.pvelab.guests import recorded
from tests.unit.pvelab.guests.conftest import HOME, Api

BOTH = pytest.mark.parametrize("release", list(RELEASES))
GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "pve_texts.json").read_text("utf-8"))
FREEZE, THAW = (
    "INFO: issuing guest-agent 'fs-freeze' command",
    "INFO: issuing guest-agent 'fs-thaw' command",
)
BEGIN = "INFO: starting backup via QMP command"
AGENT = f"{HOME}/qemu/104/agent"


@dataclass(frozen=True)
class Case:
    """A guest before its dump, the lines about freezing by release, and what the service reads in
    them.
    """

    prepare: Callable[[Api, Lab], object]
    lines: dict[str, list[str]]
    consistency: Consistency
    freeze: dict[str, Freeze]
    thaw_failed: bool = False


def option(value: str | None) -> Callable[[Api, Lab], object]:
    """Give guest 104 that ``agent`` option, or none, and start it."""

    def prepare(api: Api, lab: Lab) -> None:
        config = lab.guests.need("clovis", 104).config
        config.pop("agent", None)
        config.update({"agent": value} if value else {})
        api.start(104)

    return prepare


def broken(kind: str, **options: str) -> Callable[[Api, Lab], object]:
    """Start guest 104 with a fault."""

    def prepare(api: Api, lab: Lab) -> None:
        api.start(104)
        effects.set_fault(lab, kind, {"vmid": 104, **options})

    return prepare


def held_frozen(api: Api, lab: Lab) -> None:
    """Let somebody else hold guest 104 frozen."""
    api.start(104)
    assert api("POST", f"{AGENT}/fsfreeze-freeze") == {"result": 1}


def skips(old: str | None, new: str) -> dict[str, list[str]]:
    """The line that says why no freeze was tried, in both."""
    return {
        "9.0": [f"INFO: skipping guest-agent 'fs-freeze', {old}"] if old else [],
        "9.2": [f"INFO: skipping guest filesystem freeze - {new}", BEGIN],
    }


def both(freeze: Freeze) -> dict[str, Freeze]:
    return dict.fromkeys(RELEASES, freeze)


HELD = "Command guest-fsfreeze-freeze has been disabled: the command is not allowed"
WHY = "failed to thaw /: Device or resource busy"
OFF, SILENT = "disabled in VM options", "agent configured but not running?"
CASES = {
    "an agent that freezes": Case(
        option("1"),
        {"9.0": [FREEZE, THAW], "9.2": [FREEZE, BEGIN, THAW]},
        Consistency.FROZEN,
        both(Freeze.FROZEN),
    ),
    "switched off": Case(
        option("1,freeze-fs-on-backup=0"), skips(OFF, OFF), Consistency.CRASH, both(Freeze.OFF)
    ),
    "no agent": Case(
        option(None), skips(None, OFF), Consistency.CRASH, {"9.0": Freeze.NONE, "9.2": Freeze.OFF}
    ),
    "a silent agent": Case(
        broken("agent-silent"), skips(SILENT, SILENT), Consistency.CRASH, both(Freeze.SILENT)
    ),
    "a refused freeze": Case(
        broken("agent-refuses"),
        {
            "9.0": [
                FREEZE,
                "ERROR: unable to freeze guest fs - failed to freeze /: Device or resource busy",
                THAW,
            ],
            "9.2": [
                FREEZE,
                "ERROR: unable to freeze guest fs - failed to freeze /: Device or resource busy",
                BEGIN,
                THAW,
            ],
        },
        Consistency.CRASH,
        both(Freeze.FAILED),
    ),
    "a refused thaw": Case(
        broken("agent-refuses", how="thaw"),
        {
            "9.0": [
                FREEZE,
                THAW,
                f"ERROR: VM 104 qmp command 'guest-fsfreeze-thaw' failed - {WHY}",
            ],
            "9.2": [FREEZE, BEGIN, THAW, f"ERROR: Agent error: {WHY}"],
        },
        Consistency.FROZEN,
        both(Freeze.FROZEN),
        thaw_failed=True,
    ),
    "held frozen by somebody else": Case(
        held_frozen,
        {
            "9.0": [FREEZE, f"ERROR: unable to freeze guest fs - {HELD}", THAW],
            "9.2": ["INFO: skipping guest filesystem freeze - already frozen", BEGIN],
        },
        Consistency.CRASH,
        {"9.0": Freeze.FAILED, "9.2": Freeze.BY_OTHERS},
    ),
}


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_each_release_tells_of_a_freeze_in_its_words_and_the_service_reads_both_alike(
    api: Api, lab: Lab, name: str, release: str
) -> None:
    case = CASES[name]
    case.prepare(api, lab)
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd")
    began = next(n for n, line in enumerate(log) if "creating vzdump archive" in line) + 1
    ended = next(n for n, line in enumerate(log) if "started backup task" in line)
    assert (status, log[began:ended]) == ("OK", case.lines[release])
    report = read(log, 104)
    assert (report.freeze, report.thaw_failed is not None) == (
        case.freeze[release],
        case.thaw_failed,
    )
    assert report.consistency is case.consistency


@BOTH
@pytest.mark.parametrize(
    "text", ["freeze-no-agent", "freeze-off", "freeze-by-others", "thaw-failed"]
)
def test_the_words_are_those_that_were_read_in_the_packages_of_that_release(
    text: str, release: str
) -> None:
    known = RELEASES[release]
    said = {
        "freeze-no-agent": f"INFO: {known.skipped(SILENT)}",
        "freeze-off": f"INFO: {known.skipped(OFF)}",
        "freeze-by-others": f"INFO: {known.skipped('already frozen')}",
        "thaw-failed": f"ERROR: {known.agent_failed(108, 'guest-fsfreeze-thaw', 'got timeout')}",
    }
    wanted = GOLDEN[text][release]
    assert said[text] in wanted or not wanted, f"{said[text]} is none of {wanted}"


@BOTH
def test_the_version_and_what_a_guest_tells_of_its_qemu_are_of_one_release(
    api: Api, release: str
) -> None:
    version = api("GET", "/version")
    assert version["release"] == release and version["version"].startswith(f"{release}.")
    assert version["version"] in api("GET", f"{HOME}/status")["pveversion"]
    api.start(104)
    assert api("GET", f"{HOME}/qemu/104/status/current")["running-qemu"] == RELEASES[release].qemu


@BOTH
def test_the_ha_manager_tells_of_its_watchdog_since_9_2_only(api: Api, release: str) -> None:
    rows = {row["id"]: row for row in api("GET", "/cluster/ha/status/current")}
    newer = release == "9.2"
    assert ("fencing" in rows) is newer
    assert ("(active, watchdog active, " in rows["lrm:clovis"]["status"]) is newer
    assert ("(active, " in rows["lrm:clovis"]["status"]) is True


@BOTH
def test_a_guest_whose_agent_is_silent_is_shut_down_with_a_line_of_that_release(
    api: Api, lab: Lab, release: str
) -> None:
    broken("agent-silent")(api, lab)
    _, log = api.task("POST", f"{HOME}/qemu/104/status/shutdown", timeout=5)
    word = {"9.0": "qmp", "9.2": "qga"}[release]
    assert (
        f"QEMU Guest Agent is not running - VM 104 {word} command 'guest-ping' failed - got timeout"
        in log
    )


@BOTH
def test_a_disk_that_qemu_does_not_know_fails_the_dump_in_words_of_that_release(
    api: Api, lab: Lab, release: str
) -> None:
    broken("data-disk-gone")(api, lab)
    api.task("POST", f"{HOME}/qemu/104/status/stop")
    api.start(104)
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local")
    wanted = {
        "9.0": "ERROR: VM 104 qmp command 'backup' failed - Device 'drive-scsi1' not found",
        "9.2": "ERROR: executing QMP command to start backup failed - Device 'drive-scsi1' not "
        "found",
    }
    assert status == "job errors" and wanted[release] in log


@BOTH
def test_a_part_of_a_file_can_be_asked_for_since_9_2_only(api: Api, release: str) -> None:
    api.start(104)
    api("POST", f"{AGENT}/file-write", file="/tmp/x.txt", content="0123456789")
    whole = {"content": "0123456789", "bytes-read": 10}
    assert api("GET", f"{AGENT}/file-read", file="/tmp/x.txt") == whole
    ask = {"file": "/tmp/x.txt", "offset": 2, "count": 3}
    if release == "9.0":
        refusal = recorded.exchange("05_restore_ok", 144)["response"]["json"]["errors"]["count"]
        assert api.refused("GET", f"{AGENT}/file-read", **ask) == (
            400,
            str({"offset": refusal, "count": refusal}),
        )
        return
    assert api("GET", f"{AGENT}/file-read", **ask) == {
        "content": "234",
        "bytes-read": 3,
        "truncated": 1,
    }
    assert api("GET", f"{AGENT}/file-read", **ask, decode=0)["content"] == "MjM0"
    assert api("GET", f"{AGENT}/file-read", file="/tmp/x.txt", offset=8, count=9) == {
        "content": "89",
        "bytes-read": 2,
    }


@BOTH
def test_an_old_efi_disk_is_warned_of_since_9_2_only(api: Api, lab: Lab, release: str) -> None:
    lab.guests.need("clovis", 104).config["efidisk0"] = (
        "local-lvm:vm-104-disk-9,efitype=4m,pre-enrolled-keys=1,size=4M"
    )
    status, log = api.task("POST", f"{HOME}/qemu/104/status/start")
    told = any(line.startswith("WARN: EFI disk without 'ms-cert=2023k' option") for line in log)
    assert (status, told) == (("WARNINGS: 1", True) if release == "9.2" else ("OK", False))


def test_a_release_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match=r"8\.4") as caught:
        release_of({"release": "8.4"})
    assert "9.0, 9.2" in caught.value.hint
