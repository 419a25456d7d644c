"""The probe: a small guest with SSH on the host's loopback whose other NIC is on the isolated
bridge.

A restored copy keeps its production address; checks reach it through SSH's ``direct-tcpip`` from
here. The SSH side is QEMU's user network with ``restrict=on``: one port in from loopback, nothing
out, so nothing of the host is on the isolated bridge.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pvelab.images import keys
from pvelab.images.build import Images, build_guest_disks
from pvelab.images.site import GuestSeed, Service
from pvelab.vmm.machine import Machine, QemuError
from pvelab.vmm.network import Networks
from pvelab.vmm.spec import Disk, MachineSpec, Nic

ADDRESSES = ("192.168.10.250/24", "192.168.20.250/24", "192.168.30.250/24")
MACS = ("BC:24:11:00:0F:FE", "BC:24:11:00:0F:FD", "BC:24:11:00:0F:FC")
# The address that QEMU's user network forwards to when it is not told another.
USER_NETWORK = "10.0.2.15/24"
TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class ProbeAccess:
    """How to log in to the probe; ``host_key`` is ``ssh-ed25519 AAAA...``."""

    host: str
    port: int
    user: str
    key_file: Path
    host_key: str


class Probe:
    """The probe appliance. Its keys and disk are made once and kept in its folder."""

    def __init__(
        self,
        images: Images,
        folder: Path,
        networks: Networks,
        accelerator: str = "tcg",
        *,
        bridge: str = "vmbr9",
        addresses: tuple[str, ...] = ADDRESSES,
        node: str = "",
        number: int = 0,
    ) -> None:
        """``folder`` holds its keys, disk and sockets; ``addresses`` are its own on ``bridge`` of
        ``node``, untagged.

        ``number`` tells the probes of one lab apart.
        """
        self._images, self._folder, self._networks, self._accelerator = (
            images,
            folder,
            networks,
            accelerator,
        )
        self._bridge, self._addresses, self._node, self._number = bridge, addresses, node, number
        self._port = 0  # of the host, kept over a restart
        self.machine: Machine | None = None

    def start(self) -> ProbeAccess:
        """Start it and return how to log in, once SSH answers. Raise QemuError when it does not
        come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # the same keys at every start: whoever noted the host key still trusts it
        host_key = self._make_once()
        machine, port = self._power_on()
        self.machine = machine
        deadline = time.monotonic() + TIMEOUT_S
        while not answers_ssh("127.0.0.1", port):
            if time.monotonic() > deadline or machine.pid is None:
                self.stop()
                raise QemuError("the probe did not come up", f"read {self._folder}/qemu.log")
            time.sleep(0.2)
        return ProbeAccess("127.0.0.1", port, "root", self._folder / "probe_key", host_key)

    def stop(self) -> None:
        """Switch it off."""
        if self.machine is not None:
            self.machine.stop()
            self.machine = None

    def _power_on(self) -> tuple[Machine, int]:
        """Start the machine with a free port of the host. Another program may take the port first:
        then try the next.
        """
        disk = self._folder / "scsi0.raw"
        seed = _seed(self._addresses)
        nic = Nic(0, MACS[self._number % len(MACS)], self._bridge, node=self._node)
        disks = (Disk("scsi0", disk, disk.stat().st_size),)
        spec = MachineSpec(
            -self._number, seed.name, seed.memory, 1, seed.uuid, (nic,), disks, agent=False
        )
        for port in (*((self._port,) if self._port else ()), *(free_port() for _ in range(3))):
            # bound to loopback: nobody but this machine reaches the isolated bridge by it
            user = f"user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
            extra = ("-netdev", user, "-device", "virtio-net-pci,netdev=user,romfile=")
            machine = Machine(spec, self._folder, self._networks, self._accelerator, extra)
            try:
                machine.start()
            except QemuError as error:
                failure = error
            else:
                self._port = port
                return machine, port
        raise failure

    def _make_once(self) -> str:
        """Make keys and disk unless they are there; return the host key. The disk comes last: it
        says that all is there.
        """
        public = self._folder / "host_key.pub"
        if not (self._folder / "scsi0.raw").exists():
            login, host = keys.generate(), keys.generate()
            key_file = self._folder / "probe_key"
            key_file.touch(mode=0o600)
            key_file.write_bytes(login.private)
            public.write_text(host.public)
            net = (
                "".join(f"eth0 {address}\n" for address in self._addresses)
                + f"eth1 {USER_NETWORK}\n"
            )
            extra = {
                "net": net.encode(),
                "ssh/host_key": host.dropbear,
                "ssh/authorized_keys": login.public.encode() + b"\n",
            }
            fresh = build_guest_disks(
                self._images, _seed(self._addresses), self._folder / "new", extra=extra
            )
            fresh["scsi0"].replace(self._folder / "scsi0.raw")
        return public.read_text()


def _seed(addresses: tuple[str, ...]) -> GuestSeed:
    return GuestSeed(0, "probe", (), 128, services=(Service("ssh", 22),), agent=False)


def free_port() -> int:
    """Return a loopback port that is free at this moment; another program may take it in the
    next.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


def answers_ssh(host: str, port: int, timeout: float = 2.0) -> bool:
    """Given a host and port, return whether an SSH server greets there within ``timeout``
    seconds.
    """
    try:
        with socket.create_connection((host, port), timeout) as channel:
            # QEMU accepts on that port before the guest has a server: only a greeting counts
            return channel.recv(4) == b"SSH-"
    except OSError:
        return False
