"""Layer-2 segments between the lab's machines: one learning switch in this process.

A port is one end of a pair of datagram sockets whose other end a QEMU process holds (``-netdev
dgram``): one datagram, one Ethernet frame. Nothing crosses from one segment (bridge, VLAN) to
another, and no interface of the host is in any of them. A
bridge without ports ends at its node, as on a real one: bridges of one name on two nodes are two
segments then.

Every bridge is VLAN-aware, and a port is what PVE makes of the NIC (PVE::Network tap_plug, Linux'
bridge(8)): with ``tag=N`` an access port of VLAN N; without a tag a trunk of all VLANs, or of those
that ``trunks=`` names, whose own untagged frames are VLAN
1. An access port hears its VLAN without headers and refuses a header of any other VLAN; a trunk
hears every VLAN but the first with an 802.1Q header.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pvelab.vmm.spec import Nic

Segment = tuple[str, int | None]

# Frames that wait for a machine that does not read; more are dropped, as a real switch would.
QUEUE = 512
# Frames taken from one port before the others have their turn.
BURST = 64
LARGEST_FRAME = 65536
# 802.1Q. A header of 802.1ad (0x88A8) means nothing to such a bridge: it is a payload like any
# other.
VLAN_TYPE = b"\x81\x00"
VLAN_BITS, LAST_VLAN = 0x0FFF, 4094


@dataclass(slots=True)
class Counters:
    """Frames that a port received from its machine and sent to it, dropped on the way out, refused
    on the way in.
    """

    received: int = 0
    sent: int = 0
    dropped: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame, without its VLAN header: when (epoch seconds), from which machine and
    NIC, in which segment.

    ``to`` is the machine that it is handed to, None in a capture of what machines sent.
    """

    at: float
    machine: str
    nic: int
    segment: Segment
    data: bytes
    to: str | None = None
    node: str = ""

    @property
    def source(self) -> str:
        """Source MAC in PVE's way of writing."""
        return self.data[6:12].hex(":").upper()


@dataclass(eq=False, slots=True)
class Port:
    """The switch's end of a cable, and what its other end's QEMU is started with. ``tag`` and
    ``trunks`` as a Nic's.
    """

    machine: str
    nic: int
    bridge: str
    tag: int | None
    trunks: frozenset[int] | None
    end: socket.socket
    machine_end: socket.socket
    up: bool
    counters: Counters = field(default_factory=Counters)
    waiting: deque[bytes] = field(default_factory=deque)
    node: str = ""

    @property
    def segment(self) -> Segment:
        """Where its untagged frames belong. VLAN 1 is written as None: it is where untagged frames
        of a trunk go.
        """
        return self.bridge, None if self.tag == 1 else self.tag

    def enters(self, frame: bytes) -> tuple[int | None, bytes, int] | None:
        """Given a frame from the machine, return its VLAN (None: 1), the frame without header, and
        its priority bits.

        None for a frame that the port refuses: cut short, or of a VLAN that the port is not in.
        """
        if frame[12:14] != VLAN_TYPE:
            return (self.segment[1], frame, 0) if len(frame) >= 14 else None
        if len(frame) < 18:
            return None
        control = int.from_bytes(frame[14:16], "big")
        vlan, bare = control & VLAN_BITS, frame[:12] + frame[16:]
        # 0 says a priority only
        vlan = vlan or self.tag or 1
        if not self._carries(vlan):
            return None
        return None if vlan == 1 else vlan, bare, control & ~VLAN_BITS

    def leaves(self, vlan: int | None, frame: bytes, priority: int) -> bytes | None:
        """Given a frame of the bridge, return what the machine hears of it: None when the port is
        not in that VLAN.
        """
        if vlan == self.segment[1]:
            return frame
        if not self._carries(vlan or 1):
            return None
        return frame[:12] + VLAN_TYPE + (priority | (vlan or 1)).to_bytes(2, "big") + frame[12:]

    def _carries(self, vlan: int) -> bool:
        """Say whether frames of a VLAN pass here, with a header or without."""
        if vlan == (self.tag or 1):
            return True
        return vlan <= LAST_VLAN and (
            self.tag is None if self.trunks is None else vlan in self.trunks
        )

    @property
    def descriptor(self) -> int:
        """The descriptor that QEMU inherits."""
        return self.machine_end.fileno()

    @property
    def arguments(self) -> list[str]:
        """QEMU's arguments for the host side of the NIC, with id ``netN``."""
        return ["-netdev", f"dgram,id=net{self.nic},local.type=fd,local.str={self.descriptor}"]


