"""Guests that are gone: who gets a tombstone, who ends one, and what a person may let go of (laws 3,
4 and 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from backupsvc.catalog.operations import NewOperation
from backupsvc.errors import PveError, PvePermissionDenied, Refused, UsageError
from backupsvc.inventory import departed
from backupsvc.operations import lineages
from backupsvc.operations.prune.deciding import decision, preview
from backupsvc.pve.cluster import ClusterStatus
from policies import chains
from policies.model import Archive, Guest, GuestType, Job, Mark, Node, Policy, PruneRules, Scratch
from policies.pve.guest_config import parse_config
from tests.fakes.made import CONFIG as WITHOUT_NIC
from tests.fakes.made import archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.worlds import World, world

CONFIG = WITHOUT_NIC + "\nnet0: virtio=BC:24:11:00:00:08,bridge=vmbr0\n"
OTHER = CONFIG.replace("smbios1: uuid=", "smbios1: uuid=0").replace("BC:24:11", "BC:24:12")
GUEST = Guest(108, "Debian-Server", "clovis")
KEPT = Guest(105, "Kanboard", "clovis")
DAY = 86_400
# older than the catalog's clock, each a day after the other
SEVERAL = [archive(108, second) for second in range(1, 6)]


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.clock.sleep(3600)  # what is said now is later than all that was backed up
    nothing: Any = MappingProxyType({})
    made.policy = Policy(
        "s",
        "Europe/Paris",
        "en",
        (Job("nightly", "21:00", "local", keep="keep-last=1"),),
        nothing,
        nothing,
        Scratch(9000, 9009),
        "standard",
        prune=PruneRules(1.0),
    )
    stands(made, GUEST, KEPT)
    for item in SEVERAL:
        made.catalog.archives.observe([item], scope=[], at=1)
        made.catalog.archives.annotate(item.node, item.volid, config=CONFIG, operation="OP")
    yield made
    made.catalog.close()


def stands(
    site: World, *guests: Guest, config: Any = None, listed: list[Archive] | None = None
) -> Cluster:
    """A cluster with these guests; ``config`` is each one's own, an error to raise, or nothing."""

    def read(node: str, vmid: int) -> dict[str, str]:
        if isinstance(config, Exception) or config is None:
            raise config or PveError("not to be read")
        return parse_config(config)

    cluster = Cluster(guests_there=list(guests), listings=[listed or SEVERAL])
    cluster.cluster.vmid_free = lambda vmid: vmid not in {one.vmid for one in guests}
    cluster.guests.config = read
    cluster.cluster.clock_offsets = lambda: {"clovis": 0.0}
    site.pve = site.restore_pve = cluster
    return cluster


def shown(site: World) -> list[Any]:
    now = int(site.clock.now())
    return list(departed.listed(site.catalog, site.policy.tombstone, now))


def kept(site: World) -> list[str]:
    return [one.archive.volid for one in preview(site) if one.mark is not Mark.REMOVE]


def gone(site: World) -> None:
    """The guest was there, and is no more."""
    assert departed.look(site).why == ""
    stands(site, KEPT)
    assert [one.vmid for one in departed.look(site).set] == [108]


def test_a_guest_that_a_whole_cluster_lacks_gets_one_tombstone(site: World) -> None:
    gone(site)
    assert departed.look(site).set == ()
    (one,) = shown(site)
    assert (one.tombstone.name, len(one.archives), one.over) == ("Debian-Server", 5, False)
    assert one.tombstone.seen_last is not None
    assert kept(site) == [item.volid for item in SEVERAL]
    assert "is gone (missing since" in preview(site)[0].reasons[0]


@pytest.mark.parametrize("how", ["offline", "quorum", "refused", "taken", "silent", "other"])
def test_law_4_unreachable_is_not_gone(site: World, how: str) -> None:
    departed.look(site)
    cluster = stands(site, KEPT) if how != "other" else stands(site, Guest(999, "x", "clovis"))
    if how == "offline":
        cluster.cluster.nodes = lambda max_age=0.0: [Node("clovis", online=False)]
    elif how == "quorum":
        cluster.cluster.status = lambda: ClusterStatus("c", False, ())
    elif how == "refused":
        cluster.cluster.status = _raise(PvePermissionDenied("Sys.Audit"))
    elif how == "taken":  # a token that lost a right, or a node whose guests the listing lacks
        cluster.cluster.vmid_free = lambda vmid: False
    elif how == "silent":
        cluster.cluster.vmid_free = _raise(PveError("no answer"))
    found = departed.look(site)
    assert found.set == () and shown(site) == []
    assert bool(found.why) is (how not in ("taken", "silent"))


def _raise(error: Exception) -> Any:
    def fails(*_: Any) -> Any:
        raise error

    return fails


