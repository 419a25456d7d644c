"""What could not be listed is out of reach, neither gone nor missing: for sync, restore, restore
test and backup.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import (
    LawRefused,
    OutOfReach,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    PveUnreachable,
)
from backupsvc.inventory import accepting, listing
from backupsvc.operations import build_engine, choosing, identity
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.planning import Wish, look_ahead, plan_restore
from backupsvc.operations.restore_test.opening import open_test
from policies.model import Guest, GuestPolicy, Node, OperationState, SeenStorages, Storage
from tests.fakes.made import archive
from tests.unit.operations.test_choosing import listing as put
from tests.unit.operations.test_choosing import plan
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World, open_job

OLD, NEW = archive(108, 1), archive(108, 2)
ELSEWHERE = replace(archive(108, 1), node="lge-pve02")
BOTH = [Storage("local", name, "dir", frozenset({"backup"})) for name in ("clovis", "lge-pve02")]


def alive(cluster: Any, *held: Any) -> None:
    """Two nodes that answer, and their storages list what there is."""
    cluster.cluster.nodes = lambda max_age=0.0: [Node("clovis", True), Node("lge-pve02", True)]
    cluster.cluster.status = lambda: SimpleNamespace(quorate=True)
    cluster.storage.seen = lambda: SeenStorages(tuple(BOTH))
    cluster.storage.archives = lambda node, storage, vmid=None: [
        one for one in held if one.node == node
    ]


def dead(cluster: Any, *held: Any, quorate: bool | None = False) -> None:
    """Clovis is dead: its storages are not shown, and asking it for anything is a mistake."""
    alive(cluster, *held)
    cluster.cluster.nodes = lambda max_age=0.0: [Node("clovis", False), Node("lge-pve02", True)]
    cluster.cluster.status = lambda: SimpleNamespace(quorate=quorate)
    cluster.storage.seen = lambda: SeenStorages(tuple(BOTH[1:]))

    def only(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        assert node == "lge-pve02", "a dead node is not asked"
        return [one for one in held if one.node == node]

    cluster.storage.archives = only


def known(site: World, *archives: Any) -> None:
    site.catalog.archives.observe(list(archives), scope=[], at=1)
    for one in archives:
        site.catalog.archives.annotate(
            one.node, one.volid, config="#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"
        )


# --- sync -----------------------------------------------------------------------------------------


def test_law_4_nothing_is_gone_with_its_node_and_sync_says_what_was_not_listed(site: World) -> None:
    known(site, OLD, NEW, ELSEWHERE)
    dead(put(site), ELSEWHERE)
    found = accepting.sync(site)
    assert (found.gone, {one.volid for one in found.unreachable}) == ((), {OLD.volid, NEW.volid})
    assert found.blind == (
        "2 known archive(s) on storage local of clovis are out of reach, and not gone: node "
        "clovis is offline",
    )
    assert len(site.catalog.archives.find()) == 3
    alive(site.pve, NEW, ELSEWHERE)
    back = accepting.sync(site)
    assert [one.volid for one in back.gone] == [OLD.volid] and back.blind == ()
    assert len(site.catalog.archives.find()) == 2


def test_a_dry_run_calls_nothing_gone_that_a_sync_would_not(site: World) -> None:
    known(site, OLD, ELSEWHERE)
    dead(put(site))
    found = accepting.sync(site, dry_run=True)
    assert [one.node for one in found.gone] == ["lge-pve02"] and [
        one.node for one in found.unreachable
    ] == ["clovis"]


@pytest.mark.parametrize(
    ("storages", "why"),
    [
        ([replace(BOTH[0], active=False)], "it is not active"),
        ([replace(BOTH[0], active=False, enabled=False)], "it is disabled"),
        ([replace(BOTH[0], content=frozenset({"iso"}))], "it takes no archives any more"),
        ([], "clovis lists no storage local"),
    ],
)
def test_each_storage_says_what_kept_it_from_being_listed(
    site: World, storages: list[Storage], why: str
) -> None:
    known(site, OLD)
    cluster = put(site)
    alive(cluster)
    cluster.storage.seen = lambda: SeenStorages(
        (
            *storages,
            BOTH[1],
        )
    )
    assert [said.rpartition(": ")[2] for said in accepting.sync(site).blind] == [why]


def test_a_storage_that_hangs_hides_no_other_and_loses_nothing(site: World) -> None:
    known(site, OLD, ELSEWHERE)
    cluster = put(site)
    alive(cluster, ELSEWHERE)
    whole: Callable[..., list[Any]] = cluster.storage.archives

    def hangs(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        if node == "clovis":
            raise PveUnreachable("596 Connection timed out")
        return whole(node, storage, vmid)

    cluster.storage.archives = hangs
    found = accepting.sync(site)
    assert found.gone == () and found.archives == 1 and "596" in found.blind[0]
    with pytest.raises(PveUnreachable, match="596"):
        listing.observe(site, 108)
    assert len(site.catalog.archives.find()) == 2


def test_a_dead_node_of_which_nothing_is_known_is_named_all_the_same(site: World) -> None:
    dead(put(site))
    assert "node clovis is offline" in accepting.sync(site).blind[0]


def mute(cluster: Any, *held: Any) -> None:
    """Clovis is online, and does not say which storages it has."""
    alive(cluster, *held)
    cluster.storage.seen = lambda: SeenStorages(
        tuple(BOTH[1:]), {"clovis": "596 Connection timed out"}
    )


def test_law_4_what_lies_on_a_node_that_does_not_say_its_storages_is_out_of_reach_and_said(
    site: World,
) -> None:
    known(site, OLD, ELSEWHERE)
    mute(put(site), ELSEWHERE)
    found = accepting.sync(site)
    assert found.gone == () and [one.node for one in found.unreachable] == ["clovis"]
    assert found.blind[0].endswith(
        "node clovis did not say which storages it has (596 Connection timed out)"
    )
    known(site, NEW)
    with pytest.raises(OutOfReach, match="596 Connection timed out"):
        choosing.choose(site, 108, volid=NEW.volid)


def test_law_4_a_node_that_does_not_say_its_storages_is_named_though_nothing_of_it_is_known(
    site: World,
) -> None:
    mute(put(site))
    (said,) = accepting.sync(site).blind
    assert said.startswith(
        "node clovis did not say which storages it has (596 Connection timed out), so what lies "
        "on its own"
    )


def test_law_4_a_storage_that_cannot_be_listed_is_named_though_nothing_of_it_is_known(
    site: World,
) -> None:
    cluster = put(site)
    alive(cluster)
    cluster.storage.seen = lambda: SeenStorages(
        (*BOTH, Storage("usb", "clovis", "dir", frozenset({"backup"}), active=False))
    )

    def hangs(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        if node == "lge-pve02":
            raise PveUnreachable("596 Connection timed out")
        return []

    cluster.storage.archives = hangs
    assert accepting.sync(site).blind == (
        "what lies on storage usb of clovis was not listed, and no archive there is known: it is "
        "not active",
        "what lies on storage local of lge-pve02 was not listed, and no archive there is known: "
        "596 Connection timed out",
    )


def test_a_shared_storage_that_one_node_cannot_list_is_listed_through_another(site: World) -> None:
    cluster = put(site)
    alive(cluster)
    nas = [
        Storage("nas", node, "nfs", frozenset({"backup"}), shared=True)
        for node in ("clovis", "lge-pve02")
    ]
    cluster.storage.seen = lambda: SeenStorages(tuple(nas))
    there = replace(
        OLD, node="lge-pve02", storage="nas", volid=OLD.volid.replace("local:", "nas:"), shared=True
    )

    def hangs(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        if node == "clovis":
            raise PveUnreachable("596 Connection timed out")
        return [there]

    cluster.storage.archives = hangs
    found = accepting.sync(site)
    assert (found.archives, found.blind) == (1, ())
    cluster.storage.archives = lambda node, storage, vmid=None: []
    assert [one.volid for one in accepting.sync(site).gone] == [there.volid]


def test_a_look_that_remembers_nothing_writes_nothing(site: World) -> None:
    alive(put(site), OLD)
    assert len(listing.survey(site, remember=False).listed) == 1
    assert site.catalog.archives.find() == []


# --- which archive --------------------------------------------------------------------------------


def test_an_archive_out_of_reach_is_no_missing_right_and_the_error_is_that_of_an_outage(
    site: World,
) -> None:
    known(site, OLD, NEW)
    dead(put(site))
    with pytest.raises(OutOfReach, match="not gone") as caught:
        choosing.choose(site, 108)
    assert caught.value.exit_code == 3
    assert NEW.volid in caught.value.message and "node clovis is offline" in caught.value.message
    assert "bring clovis back" in caught.value.hint and "VM.Backup" not in caught.value.hint


def test_an_archive_that_nobody_knows_may_still_be_one_that_the_token_may_not_see(
    site: World,
) -> None:
    alive(put(site))
    with pytest.raises(PveNotFound) as caught:
        choosing.choose(site, 108)
    assert "VM.Backup" in caught.value.hint


@pytest.mark.parametrize(
    ("blind", "said"), [("dead", "node clovis is offline"), ("mute", "596 Connection timed out")]
)
def test_law_4_an_archive_that_nobody_knows_may_lie_where_nothing_could_be_listed(
    site: World, blind: str, said: str
) -> None:
    {"dead": dead, "mute": mute}[blind](put(site))
    for volid in (None, OLD.volid):
        with pytest.raises(
            OutOfReach, match="the storages that could be listed hold no archive"
        ) as caught:
            choosing.choose(site, 108, volid=volid)
        assert said in caught.value.message and caught.value.exit_code == 3
        assert (
            caught.value.hint.startswith("bring that back; ") and "VM.Backup" in caught.value.hint
        )


def test_law_8_with_an_empty_catalog_it_is_said_that_a_newer_archive_may_lie_on_a_dead_node(
    site: World,
) -> None:
    dead(put(site), ELSEWHERE)
    told: list[str] = []
    assert choosing.choose(site, 108, say=told.append).node == "lge-pve02"
    assert told == [
        "node clovis is offline, so what lies on its own storages was not listed: whether a newer "
        "archive lies there is not known"
    ]


def test_an_older_archive_within_reach_is_taken_and_the_newer_one_is_named(site: World) -> None:
    known(site, NEW, ELSEWHERE)
    dead(put(site), ELSEWHERE)
    said: list[str] = []
    assert choosing.choose(site, 108, say=said.append).node == "lge-pve02"
    assert said == [
        f"{NEW.volid} is newer and out of reach (node clovis is offline), so it was passed over"
    ]


def test_an_archive_that_is_named_and_out_of_reach_is_not_replaced_by_another(site: World) -> None:
    known(site, NEW, ELSEWHERE)
    dead(put(site), ELSEWHERE)
    with pytest.raises(OutOfReach, match="not gone"):
        choosing.choose(site, 108, volid=NEW.volid)


@pytest.mark.parametrize("fails", ["the listing", "the node's storages"])
def test_what_pve_itself_failed_at_is_asked_again_before_an_older_archive_is_taken(
    site: World, fails: str
) -> None:
    known(site, NEW, ELSEWHERE)
    cluster = put(site)
    alive(cluster, NEW, ELSEWHERE)
    listed: Any = cluster.storage.archives

    def failing(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        if node == "clovis":
            raise PveError("got timeout")
        found: list[Any] = listed(node, storage, vmid)
        return found

    if fails == "the listing":
        cluster.storage.archives = failing
    else:
        cluster.storage.seen = lambda: SeenStorages(
            tuple(BOTH[1:]), {"clovis": "got timeout"}, frozenset({"clovis"})
        )
    with pytest.raises(OutOfReach, match="at this moment: got timeout"):
        choosing.choose(site, 108, retries=True)
    assert choosing.choose(site, 108).node == "lge-pve02"  # it stays so
    alive(cluster, NEW, ELSEWHERE)
    assert choosing.choose(site, 108, retries=True).volid == NEW.volid


def test_a_restore_test_of_it_ends_with_that_sentence(site: World) -> None:
    known(site, NEW)
    cluster = put(site)
    cluster.cluster.version = lambda: SimpleNamespace(simulated=False)
    dead(cluster)
    # workers wait for an outage, but for this a few times
    site.engine = build_engine(site, foreground=False)
    opened = open_test(site, 108)
    assert opened is not None
    tries = 0
    while (ended := site.catalog.operations.get(opened.id)) and ended.state is OperationState.OPEN:
        site.clock.sleep(site.engine.executor.advance(opened.id).pause or 0.0)
        tries += 1
    assert ended is not None and tries < 10, "an outage is not waited for"
    error = ended.book.error
    assert (
        ended.state is OperationState.FAILED
        and error
        and "not gone" in error.message
        and error.exit_code == 3
    )


# --- a restore ------------------------------------------------------------------------------------


def test_law_1_a_guest_of_a_dead_node_may_run_there_and_is_not_restored(site: World) -> None:
    known(site, NEW)
    cluster = put(site)
    dead(cluster)
    cluster.guests_there = [Guest(108, "", "clovis")]
    site.policy = replace(site.policy, guests={108: GuestPolicy(108, "Debian-Server", "standard")})
    with pytest.raises(LawRefused, match="whether it still runs there is not known") as caught:
        plan(site)
    assert (
        "guest 108 (Debian-Server) belongs to node clovis, which is offline" in caught.value.message
    )
    assert "is running" not in caught.value.message and "remove" not in caught.value.hint
    assert "really off" in caught.value.hint and "keep its disks" in caught.value.hint


def test_law_1_the_way_on_names_the_archive_that_is_within_reach(site: World) -> None:
    known(site, NEW, ELSEWHERE)
    cluster = put(site)
    dead(cluster, ELSEWHERE)
    cluster.guests_there = [Guest(108, "Debian-Server", "clovis", status="running")]
    with pytest.raises(LawRefused) as caught:
        plan(site)
    assert (
        "`backupsvc restore 108 --node lge-pve02`" in caught.value.hint
        and ELSEWHERE.volid in caught.value.hint
    )
    assert caught.value.hint.index("pvecm expected 1") < caught.value.hint.index(
        "backupsvc restore"
    )


def test_without_quorum_a_restore_says_what_a_person_does_and_would_wait(site: World) -> None:
    known(site, ELSEWHERE)
    dead(
        put(site, held={ELSEWHERE.volid: "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"}),
        ELSEWHERE,
    )
    ahead = look_ahead(site, 108, Wish(Wanted()), gather=True)
    lost = ahead.without_quorum
    assert lost and "lost quorum" in lost.message and lost in ahead.blockers
    assert "pvecm expected 1" in lost.hint and "QDevice" in lost.hint and "OFF" in lost.hint
    assert lost.exit_code == 3


@pytest.mark.parametrize("quorate", [True, None])
def test_with_quorum_or_where_nobody_may_know_it_is_planned(
    site: World, quorate: bool | None
) -> None:
    known(site, ELSEWHERE)
    cluster = put(site, held={ELSEWHERE.volid: "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"})
    dead(cluster, ELSEWHERE, quorate=quorate)
    if quorate is None:

        def denied() -> None:
            raise PvePermissionDenied("Permission check failed (/, Sys.Audit)")

        cluster.cluster.status = denied
    with pytest.raises(LawRefused, match="node clovis is offline: whether guest 108 still runs"):
        plan(site)
    planned = look_ahead(site, 108, Wish(Wanted(), confirm="108 is off"))
    assert planned.memory.node == "lge-pve02" and planned.without_quorum is None


def test_a_restore_onto_a_dead_node_is_refused_with_those_that_answer(site: World) -> None:
    shared = replace(ELSEWHERE, shared=True)
    known(site, shared)
    dead(
        put(site, held={shared.volid: "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"}),
        shared,
        quorate=True,
    )
    with pytest.raises(PveUnreachable, match="node clovis is offline") as caught:
        plan_restore(site, 108, at=None, volid=None, node="clovis", storage=None)
    assert "lge-pve02" in caught.value.hint


# --- a backup, and whose archive it is ------------------------------------------------------------


def test_a_backup_of_a_guest_on_a_dead_node_is_refused_in_words_and_without_asking_it(
    site: World,
) -> None:
    cluster = put(site)
    dead(cluster)
    cluster.guests_there = [Guest(108, "Debian-Server", "clovis", status="running")]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a dead node is not asked")

    cluster.storage.backup_defaults = never
    ended = site.engine.drive([one.id for one in open_job(site, site.policy.jobs[0])])
    error = ended[0].book.error
    assert error and error.exit_code == 3
    assert error.message == "node clovis is offline, so its guests cannot be backed up now"
    assert "595" not in error.message and cluster.started == []


def test_law_10_a_guest_of_unknown_status_on_a_node_that_answers_bears_witness_for_itself(
    site: World,
) -> None:
    cluster = put(site)
    alive(cluster)
    cluster.guests_there = [Guest(108, "", "clovis", status="unknown")]
    uuid = "11111111-2222-4333-8444-555555555555"
    cluster.guests = SimpleNamespace(
        config=lambda node, vmid: {"smbios1": f"uuid={uuid}", "scsi0": "local:x"}
    )
    assert identity.lineage_of(site, site.pve, 108).identity.uuid == uuid
    dead(cluster)
    cluster.guests = SimpleNamespace(config=None)
    assert not identity.lineage_of(site, site.pve, 108).identity.known
