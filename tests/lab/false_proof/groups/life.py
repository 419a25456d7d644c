"""The copy lives, but not as it should."""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import START_CALL, Cell, at, both, fault, policy

IMPATIENT = policy(lambda text: text.replace("boot-timeout: 30s", "boot-timeout: 8s"))
CELLS = (
    Cell(
        "the database is empty", 105, at("POST", START_CALL, cells.database_emptied, cells.nothing), "failed", "service", 1, "80"
    ),
    Cell("panic at boot", 105, both(IMPATIENT, fault("guest-panic", 105)), "failed", "boot", 1, "no sign of life"),
    Cell("service dead", 108, fault("service-down", 108), "failed", "service", 1, "80"),
    Cell("the database's disk is gone", 104, fault("data-disk-gone", 104), "failed", "service", 1, "80"),
    Cell(
        "switched off while it boots",
        105,
        both(IMPATIENT, at("*", "/nodes/*/qemu/90??/agent/*", cells.copy_switched_off, cells.nothing)),
        "failed",
        "boot",
        1,
        "no sign of life",
    ),
)
