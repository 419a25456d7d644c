"""A node's links as its kernel has them: which interfaces a bridge joins at this moment, whatever
any file says.

The nodes' SSH endpoints ask for it through a unix socket in the lab's run directory: a request is a
line ``NODE BRIDGE``, the answer what ``ip -j link show master BRIDGE`` prints, nothing if there is
no such bridge. The probe is no guest of any node, and has no link there.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pvelab.errors import UsageError
from pvelab.faults.model import Value
from pvelab.guests.devices import NET
from pvelab.kernel import Lab

_FOREIGN = "foreign-leg"


class LinkServer:
    """Answers from its making on until ``close``."""

    def __init__(self, lab: Lab, path: Path) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                node, bridge = self.rfile.readline().decode().split()
                if any(known.name == bridge for known in lab.bridges):
                    self.wfile.write(json.dumps(rows(lab, node, bridge)).encode())

        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="links", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def rows(lab: Lab, node: str, bridge: str) -> list[dict[str, Any]]:
    """Return what ``ip -j link show master BRIDGE`` tells on a node."""
    flags = ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]
    same = {
        "flags": flags,
        "mtu": 1500,
        "qdisc": "noqueue",
        "master": bridge,
        "operstate": "UP",
        "link_type": "ether",
    }
    return [
        {"ifindex": 10 + number, "ifname": name, **same}
        for number, name in enumerate(ports(lab, node, bridge))
    ]


def ports(lab: Lab, node: str, bridge: str) -> list[str]:
    """Return the interfaces that a node's bridge joins now: its own, those that a fault gave it,
    and those of running guests.
    """
    own = [port for known in lab.bridges if known.name == bridge for port in known.ports]
    guests = []
    for vm in lab.guests.all(node, None):
        machine = lab.machines.get(vm.vmid)
        if machine is None or lab.machine_status(vm.vmid) == "stopped":
            continue
        if vm.type == "lxc":
            guests += [
                f"veth{vm.vmid}i{key.removeprefix('net')}"
                for key, value in vm.config.items()
                if NET.fullmatch(key) and f"bridge={bridge}" in value.split(",")
            ]
            continue
        # a VM keeps the NICs that it was started with, whatever its configuration says by now
        for nic in machine.spec.nics:
            if nic.bridge == bridge:
                # with a firewall the tap is in a bridge of its own, and the link to that is here
                walled = "firewall=1" in vm.config.get(f"net{nic.index}", "").split(",")
                guests += [f"fwpr{vm.vmid}p{nic.index}" if walled else f"tap{vm.vmid}i{nic.index}"]
    return [*own, *fault_values(lab, node, bridge, "port"), *sorted(guests)]


# --- the fault "bridge" ---------------------------------------------------------------------------


def fault_values(lab: Lab, node: str, bridge: str, what: str) -> list[str]:
    """Return what faults have given to a bridge of a node: its ``port`` or its ``address``."""
    found = (fault for fault in lab.faults.all() if fault.kind == "bridge" and fault["do"] == what)
    return [
        str(fault["value"]) for fault in found if (fault["node"], fault["bridge"]) == (node, bridge)
    ]


def join(lab: Lab, options: Mapping[str, Value]) -> None:
    """Make the foreign guest of a fault, switched off, with one NIC on the bridge. Raise UsageError
    if that cannot be.
    """
    node, bridge, value = str(options["node"]), str(options["bridge"]), str(options["value"])
    if not any(known.name == bridge for known in lab.bridges):
        raise UsageError(
            f"{node} has no bridge {bridge}",
            f"one of {', '.join(known.name for known in lab.bridges)}",
        )
    if options["do"] != "guest":
        return
    if not value.isdigit() or not 100 <= int(value) <= 999_999_999:
        raise UsageError(f"{value} is no VMID", "as in `lab fault bridge clovis guest 7000`")
    if lab.guests.get(int(value)) is not None:
        raise UsageError(f"VMID {value} is in use", "name one that is free")
    config = {
        "name": _FOREIGN,
        "memory": "128",
        "net0": f"virtio=BC:24:11:0F:0F:0F,bridge={bridge}",
    }
    lab.guests.create(node, int(value), config)


def part(lab: Lab, options: Mapping[str, Value]) -> None:
    """Take the foreign guest of a fault away again."""
    vm = lab.guests.get(int(str(options["value"]))) if options["do"] == "guest" else None
    if vm is not None and vm.config.get("name") == _FOREIGN:
        lab.guests.remove(vm.vmid)
