"""The guests' configuration files: PVE's text form, kept under ``etc/pve/nodes/<node>/qemu-server``
(``lxc``) as PVE keeps them.

The files are the state: a lab that was killed reads them again. Comment lines at the top are the
description, percent-encoded line by line; sections in brackets (snapshots, pending changes) are
kept apart and never mixed with the current values.
"""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pvelab.errors import LabError

# what PVE leaves as it is in a line of a description: all but control characters, %, : and what is
# not ASCII
_PLAIN = " !\"#$&'()*+,-./;<=>?@[\\]^_`{|}~"
_FOLDERS = {"qemu": "qemu-server", "lxc": "lxc"}


@dataclass
class VmConfig:
    """One guest: where it lives and its current values, in file order. ``sections`` holds what
    stands in brackets, as text.

    ``type`` is ``qemu`` or ``lxc``; VMs and containers share the VMIDs.
    """

    vmid: int
    node: str
    config: dict[str, str] = field(default_factory=dict)
    sections: str = ""
    type: str = "qemu"

    @property
    def word(self) -> str:
        """What PVE's messages call it: ``VM`` or ``CT``."""
        return "CT" if self.type == "lxc" else "VM"

    def text(self) -> str:
        """Return the file's text."""
        return dump(self.config) + self.sections

    @property
    def digest(self) -> str:
        """SHA-1 of the file's text, which is what PVE's ``digest`` parameter compares."""
        return hashlib.sha1(self.text().encode(), usedforsecurity=False).hexdigest()


def dump(config: dict[str, str]) -> str:
    """Given current values, return PVE's text: the description as comment lines, then ``key:
    value`` lines.
    """
    description = config.get("description", "")
    lines = [
        f"#{urllib.parse.quote(line, safe=_PLAIN)}"
        for line in (description.split("\n") if description else ())
    ]
    lines += [
        f"{key}: {value}" for key, value in config.items() if key not in ("description", "digest")
    ]
    return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> tuple[dict[str, str], str]:
    """Given a configuration file's text, return its current values and the rest from the first
    bracketed section on.
    """
    config: dict[str, str] = {}
    comments: list[str] = []
    current, bracket, rest = (
        text.partition("\n[") if not text.startswith("[") else ("", "[", text[1:])
    )
    for line in current.splitlines():
        if line.startswith("#"):
            comments.append(urllib.parse.unquote(line[1:]))
        elif ":" in line:
            key, _, value = line.partition(":")
            config[key.strip()] = value.strip()
    if comments:
        config = {"description": "\n".join(comments), **config}
    return config, bracket.lstrip("\n") + rest


class GuestTable:
    """All guests of the cluster, by VMID, safe to use from several threads."""

    def __init__(self, etc: Path) -> None:
        self._nodes = etc / "nodes"
        self._guests: dict[int, VmConfig] = {}
        # in VMID order, None for all; forgotten when a guest moves
        self._by_node: dict[str | None, list[VmConfig]] | None = None
        self._mutex = threading.RLock()
        self.quorate: Callable[[], bool] = lambda: True
        self._flocks: dict[int, threading.RLock] = {}
        for type, folder in _FOLDERS.items():
            for path in sorted(self._nodes.glob(f"*/{folder}/*.conf")):
                config, sections = parse(path.read_text())
                self._guests[int(path.stem)] = VmConfig(
                    int(path.stem), path.parent.parent.name, config, sections, type
                )

    def path(self, vm: VmConfig) -> Path:
        """Return the guest's configuration file."""
        return self._nodes / vm.node / _FOLDERS[vm.type] / f"{vm.vmid}.conf"

    def get(self, vmid: int) -> VmConfig | None:
        """Return the guest, or None when the VMID is free."""
        with self._mutex:
            return self._guests.get(vmid)

    def need(self, node: str, vmid: int, type: str = "qemu") -> VmConfig:
        """Return the guest of that type that must live on ``node``. Raise LabError 500 with PVE's
        text if it does not.
        """
        vm = self.get(vmid)
        if vm is None or vm.node != node or vm.type != type:
            raise LabError(
                500,
                f"Configuration file 'nodes/{node}/{_FOLDERS[type]}/{vmid}.conf' does not exist",
            )
        return vm

    def all(self, node: str | None = None, type: str | None = "qemu") -> list[VmConfig]:
        """Return the VMs (of one node), in VMID order; ``type`` ``lxc`` for the containers, None
        for both.
        """
        with self._mutex:
            if self._by_node is None:
                self._by_node = {None: sorted(self._guests.values(), key=lambda vm: vm.vmid)}
                for vm in self._by_node[None]:
                    self._by_node.setdefault(vm.node, []).append(vm)
            guests = self._by_node.get(node, [])
        return [vm for vm in guests if type in (None, vm.type)]

    def create(self, node: str, vmid: int, config: dict[str, str], type: str = "qemu") -> VmConfig:
        """Reserve a VMID with a first configuration. Raise LabError 500 with PVE's text if it is
        taken.
        """
        with self._mutex:
            if vmid in self._guests:
                other = self._guests[vmid]
                raise LabError(
                    500,
                    f"unable to create VM {vmid} - {other.word} {vmid} already exists on node "
                    f"'{other.node}'",
                )
            vm = VmConfig(vmid, node, dict(config), type=type)
            self.check_writable(vm)
            self._guests[vmid], self._by_node = vm, None
            self._write(vm)
            return vm

    def save(self, vm: VmConfig) -> None:
        """Write the guest's file after its ``config`` was changed."""
        with self._mutex:
            self._write(vm)

    def remove(self, vmid: int) -> None:
        """Forget a guest and its file."""
        with self._mutex:
            vm, self._by_node = self._guests.pop(vmid, None), None
            if vm:
                self.path(vm).unlink(missing_ok=True)

    def move(self, vmid: int, node: str) -> None:
        """Let a guest's configuration live on another node, as HA recovery and migration do."""
        with self._mutex:
            vm = self._guests[vmid]
            self.path(vm).unlink(missing_ok=True)
            vm.node, self._by_node = node, None
            self._write(vm)

    def check_writable(self, vm: VmConfig) -> None:
        """Raise LabError 500 without quorum: the cluster file system is read-only then (pve-facts
        9.3).
        """
        if not self.quorate():
            path = f"/etc/pve/nodes/{vm.node}/{_FOLDERS[vm.type]}/{vm.vmid}.conf.tmp.{os.getpid()}"
            raise LabError(500, f"unable to open file '{path}' - Permission denied")

    @contextmanager
    def lock(self, vmid: int, timeout: float = 10) -> Iterator[None]:
        """Hold the guest's file lock (PVE: /var/lock/qemu-server). Raise LabError 500 in PVE's
        words when time is up.
        """
        with self._mutex:
            flock = self._flocks.setdefault(vmid, threading.RLock())
        if not flock.acquire(timeout=timeout):
            vm = self.get(vmid)
            lxc = vm is not None and vm.type == "lxc"
            file = (
                f"/run/lock/lxc/pve-config-{vmid}.lock"
                if lxc
                else f"/var/lock/qemu-server/lock-{vmid}.conf"
            )
            raise LabError(500, f"can't lock file '{file}' - got timeout")
        try:
            yield
        finally:
            flock.release()

    def _write(self, vm: VmConfig) -> None:
        path = self.path(vm)
        path.parent.mkdir(parents=True, exist_ok=True)
        # whole or not at all: a lab that was killed is opened again from its files
        fresh = path.with_suffix(".tmp")
        fresh.write_text(vm.text())
        fresh.replace(path)
