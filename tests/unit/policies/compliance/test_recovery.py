"""What a human does about a node that does not answer: first look, then quorum, then restore."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import i18n
from policies.compliance.recovery import Remains, recovery_steps
from tests.unit.report.langeo import NIGHTS, archive

HERE, THERE = archive(108, NIGHTS[0], "a"), archive(108, NIGHTS[1], "b")
SHARED = archive(108, NIGHTS[2], "b", storage="nfs", shared=True)


def way(language: str = "en", **changes: Any) -> str:
    usual: dict[str, Any] = {"alive": ("a",), "quorate": True, "restorable": [(108, HERE)]}
    steps = [
        str(i18n.rendered(step, language, "UTC"))
        for step in recovery_steps("b", Remains(**(usual | changes)))
    ]
    assert "b" in steps[0] and "restore" not in steps[0], "a human looks before anything else"
    return " ".join(steps)


def test_the_way_on_names_the_archive_and_the_node_once_the_dead_one_is_seen_to_be_off() -> None:
    said = way()
    assert (
        "`backupsvc restore 108 --node a`" in said
        and HERE.volid in said
        and i18n.moment(HERE.ctime, "UTC", "en") in said
    )
    assert (
        said.index("really off")
        < said.index("/etc/pve/nodes/b/qemu-server/VMID.conf")
        < said.index("backupsvc restore")
    )
    assert "pvecm" not in said and "ha-manager" not in said


def test_quorum_comes_before_any_restore_and_only_where_it_is_lost() -> None:
    said = way(quorate=False, managed=["vm:108"])
    assert (
        said.index("pvecm expected 1")
        < said.index("ha-manager remove vm:108")
        < said.index("backupsvc restore 108")
    )
    assert "pvecm" not in way(quorate=None)
    assert "pvecm" not in way(quorate=False, restorable=[]), "nobody weakens a cluster for nothing"


def test_where_nothing_is_within_reach_nothing_is_restored_and_the_disks_are_kept() -> None:
    said = way(restorable=[], lost=True)
    assert "backupsvc restore" not in said and "keep its disks" in said
    assert "keep its disks" not in way()


def test_where_no_node_answers_there_is_nothing_to_do_but_to_look_and_to_bring_it_back() -> None:
    assert len(recovery_steps("b", Remains((), restorable=[(108, HERE)], lost=True))) == 2


@pytest.mark.parametrize("language", ["en", "fr"])
def test_an_archive_on_a_shared_storage_is_restored_on_a_node_that_lives(language: str) -> None:
    assert "restore 108 --node a" in way(language, restorable=[(108, SHARED)])
    assert "restore 108 --node a" in way(
        language, alive=("z", "a"), restorable=[(108, replace(SHARED, node="a"))]
    )


def test_guests_are_told_of_by_the_node_that_can_read_their_archives() -> None:
    said = way(
        alive=("a", "d"), restorable=[(107, HERE), (108, HERE), (109, archive(109, NIGHTS[0], "d"))]
    )
    assert (
        "`backupsvc restore VMID --node a`" in said and "`backupsvc restore 109 --node d`" in said
    )


def test_a_local_archive_is_restored_on_no_other_node_than_its_own() -> None:
    assert "restore 108 --node b" in way(restorable=[(108, THERE)])
