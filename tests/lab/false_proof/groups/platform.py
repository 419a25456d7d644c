"""The cluster, not the archive, stood in the way."""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import HOME, RESTORE_CALL, RESTORING, Cell, at, both, fault

CELLS = (
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