def test_law_10_the_same_machine_ends_its_tombstone_and_another_one_does_not(site: World) -> None:
    gone(site)
    stands(site, KEPT, GUEST, config=OTHER)
    assert departed.look(site).ended == () and len(shown(site)) == 1
    stands(site, KEPT, GUEST)
    assert departed.look(site).ended == () and len(shown(site)) == 1
    stands(site, KEPT, GUEST, config="memory: 128\n")
    assert departed.look(site).ended == (), "the rest of a restore is no guest"
    stands(site, KEPT, GUEST, config=CONFIG)
    assert departed.look(site).ended == (108,) and shown(site) == []
    stands(site, KEPT)
    assert [one.vmid for one in departed.look(site).set] == [108], "it may disappear again"


def test_a_container_that_is_back_is_told_by_its_own_config(site: World) -> None:
    gone(site)
    cluster = stands(site, KEPT, replace(GUEST, type=GuestType.LXC))
    cluster.guests.container_config = lambda node, vmid: {"net0": "name=eth0,hwaddr=BC:24:11:0:0"}
    assert departed.look(site).ended == () and len(shown(site)) == 1


def test_a_tombstone_that_was_set_under_a_clock_ahead_moves_back(site: World) -> None:
    departed.look(site)
    now = int(site.clock.now())
    stands(site, KEPT)
    stone = replace(shown(site)[0].tombstone, missing_since=now) if shown(site) else None
    assert stone is None
    site.clock.sleep(4000 * DAY)
    departed.look(site)
    late = shown(site)[0].tombstone.missing_since
    site.clock.sleep(-4000 * DAY)
    departed.look(site)
    assert late > now + 3000 * DAY > shown(site)[0].tombstone.missing_since


def accept(site: World) -> None:
    from backupsvc.inventory import accepting

    accepting.sync(site, accept=True)


def test_law_3_a_release_lets_go_of_what_is_beyond_and_its_time_is_over_before_the_rest_goes(
    site: World,
) -> None:
    gone(site)
    accept(site)
    first = lineages.release(site, 108, "retired", dry_run=True)
    assert [one.after for one in first.effects].count(Mark.REMOVE) == 3
    assert len(kept(site)) == 5
    assert not lineages.release(site, 108, "retired").release.wholly
    assert len(kept(site)) == 2
    site.clock.sleep(200 * DAY)
    assert len(kept(site)) == 2, "what was said in its time frees no more when that is over"
    assert shown(site)[0].over
    assert lineages.release(site, 108, "it is years").release.wholly
    assert len(kept(site)) == 1 and not shown(site)[0].over
    lineages.release(site, 108, "no", undo=True)
    assert len(kept(site)) == 5
    with pytest.raises(Refused):
        lineages.release(site, 108, "no", undo=True)


def test_law_4_what_was_released_stays_while_it_is_not_sure_that_the_guest_is_gone(
    site: World,
) -> None:
    gone(site)
    accept(site)
    lineages.release(site, 108, "retired")
    cluster = stands(site, KEPT)
    cluster.cluster.vmid_free = lambda vmid: False
    assert len(kept(site)) == 5
    with pytest.raises(Refused):
        lineages.release(site, 108, "retired")
    cluster = stands(site, KEPT)
    cluster.cluster.status = lambda: ClusterStatus("c", False, ())
    assert len(kept(site)) == 5
    assert any("not quorate" in one.reasons[-1] for one in decision(site).marked)
    stands(site, KEPT, GUEST, config=OTHER)
    assert len(kept(site)) == 2, "another machine is there: the one of before is gone"


def test_a_guest_of_which_nothing_tells_rotates_with_what_was_released(site: World) -> None:
    gone(site)
    accept(site)
    stands(site, KEPT, GUEST)
    assert len(kept(site)) == 5
    lineages.release(site, 108, "it is the same")
    assert len(kept(site)) == 1


def test_a_tombstone_that_is_not_there_cannot_be_released(site: World) -> None:
    with pytest.raises(Exception, match="no such tombstone of guest 108"):
        lineages.release(site, 108, "x")


@pytest.mark.slow
def test_law_3_a_release_under_a_clock_that_was_ahead_lets_go_of_nothing(site: World) -> None:
    gone(site)
    accept(site)
    cluster = stands(site, KEPT)
    cluster.cluster.clock_offsets = lambda: {"clovis": 0.0, "pve02": -2.0 * DAY}
    with pytest.raises(Refused, match="pve02 is 2 days behind this machine's"):
        lineages.release(site, 108, "retired")
    stands(site, KEPT)
    site.clock.sleep(400 * DAY)
    assert lineages.release(site, 108, "retired").release.wholly
    site.clock.sleep(-400 * DAY)
    marked = decision(site).marked
    assert len(kept(site)) == 5
    assert "which is still to come" in marked[0].reasons[-1]
    # what is said now counts, and not what was said before
    lineages.release(site, 108, "retired")
    assert len(kept(site)) == 2


