"""The bridge leads somewhere, or did so for a moment."""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import RESTORE_CALL, Cell, network, policy

CELLS = (
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
