"""Law 3 against a world that changes at every call: whatever happens between the decision and each
removal, the law holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from backupsvc.catalog.operations import Driver, Kept
from backupsvc.catalog.tables import ARCHIVE
from backupsvc.errors import BackupsvcError, PveError, PveUnreachable
from backupsvc.inventory import accepting
from backupsvc.operations.prune.deciding import preview
from backupsvc.operations.prune.memory import recall
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from policies.bookkeeping import Bookkeeping
from policies.model import Archive, Node, Operation, OperationState, SeenStorages, Storage
from tests import held
from tests.catalogs import new_catalog
from tests.fakes.made import archive
from tests.unit.operations.cluster import REMOVAL, Cluster
from tests.unit.operations.test_prune import with_cluster, with_policy
from tests.unit.operations.worlds import World, world

A, B = "clovis", "lge-pve02"
PLACES = {(A, "local"): False, (B, "local"): False, ("", "nas"): True}
Place = tuple[str, str]
Key = tuple[str, str]
# what may happen in one run: of few kinds, so that not every prune is stopped by the first thing
# that goes wrong
STORIES = (
    ("prove",),
    ("prove", "fail"),
    ("prove", "vanish"),
    ("prove", "protect"),
    ("prove", "listing shrinks"),
    ("prove", "vanish", "sync"),
    ("prove", "come", "asleep"),
    ("prove", "clock back"),
    ("prove", "clock ahead"),
    ("replace", "come"),
    ("replace", "listing fails"),
    ("test", "test ends"),
    ("vanish", "asleep", "replace", "test", "test ends", "protect", "come", "fail"),
)
DELETIONS = ("done", "done", "done", "task", "lost", "lost undone", "refused", "task fails")


class Storages:
    """Two nodes with a storage each and a shared one. Something of a story happens at each listing,
    drawn by Hypothesis.

    Every deletion that is asked for is judged by what the storages listed last: that is all that
    anybody could know.
    """

    def __init__(self, site: World, data: st.DataObject, story: tuple[str, ...]) -> None:
        self.story, self.begun = story, False
        self.blind: Place | None = None
        self.site, self._data, self.catalog = site, data, site.catalog
        self.files: dict[Place, dict[str, Archive]] = {place: {} for place in PLACES}
        self.listed: dict[Place, dict[str, Archive]] = {place: {} for place in PLACES}
        self.tests: list[str] = []
        self.pins: dict[str, Key] = {}
        self.deleted: list[Key] = []
        self._second = 0
        for place in PLACES:
            for _ in range(3):
                self.come(place)
        self.cluster = self._cluster()

    def _cluster(self) -> Cluster:
        cluster = Cluster()
        cluster.cluster.nodes = lambda max_age=0.0: [Node(A, True), Node(B, True)]
        cluster.storage.seen = lambda: SeenStorages(
            tuple(
                Storage(name, node, "dir", frozenset({"backup"}), shared=name == "nas")
                for node in (A, B)
                for name in ("local", "nas")
            )
        )
        cluster.storage.archives, cluster.storage.delete = self.archives, self.delete
        return cluster

    def come(self, place: Place) -> None:
        """A new archive, newer than all before it. Some nodes dump in the same second, to names
        that are the same.
        """
        self._second += self._data.draw(st.sampled_from([1, 1, 1, 0])) if self._second else 1
        new = archive(108, self._second % 60, size=1000 + self._second)
        node, storage = place
        volid = new.volid.replace("local:", f"{storage}:")
        self.files[place][volid] = replace(
            new, node=node or A, storage=storage, volid=volid, shared=PLACES[place]
        )

    def archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        """What a node lists, after something has happened."""
        place = ("" if storage == "nas" else node, storage)
        if place == self.blind:
            raise PveUnreachable(f"{storage} hangs")
        deed = (
            self._data.draw(st.sampled_from(["nothing", *self.story])) if self.begun else "nothing"
        )
        self._happens(deed)
        if deed == "listing fails":
            raise PveUnreachable(f"{node} does not answer")
        found = {volid: replace(item, node=node) for volid, item in self.files[place].items()}
        if deed == "listing shrinks" and found:
            for volid in self._data.draw(st.sets(st.sampled_from(sorted(found)), min_size=1)):
                del found[volid]
        self.listed[place] = found
        return list(found.values())

    def delete(self, node: str, volid: str) -> str | None:
        """A deletion is asked for: it must be lawful, and then it goes well or badly."""
        place = ("" if volid.startswith("nas:") else node, volid.partition(":")[0])
        self._judge(place, volid)
        how = self._data.draw(st.sampled_from(DELETIONS))
        if how == "refused":
            raise PveError("storage is locked", status=500)
        if how in ("done", "task", "lost"):
            self.files[place].pop(volid, None)
            self.deleted.append((node, volid))
        if how.startswith("lost"):
            raise PveUnreachable(
                "the connection broke off; whether it was carried out is not known"
            )
        self.cluster.result = replace(
            self.cluster.result,
            ok=how != "task fails",
            exitstatus="OK" if how == "task" else "failed",
        )
        return None if how == "done" else REMOVAL

    def _judge(self, place: Place, volid: str) -> None:
        seen = {place: listing for place, listing in self.listed.items() if place != self.blind}
        known = {
            ("" if item.shared else item.node, item.volid): item
            for item in self.catalog.archives.find(vmid=108)
            if ("" if item.shared else item.node, item.storage) != self.blind
        }
        there = {
            (at, name): item for (at, _), listing in seen.items() for name, item in listing.items()
        }
        mine = (place[0], volid)
        assert mine in there, "it is not listed"
        if "sync" not in self.story:  # which may make known what comes while prune lists
            assert set(known) <= set(there), "the listing shrank, and nobody said that it may"
        assert not there[mine].protected
        assert set(there) > {mine}, "the last archive"
        proven = [key for key in there if key in known and known[key].proven_at is not None]
        newest = max((there[key].ctime for key in proven), default=None)
        if mine in proven and there[mine].ctime == newest:
            assert [key for key in proven if there[key].ctime == newest] != [mine], (
                "the newest proven archive"
            )
        assert mine not in self.pins.values(), "an archive that a test has chosen"
        (decided,) = (
            one for one in self.marks() if (one.node, one.volid) == (there[mine].node, volid)
        )
        assert decided.size == there[mine].size, "another file than was decided on"

    def marks(self) -> list[Archive]:
        """The archives as they were decided on."""
        operations = self.catalog.operations.find(kind="prune", limit=1)
        return [item.archive for item in recall(operations[0]).marks]

    def _happens(self, deed: str) -> None:
        draw, clock = self._data.draw, self.site.clock
        full = sorted(place for place in PLACES if self.files[place])
        if deed == "come":
            self.come(draw(st.sampled_from(sorted(PLACES))))
        elif deed == "clock back":
            clock.step(-draw(st.sampled_from([60, 2 * 86400, 366 * 86400])))
        elif deed == "clock ahead":
            clock.step(draw(st.sampled_from([60, 2 * 86400, 366 * 86400])))
        elif deed == "asleep":
            clock.sleep(draw(st.sampled_from([30, 8 * 3600])))
        elif deed == "test ends" and self.tests:
            driver, test = Driver("a test", 60, int(clock.now())), self.tests.pop()
            self.pins.pop(test, None)
            if self.catalog.operations.claim(test, driver):
                self.catalog.operations.finish(
                    test,
                    driver,
                    OperationState.DONE,
                    kept=Kept({}, Bookkeeping()),
                    error=None,
                    note=None,
                )
        elif deed == "sync":
            with contextlib.suppress(BackupsvcError):
                self._quietly(lambda: accepting.sync(self.site))
        elif full and deed in ("vanish", "protect", "replace", "prove", "fail", "test"):
            place = draw(st.sampled_from(full))
            self._befalls(deed, place, draw(st.sampled_from(sorted(self.files[place]))))

    def _befalls(self, deed: str, place: Place, volid: str) -> None:
        item = self.files[place][volid]
        if deed == "vanish":
            del self.files[place][volid]
        elif deed == "protect":
            self.files[place][volid] = replace(item, protected=True)
        elif deed == "replace":
            self.files[place][volid] = replace(item, size=item.size + 7)
        elif deed == "test":
            self._choose(item)
        else:
            value = int(self.site.clock.now()) if deed == "prove" else None
            with self.catalog._database.write() as connection:
                here = (ARCHIVE.c.volid == volid, ARCHIVE.c.place == place[0])
                connection.execute(update(ARCHIVE).where(*here).values(proven_at=value))

    def _choose(self, item: Archive) -> None:
        """A restore test of another process chooses an archive, if it may."""
        test = self.site.engine.open("restore-test", 500 + len(self.tests), RestoreTestMemory())
        if test:
            with contextlib.suppress(BackupsvcError):
                if (
                    held.pin(
                        self.catalog, item.node, item.volid, test.id, int(self.site.clock.now())
                    )
                    is None
                ):
                    self.pins[test.id] = ("" if item.shared else item.node, item.volid)
            self.tests.append(test.id)

    def _quietly(self, act: Any) -> None:
        """While somebody else lists, nothing more happens, and prune has seen nothing of it."""
        before, self.cluster.storage.archives = dict(self.listed), self._plain
        try:
            act()
        finally:
            self.cluster.storage.archives, self.listed = self.archives, before

    def _plain(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        place = ("" if storage == "nas" else node, storage)
        return [replace(item, node=node) for item in self.files[place].values()]


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], World]:
    """Make a world with a new catalog: each example begins with one."""

    def make() -> World:
        for old in tmp_path.iterdir():
            old.unlink()
        return world(new_catalog(tmp_path))

    return make


@pytest.mark.parametrize("story", STORIES, ids=" ".join)
@settings(
    deadline=None,
    max_examples=6,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_law_3_holds_whatever_happens_between_the_decision_and_each_removal(
    fresh: Callable[[], World], story: tuple[str, ...], data: st.DataObject
) -> None:
    """Two nodes, and a shared storage. Archives vanish, come, change, are protected, proven,
    tested; listings fail or shrink; clocks jump; answers of deletions are lost; somebody accepts
    what is gone.
    """
    site = with_policy(fresh())
    with contextlib.closing(site.catalog):
        storages = Storages(site, data, story)
        with_cluster(site, storages.cluster)
        if data.draw(st.booleans()):
            preview(site)  # all was seen once, before something could no longer be listed
            storages.blind = data.draw(st.sampled_from([None, *PLACES]))
        operation = open_prune(site)
        assert (
            isinstance(operation, Operation)
            and site.engine.executor.advance(operation.id).operation.step == "remove"
        )
        storages.begun = True
        site.engine.drive_one(operation)
