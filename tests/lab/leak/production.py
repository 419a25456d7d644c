"""A host on the production segment that keeps asking who has an address, and what the switch saw of it all."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from typing import Any

from backupsvc.lab.vmm.network import Frame, Networks, Port
from backupsvc.lab.vmm.spec import Nic

BROADCAST, ARP = b"\xff" * 6, b"\x08\x06"
MAC, ADDRESS, NAME = bytes.fromhex("02000000f0f0"), socket.inet_aton("192.168.10.250"), "neighbour"


class Watch:
    """From ``with`` to its end: everything that machines sent into a bridge and everything that its ports handed over."""

    def __init__(self, networks: Networks, plugged: list[Port], bridge: str, tag: int, address: str) -> None:
        """``plugged`` is the growing list of all ports; ``address`` is asked for five times a second, in VLAN ``tag``."""
        self.sent, self.heard = networks.capture(bridge, 65536), networks.deliveries(bridge, 65536)
        self._networks, self._plugged, self._before, self._bridge = networks, plugged, len(plugged), bridge
        self._port = networks.port(NAME, Nic(0, MAC.hex(":"), bridge, tag))
        self._cable = socket.socket(fileno=socket.dup(self._port.descriptor))
        self._question = _who_has(socket.inet_aton(address))
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Watch:
        self._asking.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._asking.join()
        self._networks.unplug(self._port)
        self._cable.close()

    def ports(self, machine: str) -> list[Port]:
        """The ports of a machine that were plugged in since the watch began, with their counters."""
        return [port for port in self._plugged[self._before :] if port.machine == machine]

    def leaks(self, copy: str) -> list[str]:
        """Everything that speaks against the copy's isolation; empty when it was isolated. Ports count, never addresses."""
        found = [f"{copy} is plugged into {self._bridge}" for port in self.ports(copy) if port.bridge == self._bridge]
        if sent := [frame for frame in self.sent if frame.machine == copy]:
            found.append(f"{copy} sent {len(sent)} frames into {self._bridge}")
        if heard := {str(frame.to) for frame in self.heard if frame.machine == copy}:
            found.append(f"frames of {copy} reached {', '.join(sorted(heard))}")
        for address, owners in _owners(self.sent).items():
            if len(owners) > 1:
                found.append(f"{address} is claimed by {' and '.join(sorted(owners))}")
        return found

    def _ask(self) -> None:
        self._cable.setblocking(False)
        while not self._over.wait(0.2):
            try:
                while self._cable.recv(65536):
                    pass
            except BlockingIOError:
                self._cable.send(self._question)


def _who_has(address: bytes) -> bytes:
    """An ARP request for an IPv4 address."""
    return BROADCAST + MAC + ARP + bytes.fromhex("0001080006040001") + MAC + ADDRESS + bytes(6) + address


def _owners(frames: Any) -> dict[str, set[str]]:
    """Given frames, return which ports claimed each IPv4 address in an ARP packet."""
    owners: dict[str, set[str]] = defaultdict(set)
    for frame in list[Frame](frames):
        if frame.data[12:14] == ARP and (claimed := frame.data[28:32]) != bytes(4):
            owners[socket.inet_ntoa(claimed)].add(frame.machine)
    return owners