def test_law_3_nothing_goes_while_a_restore_of_it_runs(site: World) -> None:
    gone(site)
    accept(site)
    lineages.release(site, 108, "retired")
    now = int(site.clock.now())
    restore = site.catalog.operations.open(NewOperation("restore", 108, "choose", {}), now)
    assert restore and len(kept(site)) == 5
    assert f"the restore {restore.id} of it is not over" in decision(site).marked[0].reasons[-1]
    with pytest.raises(Refused, match=restore.id):
        lineages.release(site, 108, "retired")


def test_law_10_what_was_released_beside_a_guest_does_not_go_with_it(site: World) -> None:
    gone(site)
    accept(site)
    stands(site, KEPT, GUEST)
    lineages.release(site, 108, "it is the same")
    stands(site, KEPT)
    assert len(kept(site)) == 5
    lineages.release(site, 108, "it is gone")
    assert len(kept(site)) == 2


# --- lineages -------------------------------------------------------------------------------------

NEW = CONFIG.replace("smbios1: uuid=", "smbios1: uuid=0")


@pytest.fixture
def renewed(site: World) -> World:
    """A guest whose UUID changed while its NIC stayed."""
    stands(site, GUEST, KEPT, config=NEW)
    with site.catalog.archives._database.write() as connection:
        from sqlalchemy import delete

        from backupsvc.catalog.tables import ARCHIVE

        connection.execute(delete(ARCHIVE))
    for item, config in zip(SEVERAL, [CONFIG, CONFIG, NEW, NEW, NEW], strict=True):
        site.catalog.archives.observe([item], scope=[], at=1)
        site.catalog.archives.annotate(item.node, item.volid, config=config, operation="OP")
    accept(site)
    return site


def test_law_10_an_open_question_keeps_both_chains_and_an_answer_ends_it(renewed: World) -> None:
    (found,) = lineages.show(renewed, 108)
    older, newer = (one.name for one in found.chains)
    assert found.today == {older: None, newer: True}
    assert len(found.questions) == 1 and len(kept(renewed)) == 5
    said = lineages.as_dict(found)
    assert [one["told"] for one in said["chains"]] == ["strong", "strong"]
    foreseen = lineages.join(renewed, 108, older, newer, "the same", dry_run=True)
    assert [one.after for one in foreseen.effects].count(Mark.REMOVE) == 3
    assert len(kept(renewed)) == 5 and not renewed.catalog.lineages.decisions(108)
    lineages.join(renewed, 108, older, newer, "the same")
    # the newest of each stays until a later backup is proven
    assert len(kept(renewed)) == 2
    (decided,) = renewed.catalog.lineages.decisions(108)
    assert "@" in decided.who and decided.why == "the same"
    lineages.split(renewed, 108, SEVERAL[2].volid, "it was not")
    assert kept(renewed) == [SEVERAL[0].volid, SEVERAL[1].volid, SEVERAL[4].volid]
    (found,) = lineages.show(renewed, 108)
    assert not found.questions and len(found.decisions) == 2


def test_law_10_machines_that_were_joined_and_are_gone_are_let_go_of_together(
    renewed: World,
) -> None:
    older, newer = (one.name for one in lineages.show(renewed, 108)[0].chains)
    lineages.split(renewed, 108, SEVERAL[2].volid, "they were two")
    stands(renewed, KEPT)
    assert len(departed.look(renewed).set) == 2
    with pytest.raises(UsageError, match="has 2 tombstones"):
        lineages.release(renewed, 108, "retired")
    lineages.release(renewed, 108, "retired", chain=older)
    lineages.join(renewed, 108, older, newer, "they were one")
    assert len(kept(renewed)) == 5, "nobody let go of the other one"
    assert departed.look(renewed).set == ()
    lineages.release(renewed, 108, "retired")
    assert [one.tombstone.released is None for one in shown(renewed)] == [False, False]
    assert len(kept(renewed)) < 5
    lineages.release(renewed, 108, "no", undo=True)
    assert len(kept(renewed)) == 5


def test_what_names_no_two_chains_is_refused(renewed: World) -> None:
    older, newer = (one.name for one in lineages.show(renewed, 108)[0].chains)
    for other in (older, "nothing"):
        with pytest.raises(UsageError):
            lineages.join(renewed, 108, older, other, "x")
    for volid in ("local:backup/nothing", SEVERAL[0].volid):
        with pytest.raises(UsageError):
            lineages.split(renewed, 108, volid, "x")
    assert lineages.show(renewed, None, offline=True)[0].today == {older: None, newer: None}
    stands(renewed, KEPT)
    assert lineages.show(renewed, 108)[0].today == {older: False, newer: False}
    with pytest.raises(Exception, match="knows no archive of guest 7"):
        lineages.show(renewed, 7)


def test_a_copys_chain_goes_on_when_the_archive_is_gone(site: World) -> None:
    assert chains.chains(departed.held(site.catalog, 108))[0].archives
