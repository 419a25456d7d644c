"""Commands that a person copies at 3 a.m. are whole, and words that confirm nothing are not taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import reach, restore_guard
from policies.model import GuestType
from policies.recover import by_hand
from policies.restore_guard import Confirmation

VM, CT = GuestType.QEMU, GuestType.LXC


@pytest.mark.parametrize("words", ["clovis is off", " Clovis  IS off\n", "CLOVIS IS OFF"])
def test_the_words_say_that_the_node_is_off(words: str) -> None:
    assert by_hand.confirms(words, by_hand.off("clovis"))


@pytest.mark.parametrize("words", ["", "y", "yes", "clovis is offline", "lge-pve02 is off", "off"])
def test_other_words_do_not(words: str) -> None:
    assert not by_hand.confirms(words, by_hand.off("clovis"))


def test_configurations_are_moved_by_one_command_a_folder() -> None:
    assert by_hand.free("clovis", [(108, VM)]) == (
        "mv /etc/pve/nodes/clovis/qemu-server/108.conf /root/",
    )
    assert by_hand.free("clovis", [(108, VM), (200, CT), (100, VM)]) == (
        "mv /etc/pve/nodes/clovis/qemu-server/{100,108}.conf /root/",
        "mv /etc/pve/nodes/clovis/lxc/200.conf /root/",
    )
    assert by_hand.free("clovis", []) == ()


def test_ha_lets_go_of_what_is_to_be_restored() -> None:
    assert by_hand.unmanage([(108, VM), (200, CT)]) == (
        "ha-manager remove vm:108",
        "ha-manager remove ct:200",
    )


def test_what_is_left_of_a_guest_without_its_disks_is_stopped_and_moved_away() -> None:
    assert by_hand.confirms("local-lvm IS lost", by_hand.gone("local-lvm"))
    assert not by_hand.confirms("clovis is off", by_hand.gone("clovis"))
    assert by_hand.stop([(200, CT), (108, VM)]) == ("qm stop 108", "pct stop 200")


def test_what_ha_gave_up_has_two_ways_and_neither_overwrites_it() -> None:
    told = by_hand.out_of_error(108, VM, "clovis", "lge-pve02")
    assert [line for line in told if line[0] != "#"] == [
        "ha-manager set vm:108 --state disabled",
        "ha-manager set vm:108 --state started",
        "ha-manager remove vm:108",
        "mv /etc/pve/nodes/lge-pve02/qemu-server/108.conf /root/",
        "backupsvc restore 108 --node lge-pve02",
    ]
    # this service restores VMs alone
    assert by_hand.out_of_error(200, CT, "clovis", "lge-pve02")[-1].startswith("# then pct restore")


def test_a_container_whose_disks_are_there_is_moved_and_started() -> None:
    assert by_hand.move_and_start(200, CT, "clovis", "lge-pve02") == (
        "mv /etc/pve/nodes/clovis/lxc/200.conf /etc/pve/nodes/lge-pve02/lxc/",
        "pct start 200",
    )


def test_that_the_node_is_off_sets_aside_what_its_silence_leaves_open_and_nothing_else() -> None:
    given = Confirmation("alice", 1, "clovis is off")
    down = {"clovis": reach.OFFLINE, "pve3": reach.UNKNOWN}
    found = restore_guard.doubts(108, down, ())
    mine = by_hand.set_aside(given, "clovis", found)
    assert mine == replace(given, doubts=found[:1])
    assert restore_guard.unconfirmed(found, mine) == found[1:]
    assert (
        restore_guard.unconfirmed(restore_guard.doubts(108, {"clovis": "offline"}, ()), mine) == ()
    )
