"""An answer came that is not the service's."""

from __future__ import annotations

from tests.lab.false_proof.cells import Cell, policy

CELLS = (
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
