"""Two hosts on the production bridge, one that lives in a VLAN and one on a trunk: both keep asking
who has an address.

And what the switch saw of it all.
"""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from typing import Any

from pvelab.vmm.network import Frame, Networks, Port
from pvelab.vmm.spec import Nic

BROADCAST, ARP = b"\xff" * 6, b"\x08\x06"
NEIGHBOUR, TRUNK = "neighbour", "trunk"
MAC = {NEIGHBOUR: bytes.fromhex("02000000f0f0"), TRUNK: bytes.fromhex("02000000f0f1")}
ADDRESS = {NEIGHBOUR: socket.inet_aton("192.168.10.250"), TRUNK: socket.inet_aton("192.168.10.251")}


class Watch:
    """From ``with`` to its end: everything that machines sent into a bridge and everything that its
    ports handed over.
    """

    def __init__(
        self, networks: Networks, plugged: list[Port], bridge: str, tag: int, address: str
    ) -> None:
        """``plugged`` is the growing list of all ports; ``address`` is asked for five times a
        second, in VLAN ``tag``.
        """
        self.sent, self.heard = networks.capture(bridge, 65536), networks.deliveries(bridge, 65536)
        self._networks, self._plugged, self._before, self._bridge = (
            networks,
            plugged,
            len(plugged),
            bridge,
        )
        tags = {NEIGHBOUR: tag, TRUNK: None}
        self._own = [
            networks.port(name, Nic(0, MAC[name].hex(":"), bridge, tags[name])) for name in tags
        ]
        self._neighbour, self._trunk = (
            socket.socket(fileno=socket.dup(port.descriptor)) for port in self._own
        )
        self.trunk_heard: list[bytes] = []
        header = b"\x81\x00" + tag.to_bytes(2, "big")
        self._questions = _who_has(NEIGHBOUR, b"", address), _who_has(TRUNK, header, address)
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Watch:
        self._asking.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._asking.join()
        for port in self._own:
            self._networks.unplug(port)
        self._neighbour.close()
        self._trunk.close()

    def ports(self, machine: str) -> list[Port]:
        """The ports of a machine that were plugged in since the watch began, with their
        counters.
        """
        return [port for port in self._plugged[self._before :] if port.machine == machine]

    def leaks(self, copy: str) -> list[str]:
        """Everything that speaks against the copy's isolation; empty when it was isolated. Ports
        count, never addresses.
        """
        # the switch goes on writing to its rings
        now_sent, now_heard = list(self.sent), list(self.heard)
        found = [
            f"{copy} is plugged into {self._bridge}"
            for port in self.ports(copy)
            if port.bridge == self._bridge
        ]
        if sent := [frame for frame in now_sent if frame.machine == copy]:
            found.append(f"{copy} sent {len(sent)} frames into {self._bridge}")
        if heard := {str(frame.to) for frame in now_heard if frame.machine == copy}:
            found.append(f"frames of {copy} reached {', '.join(sorted(heard))}")
        for address, owners in _owners(now_sent).items():
            if len(owners) > 1:
                found.append(f"{address} is claimed by {' and '.join(sorted(owners))}")
        return found

    def _ask(self) -> None:
        while not self._over.wait(0.2):
            self._neighbour.send(self._questions[0])
            self._trunk.send(self._questions[1])
            _pending(self._neighbour)
            self.trunk_heard += _pending(self._trunk)


def _pending(cable: socket.socket) -> list[bytes]:
    """Return the frames that wait at the end of a cable."""
    cable.setblocking(False)
    frames = []
    try:
        while True:
            frames.append(cable.recv(65536))
    except BlockingIOError:
        return frames


def _who_has(name: str, header: bytes, address: str) -> bytes:
    """An ARP request for an IPv4 address, with a VLAN header or without."""
    packet = (
        bytes.fromhex("0001080006040001")
        + MAC[name]
        + ADDRESS[name]
        + bytes(6)
        + socket.inet_aton(address)
    )
    return BROADCAST + MAC[name] + header + ARP + packet


def _owners(frames: list[Frame]) -> dict[str, set[str]]:
    """Given frames, return which ports claimed each IPv4 address in an ARP packet."""
    owners: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        if frame.data[12:14] == ARP and (claimed := frame.data[28:32]) != bytes(4):
            owners[socket.inet_ntoa(claimed)].add(frame.machine)
    return owners
