"""The bridge leads somewhere, or did so for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pvelab import links
from pvelab.faults import effects
from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import (
    HOME,
    RESTORE_CALL,
    Arrangement,
    Cell,
    Words,
    network,
    policy,
)
from tests.lab.false_proof.stage import Moment, Stage


def foreign_guest_at(place: tuple[str, str]) -> Arrangement:
    """Somebody plugs a guest of his own into the isolated bridge in mid-test."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        options = {"node": HOME, "do": "guest", "value": "7000"}
        stage.moments.append(
            Moment(*place, lambda: effects.set_fault(stage.lab, "bridge", options), after=True)
        )
        try:
            yield ()
        finally:
            effects.clear(stage.lab)

    return arranged


def known_to_the_kernel_alone(port: str) -> Arrangement:
    """Somebody joined an interface to the bridge by hand (``ip link set eno2 master vmbr9``): no
    file of PVE's knows.
    """

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        real = links.ports

        def told(lab: Any, node: str, bridge: str) -> list[str]:
            return [*real(lab, node, bridge), *([port] if bridge == "vmbr9" else [])]

        links.ports = told
        try:
            yield ()
        finally:
            links.ports = real

    return arranged


CELLS = (
    Cell(
        "a port",
        108,
        network(bridge_ports="eno2"),
        "inconclusive",
        "platform",
        4,
        "has the ports eno2",
    ),
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
        network(
            more=[
                {
                    "iface": "vmbr9.7",
                    "type": "vlan",
                    "active": 1,
                    "method": "manual",
                    "vlan-raw-device": "vmbr9",
                }
            ]
        ),
        "inconclusive",
        "platform",
        4,
        "stacked",
    ),
    Cell(
        "pending changes",
        108,
        network(changes="--- a\n+++ b"),
        "inconclusive",
        "platform",
        4,
        "pending",
    ),
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
        "a foreign guest on it",
        108,
        cells.fault("bridge", HOME, "guest", 7000),
        "inconclusive",
        "platform",
        4,
        "guest 7000",
    ),
    Cell(
        "a foreign guest that came just before the start",
        108,
        foreign_guest_at(("POST", RESTORE_CALL)),
        "inconclusive",
        "platform",
        4,
        "guest 7000",
    ),
    Cell(
        "a port that the kernel alone knows",
        108,
        known_to_the_kernel_alone("eno2"),
        "inconclusive",
        "platform",
        4,
        "by the kernel of clovis",
    ),
    Cell(
        "a port where the copy lands",
        108,
        cells.fault("bridge", HOME, "port", "eno2"),
        "inconclusive",
        "platform",
        4,
        "bridge vmbr9 on clovis has the ports eno2",
    ),
    Cell(
        "the production bridge",
        108,
        policy(lambda text: text.replace("vmbr9", "vmbr0")),
        "inconclusive",
        "platform",
        4,
        "eno1",
    ),
)