class Networks:
    """All segments of a lab. Its methods may be called from any thread; they return when the change
    is in force.
    """

    def __init__(self) -> None:
        self._ports: dict[tuple[str, int], Port] = {}
        self._learned: dict[tuple[str, Segment], dict[bytes, Port]] = {}
        self._captures: list[tuple[str, deque[Frame]]] = []
        self._deliveries: list[tuple[str, deque[Frame]]] = []
        self._selector = selectors.DefaultSelector()
        self._asked: deque[Callable[[], None]] = deque()
        # rung to wake the switch's thread when a change is asked for
        self._bell, self._clapper = socket.socketpair()
        self._selector.register(self._clapper, selectors.EVENT_READ, None)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="lab-switch", daemon=True)
        self._thread.start()

    def port(self, machine: str, nic: Nic) -> Port:
        """Given a machine's name and one of its NICs, plug it in and return the port. An older port
        of that NIC is unplugged.
        """
        # datagrams, so that a frame stays a frame
        end, machine_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.setblocking(False)
        port = Port(
            machine,
            nic.index,
            nic.bridge,
            nic.tag,
            nic.trunks,
            end,
            machine_end,
            nic.link_up,
            node=nic.node,
        )
        self._ask(lambda: self._plug(port))
        return port

    def unplug(self, port: Port) -> None:
        """Take a port out, for ever; one that is out already stays so."""
        if self._open:
            self._ask(lambda: self._unplug(port))

    def set_link(self, port: Port, up: bool) -> None:
        """Connect or cut a port."""
        self._ask(lambda: self._set_link(port, up))

    def close(self) -> None:
        """Unplug everything and stop the switch."""
        if not self._open:
            return
        self._ask(self._end)
        self._thread.join()
        self._selector.close()
        self._bell.close()
        self._clapper.close()

    def counters(self, machine: str) -> dict[int, Counters]:
        """Given a machine, return the counters of its NICs by index."""
        return {
            port.nic: port.counters
            for port in list(self._ports.values())
            if port.machine == machine
        }

    def capture(self, bridge: str, frames: int = 4096) -> deque[Frame]:
        """Given a bridge, return a ring that from now on holds the last frames that machines sent
        into any of its segments.
        """
        ring: deque[Frame] = deque(maxlen=frames)
        self._ask(lambda: self._captures.append((bridge, ring)))
        return ring

    def deliveries(self, bridge: str, frames: int = 4096) -> deque[Frame]:
        """Given a bridge, return a ring that from now on holds the last frames that its ports
        handed to their machines.

        A frame stands there once for every port that got it, with the machine and the segment that
        it really came from.
        """
        ring: deque[Frame] = deque(maxlen=frames)
        self._ask(lambda: self._deliveries.append((bridge, ring)))
        return ring

    # --- below: only in the switch's thread -------------------------------------------------------

    def _ask(self, change: Callable[[], object]) -> None:
        """Have the switch's thread make a change, and wait until it is made."""
        if not self._open:
            raise RuntimeError("the lab's switch is closed")
        done: Future[None] = Future()

        def make() -> None:
            try:
                change()
            except (OSError, ValueError, KeyError) as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._asked.append(make)
        self._bell.send(b"!")
        done.result(timeout=30)

    def _run(self) -> None:
        while self._open:
            for key, events in self._selector.select():
                if key.data is None:
                    self._clapper.recv(256)
                    while self._asked:
                        self._asked.popleft()()
                    # What was selected before a change may be gone after it.
                    break
                if events & selectors.EVENT_WRITE:
                    self._drain(key.data)
                if events & selectors.EVENT_READ:
                    self._receive(key.data)

    def _plug(self, port: Port) -> None:
        if older := self._ports.get((port.machine, port.nic)):
            self._unplug(older)
        self._ports[port.machine, port.nic] = port
        self._selector.register(port.end, selectors.EVENT_READ, port)

    def _end(self) -> None:
        self._open = False
        for port in list(self._ports.values()):
            self._unplug(port)

    def _unplug(self, port: Port) -> None:
        self._forget(port)
        if self._ports.get((port.machine, port.nic)) is port:
            del self._ports[port.machine, port.nic]
        with suppress(KeyError, ValueError):
            self._selector.unregister(port.end)
        port.end.close()
        port.machine_end.close()

    def _set_link(self, port: Port, up: bool) -> None:
        port.up = up
        self._forget(port)

    def _forget(self, port: Port) -> None:
        """Forget the addresses learned at the port, and what waits for it."""
        port.waiting.clear()
        for table in self._learned.values():
            for address in [address for address, at in table.items() if at is port]:
                del table[address]

    def _receive(self, port: Port) -> None:
        # no more at a time, so that one that floods does not keep the others waiting
        for _ in range(BURST):
            try:
                frame = port.end.recv(LARGEST_FRAME)
            except BlockingIOError:
                return
            except OSError:
                self._unplug(port)
                return
            self._forward(port, frame)

    def _forward(self, port: Port, sent: bytes) -> None:
        """Learn where the frame came from and send it on: to the port of its destination, or to all
        others of its VLAN.
        """
        entered = port.enters(sent) if port.up else None
        if entered is None:
            port.counters.refused += 1
            return
        vlan, bare, priority = entered
        port.counters.received += 1
        frame = Frame(
            time.time(), port.machine, port.nic, (port.bridge, vlan), bare, node=port.node
        )
        _record(self._captures, port.bridge, frame)
        table = self._learned.setdefault((port.node, frame.segment), {})
        target, source = bare[:6], bare[6:12]
        # the address of a group is nobody's own, whoever sends from it
        if not source[0] & 1:
            table[source] = port
        known = table.get(target)
        for other in list(self._ports.values()) if known is None else [known]:
            joined = other is not port and (other.bridge, other.node) == (port.bridge, port.node)
            if not joined or (out := other.leaves(vlan, bare, priority)) is None:
                continue
            # a machine that does not read loses its own frames and holds nobody else up
            if not other.up or len(other.waiting) >= QUEUE:
                other.counters.dropped += 1
                continue
            if self._deliveries:
                _record(self._deliveries, other.bridge, replace(frame, to=other.machine))
            other.waiting.append(out)
            if len(other.waiting) == 1:
                self._drain(other)

    def _drain(self, port: Port) -> None:
        """Send what waits. When the machine does not read fast enough, come back when it does."""
        while port.waiting:
            try:
                port.end.send(port.waiting[0])
            except BlockingIOError:
                break
            except OSError:
                # Nobody holds the other end: the machine is gone and will be unplugged by whoever
                # started it.
                port.counters.dropped += len(port.waiting)
                port.waiting.clear()
                break
            port.waiting.popleft()
            port.counters.sent += 1
        self._selector.modify(
            port.end, selectors.EVENT_READ | (selectors.EVENT_WRITE if port.waiting else 0), port
        )


def _record(rings: list[tuple[str, deque[Frame]]], bridge: str, frame: Frame) -> None:
    for watched, ring in rings:
        if watched == bridge:
            ring.append(frame)
