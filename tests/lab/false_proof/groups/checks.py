"""Nothing was asked, or nothing could be."""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell, policy

CELLS = (
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
