"""The layer-2 switch, frame by frame, with socket pairs in place of QEMU."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupsvc.clock import SystemClock, polls
from pvelab.vmm.network import QUEUE, Networks, Port
from pvelab.vmm.spec import Nic
from tests.waiting import HANGS

BROADCAST = b"\xff" * 6
IPV4, VLAN = b"\x08\x00", b"\x81\x00"


def mac(number: int) -> bytes:
    return b"\xbc\x24\x11\x00\x00" + bytes([number])


def frame(to: bytes, source: bytes, body: bytes = b"hello", kind: bytes = IPV4) -> bytes:
    return to + source + kind + body


class Station:
    """A machine's end of a cable, with its own descriptor, as a QEMU process has."""

    def __init__(
        self,
        networks: Networks,
        name: str,
        bridge: str = "vmbr0",
        tag: int | None = None,
        up: bool = True,
        trunks: frozenset[int] | None = None,
        node: str = "",
    ) -> None:
        self.mac = mac(int(name))
        self.port: Port = networks.port(
            name, Nic(0, self.mac.hex(":"), bridge, tag, up, trunks, node)
        )
        self.socket = socket.socket(fileno=socket.dup(self.port.descriptor))

    def send(self, to: bytes, body: bytes = b"hello", kind: bytes = IPV4) -> None:
        self.socket.send(frame(to, self.mac, body, kind))

    def heard(self, timeout: float = HANGS) -> bytes | None:
        """The body of the next frame, or None when none comes."""
        whole = self.heard_whole(timeout)
        return None if whole is None else whole[14:]

    def heard_whole(self, timeout: float = HANGS) -> bytes | None:
        """The next frame, or None when none comes."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            return None

    def hears_nothing(self) -> bool:
        return self.heard(0.1) is None


@pytest.fixture
def networks() -> Iterator[Networks]:
    switch = Networks()
    yield switch
    switch.close()


def test_a_broadcast_reaches_every_other_port_of_its_segment_and_not_its_sender(
    networks: Networks,
) -> None:
    one, two, three = (Station(networks, name) for name in "123")
    one.send(BROADCAST)
    assert two.heard() == three.heard() == b"hello"
    assert one.hears_nothing()


def test_a_frame_to_a_learned_address_reaches_that_port_only(networks: Networks) -> None:
    one, two, three = (Station(networks, name) for name in "123")
    two.send(BROADCAST)
    assert one.heard() == three.heard() == b"hello"
    one.send(two.mac, b"for two")
    assert two.heard() == b"for two"
    assert three.hears_nothing()


def test_a_frame_to_an_unknown_address_is_flooded(networks: Networks) -> None:
    one, two, three = (Station(networks, name) for name in "123")
    one.send(mac(99))
    assert two.heard() == three.heard() == b"hello"


@pytest.mark.parametrize(
    ("bridge", "tag"), [("vmbr9", 10), ("vmbr9", None), ("vmbr0", 20), ("vmbr0", 1)]
)
def test_nothing_crosses_to_another_bridge_or_vlan(
    networks: Networks, bridge: str, tag: int | None
) -> None:
    inside, other = Station(networks, "1", "vmbr0", 10), Station(networks, "2", bridge, tag)
    for station, peer in ((inside, other), (other, inside)):
        station.send(BROADCAST)
        station.send(peer.mac)
    assert other.hears_nothing()
    assert inside.hears_nothing()


def test_an_address_learned_in_one_vlan_says_nothing_about_another(networks: Networks) -> None:
    one, two = Station(networks, "1", tag=10), Station(networks, "2", tag=10)
    other = Station(networks, "3", tag=20)
    other.socket.send(frame(BROADCAST, two.mac))
    two.send(BROADCAST)
    one.heard()
    one.send(two.mac, b"for two")
    assert two.heard() == b"for two"
    assert other.hears_nothing()


def test_a_trunk_hears_every_vlan_with_its_header_and_the_first_without(networks: Networks) -> None:
    trunk, ten, one = (
        Station(networks, "1"),
        Station(networks, "2", tag=10),
        Station(networks, "3", tag=1),
    )
    ten.send(BROADCAST)
    one.send(BROADCAST)
    assert trunk.heard_whole() == frame(BROADCAST, ten.mac, b"\x00\x0a" + IPV4 + b"hello", VLAN)
    assert trunk.heard_whole() == frame(BROADCAST, one.mac)


def test_a_header_that_a_trunk_sends_decides_who_hears_it(networks: Networks) -> None:
    trunk, ten, twenty, other = (
        Station(networks, "1"),
        *(Station(networks, str(n), tag=n) for n in (10, 20)),
        Station(networks, "2"),
    )
    trunk.send(BROADCAST, b"\x00\x0a" + IPV4 + b"for ten", VLAN)
    assert ten.heard_whole() == frame(BROADCAST, trunk.mac, b"for ten")
    assert other.heard_whole() == frame(BROADCAST, trunk.mac, b"\x00\x0a" + IPV4 + b"for ten", VLAN)
    assert twenty.hears_nothing()


@pytest.mark.parametrize("tag", [None, 5])
def test_trunks_name_the_vlans_that_pass_with_a_header_besides_the_ports_own(
    networks: Networks, tag: int | None
) -> None:
    some, everything = (
        Station(networks, "1", tag=tag, trunks=frozenset({10, 11})),
        Station(networks, "2"),
    )
    for vlan in (10, 20, tag or 1):
        everything.send(BROADCAST, vlan.to_bytes(2, "big") + IPV4 + b"down", VLAN)
    assert some.heard_whole() == frame(
        BROADCAST, everything.mac, b"\x00\x0a" + IPV4 + b"down", VLAN
    )
    assert some.heard_whole() == frame(BROADCAST, everything.mac, b"down")
    assert some.hears_nothing()
    for vlan in (11, 20):
        some.send(BROADCAST, vlan.to_bytes(2, "big") + IPV4 + b"up", VLAN)
    assert everything.heard_whole() == frame(BROADCAST, some.mac, b"\x00\x0b" + IPV4 + b"up", VLAN)
    assert everything.hears_nothing()
    assert some.port.counters.refused == 1


def test_the_priority_of_a_frame_passes_from_trunk_to_trunk(networks: Networks) -> None:
    one, two = Station(networks, "1"), Station(networks, "2")
    one.send(BROADCAST, b"\xa0\x0a" + IPV4 + b"urgent", VLAN)
    assert two.heard_whole() == frame(BROADCAST, one.mac, b"\xa0\x0a" + IPV4 + b"urgent", VLAN)


def test_a_header_with_a_priority_only_leaves_a_frame_in_the_vlan_of_its_port(
    networks: Networks,
) -> None:
    one, two, three = (
        Station(networks, "1", tag=10),
        Station(networks, "2", tag=10),
        Station(networks, "3", tag=20),
    )
    one.send(BROADCAST, b"\xa0\x00" + IPV4 + b"urgent", VLAN)
    assert two.heard_whole() == frame(BROADCAST, one.mac, b"urgent")
    assert three.hears_nothing()


@pytest.mark.parametrize(
    "body", [b"\x00\x14" + IPV4 + b"sneaky", b"\x0f\xff" + IPV4 + b"sneaky", b"\x00"]
)
def test_an_access_port_refuses_a_header_of_another_vlan_and_one_cut_short(
    networks: Networks, body: bytes
) -> None:
    inside, peer = Station(networks, "1", tag=10), Station(networks, "2", tag=10)
    others = [Station(networks, "3", tag=20), Station(networks, "4")]
    inside.send(BROADCAST, body, VLAN)
    assert all(station.hears_nothing() for station in (peer, *others))
    assert inside.port.counters.refused == 1


def test_an_access_port_takes_a_header_of_its_own_vlan(networks: Networks) -> None:
    one, two = Station(networks, "1", tag=10), Station(networks, "2", tag=10)
    one.send(BROADCAST, b"\x00\x0a" + IPV4 + b"hello", VLAN)
    assert two.heard_whole() == frame(BROADCAST, one.mac)


def test_a_providers_header_is_a_payload_and_opens_no_other_vlan(networks: Networks) -> None:
    one, two, other = (
        Station(networks, "1", tag=10),
        Station(networks, "2", tag=10),
        Station(networks, "3", tag=20),
    )
    one.send(BROADCAST, b"\x00\x14" + IPV4 + b"x", b"\x88\xa8")
    assert two.heard_whole() == frame(BROADCAST, one.mac, b"\x00\x14" + IPV4 + b"x", b"\x88\xa8")
    assert other.hears_nothing()


def test_what_is_handed_to_a_machine_is_recorded_with_who_it_really_came_from(
    networks: Networks,
) -> None:
    ring = networks.deliveries("vmbr0")
    one, two, copy = (
        Station(networks, "1", tag=10),
        Station(networks, "2", tag=10),
        Station(networks, "3", "vmbr9", 10),
    )
    copy.socket.send(frame(BROADCAST, one.mac, b"under another's address"))
    one.send(BROADCAST)
    assert two.heard() == b"hello"
    assert [(seen.machine, seen.to, seen.segment) for seen in ring] == [("1", "2", ("vmbr0", 10))]


def test_a_cut_link_passes_nothing_either_way_and_a_mended_one_does(networks: Networks) -> None:
    one, two = Station(networks, "1"), Station(networks, "2")
    networks.set_link(two.port, False)
    one.send(BROADCAST)
    two.send(BROADCAST)
    assert two.hears_nothing()
    assert one.hears_nothing()
    networks.set_link(two.port, True)
    one.send(BROADCAST)
    assert two.heard() == b"hello"


def test_a_nic_that_starts_with_its_link_down_is_cut_from_its_first_frame(
    networks: Networks,
) -> None:
    one, two = Station(networks, "1"), Station(networks, "2", up=False)
    two.send(BROADCAST)
    assert one.hears_nothing()


def test_an_address_that_moved_is_found_at_its_new_port(networks: Networks) -> None:
    one, two, three = (Station(networks, name) for name in "123")
    two.send(BROADCAST)
    one.heard(), three.heard()
    three.socket.send(frame(BROADCAST, two.mac))
    one.heard(), two.heard()
    one.send(two.mac, b"moved")
    assert three.heard() == b"moved"
    assert two.hears_nothing()


def test_addresses_of_an_unplugged_port_are_forgotten(networks: Networks) -> None:
    one, two, three = (Station(networks, name) for name in "123")
    two.send(BROADCAST)
    one.heard(), three.heard()
    networks.unplug(two.port)
    one.send(two.mac)
    assert three.heard() == b"hello"


def test_plugging_a_nic_in_again_replaces_its_old_cable(networks: Networks) -> None:
    one, old = Station(networks, "1"), Station(networks, "2")
    new = Station(networks, "2")
    one.send(BROADCAST)
    assert new.heard() == b"hello"
    assert old.port.end.fileno() == -1


def test_unplugging_an_old_cable_leaves_the_new_one_of_the_same_nic_alone(
    networks: Networks,
) -> None:
    one, old = Station(networks, "1"), Station(networks, "2")
    new = Station(networks, "2")
    networks.unplug(old.port)
    one.send(BROADCAST)
    assert new.heard() == b"hello"


def test_a_machine_that_does_not_read_loses_frames_and_does_not_stop_the_others(
    networks: Networks,
) -> None:
    one, sleeper, three = (Station(networks, name) for name in "123")
    for number in range(QUEUE + 400):
        one.send(BROADCAST, b"%d" % number)
        assert three.heard() == b"%d" % number
    assert sleeper.port.counters.dropped > 0
    assert sleeper.heard() == b"0"


def test_frames_that_had_to_wait_arrive_in_order(networks: Networks) -> None:
    one, two = Station(networks, "1"), Station(networks, "2")
    for number in range(QUEUE // 2):
        one.send(two.mac, b"%d" % number)
    assert [two.heard() for _ in range(QUEUE // 2)] == [
        b"%d" % number for number in range(QUEUE // 2)
    ]


def test_a_machine_that_is_gone_does_not_stop_the_others(networks: Networks) -> None:
    one, gone, three = (Station(networks, name) for name in "123")
    gone.port.machine_end.close()
    gone.socket.close()
    one.send(BROADCAST)
    one.send(BROADCAST, b"again")
    assert [three.heard(), three.heard()] == [b"hello", b"again"]


def test_a_capture_records_who_sent_what_into_a_bridge_and_only_that(networks: Networks) -> None:
    one, two, other = (
        Station(networks, "1", "vmbr9"),
        Station(networks, "2", "vmbr9"),
        Station(networks, "3", "vmbr0"),
    )
    ring = networks.capture("vmbr9")
    one.send(BROADCAST)
    other.send(BROADCAST)
    assert two.heard() == b"hello"
    assert [(seen.machine, seen.nic, seen.segment, seen.source) for seen in ring] == [
        ("1", 0, ("vmbr9", None), "BC:24:11:00:00:01")
    ]


def test_counters_tell_what_a_machine_sent_and_got(networks: Networks) -> None:
    one, two = Station(networks, "1"), Station(networks, "2")
    one.send(BROADCAST)
    two.heard()
    for _ in polls(SystemClock(), 5, first=0.01):  # the frame is out a moment before it is counted
        counted = (networks.counters("1")[0].received, networks.counters("2")[0].sent)
        if counted == (1, 1):
            break
    assert counted == (1, 1)


def test_the_switch_costs_nothing_while_no_frame_passes(networks: Networks) -> None:
    stations = [Station(networks, name) for name in "12345"]
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05
    assert len(stations) == 5


def test_closing_the_switch_ends_its_thread_and_closes_every_socket() -> None:
    switch = Networks()
    station = Station(switch, "1")
    switch.close()
    switch.close()
    assert station.port.end.fileno() == -1
    assert not any(
        thread.name == "lab-switch" and thread is switch._thread for thread in threading.enumerate()
    )


@settings(max_examples=30, deadline=None)
@given(
    members=st.lists(
        st.tuples(st.sampled_from(["vmbr0", "vmbr9"]), st.sampled_from([1, 10, 20])),
        min_size=2,
        max_size=6,
    ),
    senders=st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_whoever_talks_only_its_own_segment_ever_hears_it(
    members: list[tuple[str, int]], senders: list[int]
) -> None:
    switch = Networks()
    try:
        stations = [Station(switch, str(number), *member) for number, member in enumerate(members)]
        for sender in senders:
            index = sender % len(stations)
            stations[index].send(BROADCAST, b"from %d" % index)
            for number, station in enumerate(stations):
                if number != index and members[number] == members[index]:
                    assert station.heard() == b"from %d" % index
        for station in stations:
            station.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                station.socket.recv(100)
    finally:
        switch.close()


def test_law_2_nothing_crosses_from_a_bridge_without_ports_to_that_of_another_node(
    networks: Networks,
) -> None:
    here, there = (
        Station(networks, "1", "vmbr9", node="clovis"),
        Station(networks, "2", "vmbr9", node="lge-pve02"),
    )
    beside = Station(networks, "3", "vmbr9", node="clovis")
    there.send(BROADCAST)
    here.send(BROADCAST, b"who is here")
    assert beside.heard() == b"who is here"
    here.send(there.mac)
    assert there.hears_nothing()
    # learned on another segment: flooded here, and to nobody there
    assert beside.heard() == b"hello"
