"""The matrix: whatever is false about an archive, its network, its answers or its platform, its restore test never proves it."""

from __future__ import annotations

import re

import pytest

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import HOME, RESTORE_CALL, RESTORING, START_CALL, Cell, at, both, fault, forged, network, policy
from tests.lab.false_proof.stage import Stage, said

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ARCHIVE = (
    Cell("truncated", 108, forged(cells.truncated), "failed", "archive", 1, "restore"),
    Cell("flipped", 108, forged(cells.flipped), "failed", "archive", 1, "not intact"),
    Cell(
        "a disk that only the config names",
        108,
        forged(cells.with_config(cells.line_added("scsi7: local-lvm:vm-108-disk-7,size=1G"))),
        "failed",
        "archive",
        4,
        "scsi7",
    ),
    Cell(
        "a mapped disk that the header lacks",
        108,
        forged(cells.with_config(cells.line_added("#qmdump#map:scsi7:drive-scsi7:local-lvm:raw:"))),
        "failed",
        "archive",
        1,
        "scsi7",
    ),
    Cell("no disk at all", 108, forged(cells.with_config(cells.without_disks)), "failed", "archive", 1, "no disk"),
    Cell("no config at all", 108, forged(cells.with_config(lambda text: None)), "failed", "archive", 1, "config"),
    Cell("an empty file", 108, forged(lambda stage, content: b""), "inconclusive", None, 1, "no archive"),
)
EXCLUDED = (
    Cell("a disk that was left out", 105, cells.backed_up_without_disk, "failed", "archive", 1, "scsi1 is not in the archive"),
)
BRIDGE = (
    Cell("a port", 108, network(bridge_ports="eno2"), "inconclusive", "platform", 4, "has the ports eno2"),
    Cell(
        "an address",
        108,
        network(cidr="10.0.0.1/24", address="10.0.0.1", method="static"),
        "inconclusive",
        "platform",
        4,
        "address",
    ),
    Cell("gone", 108, network(gone=True), "inconclusive", "platform", 4, "no bridge vmbr9"),
    Cell("not active", 108, network(active=0), "inconclusive", "platform", 4, "not active"),
    Cell(
        "a VLAN on it",
        108,
        network(more=[{"iface": "vmbr9.7", "type": "vlan", "active": 1, "method": "manual", "vlan-raw-device": "vmbr9"}]),
        "inconclusive",
        "platform",
        4,
        "stacked",
    ),
    Cell("pending changes", 108, network(changes="--- a\n+++ b"), "inconclusive", "platform", 4, "pending"),
    Cell(
        "a port while it is restored",
        108,
        cells.network_later(("POST", RESTORE_CALL), bridge_ports="eno2"),
        "inconclusive",
        "platform",
        4,
        "eno2",
    ),
    Cell(
        "a port just before the start",
        108,
        cells.network_later(("GET", "/nodes/*/qemu/90??/config"), bridge_ports="eno2"),
        "inconclusive",
        "platform",
        4,
        "eno2",
    ),
    Cell(
        "the production bridge", 108, policy(lambda text: text.replace("vmbr9", "vmbr0")), "inconclusive", "platform", 4, "eno1"
    ),
)
ANSWER = (
    Cell(
        "an error page with 200",
        105,
        policy(lambda text: text.replace("contains: Kanboard", "contains: Welcome")),
        "failed",
        "service",
        1,
        "Welcome",
    ),
)
LIFE = (
    Cell(
        "the database is empty", 105, at("POST", START_CALL, cells.database_emptied, cells.nothing), "failed", "service", 1, "80"
    ),
    Cell("panic at boot", 105, fault("guest-panic", 105), "failed", "boot", 1, "no sign of life"),
    Cell("service dead", 108, fault("service-down", 108), "failed", "service", 1, "80"),
    Cell("the database's disk is gone", 104, fault("data-disk-gone", 104), "failed", "service", 1, "80"),
    Cell(
        "switched off after it booted",
        105,
        at("*", "/nodes/*/qemu/90??/agent/*", cells.copy_switched_off, cells.nothing, after=True),
        "failed",
        "service",
        1,
        "",
    ),
)
PLATFORM = (
    Cell("HA has the VMID", 108, cells.ha_has_the_vmids, "inconclusive", "platform", 4, "HA"),
    Cell(
        "the VMID is taken meanwhile",
        108,
        at("POST", RESTORE_CALL, cells.foreign_guest, cells.foreign_guest_removed),
        "inconclusive",
        "platform",
        1,
        "already exists",
    ),
    Cell(
        "quorum is lost before the restore",
        108,
        at("POST", RESTORE_CALL, cells.other_node_dies, cells.other_node_returns),
        "inconclusive",
        "platform",
        1,
        "quorum",
    ),
    Cell("the scratch storage is full", 108, fault("storage-full", f"{HOME}/local-lvm"), "inconclusive", "capacity", 4, "free"),
    Cell(
        "an administrator stops the restore",
        108,
        both(fault("storage-slow", f"{HOME}/local", 2_000_000), at("GET", RESTORING, cells.task_stopped, cells.nothing)),
        "inconclusive",
        "platform",
        1,
        "",
    ),
    Cell("the clock is set back", 108, cells.clock_set(-3600), "inconclusive", "time", 1, "clock was set by -3600"),
    Cell("the clock is set ahead", 108, cells.clock_set(3600), "inconclusive", "time", 1, "clock was set by"),
)
CHECKS = (
    Cell(
        "none",
        108,
        policy(lambda text: text.replace("checks: [ssh, {http: {port: 80, path: /, status: 200}}]", "checks: []")),
        "inconclusive",
        None,
        1,
        "no health check",
    ),
    Cell("the probe does not answer", 108, cells.no_probe, "inconclusive", "network", 1, ""),
)
GROUPS = {"archive": ARCHIVE + EXCLUDED, "bridge": BRIDGE, "answer": ANSWER, "life": LIFE, "platform": PLATFORM, "checks": CHECKS}
CELLS = [pytest.param(cell, id=f"{group}: {cell.name}") for group, row in GROUPS.items() for cell in row]


@pytest.mark.parametrize("cell", CELLS)
def test_law_5_nothing_false_is_proven(stage: Stage, cell: Cell) -> None:
    before, started = stage.production(), stage.starts()
    with cells.for_guest(cell)(stage) as words:
        clock = words[1] if words[:1] == ("clock",) else None
        asked = ("restore-test", cell.vmid, *(() if clock else words), "--json")
        answer = stage.with_set_clock(clock, *asked) if clock else stage.shell(*asked)
    stage.moments.clear()
    told = answer.json
    outcome = (told.get("verdict"), told.get("cause"), answer.code)
    assert outcome == (cell.verdict, cell.cause, cell.code), answer.out + answer.err
    assert re.search(cell.says, said(answer)), said(answer)
    assert stage.production() == before
    assert stage.left_behind() == []
    if cell in BRIDGE:
        assert stage.starts() == started  # law 2: it never ran


def test_the_same_archives_are_proven_once_nothing_is_false(stage: Stage) -> None:
    for vmid in (104, 105, 108):
        answer = stage.shell("restore-test", vmid, "--json")
        assert (answer.code, answer.json["verdict"], answer.json["cause"]) == (0, "proven", None), answer.out
    assert stage.left_behind() == []
