"""A sync holds no more at a time than a storage and some guests, and says and accepts the same
whatever it holds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backupsvc.inventory import accepting
from policies.model import Archive, SeenStorages, Storage
from tests.fakes.made import archive
from tests.unit.operations.test_choosing import listing as put
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.test_survey import NEW, OLD, alive, known
from tests.unit.operations.worlds import World

DAYS = [archive(108, day) for day in range(1, 10)]


def test_a_sync_holds_no_more_than_one_storage_and_some_guests(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = [replace(one, node="lge-pve02") for one in DAYS]
    others = [archive(vmid, 1) for vmid in (101, 102, 103)]
    alive(put(site), *DAYS, *elsewhere, *others)
    whole = accepting.sync(site)
    assert (whole.archives, len(whole.new), whole.gone) == (21, 21, ())
    find, sizes = site.catalog.archives.find, list[int]()

    def counting(**wanted: Any) -> list[Archive]:
        found = find(**wanted)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(site.catalog.archives, "find", counting)
    monkeypatch.setattr(accepting, "BATCH", 2)
    again = accepting.sync(site)
    assert (again.archives, again.new, again.gone, again.stopped) == (21, (), (), whole.stopped)
    assert max(sizes) == 18 and sizes.count(18) == 1, (
        "both storages' archives of the one guest that has so many"
    )


def test_a_sync_accepts_the_same_guests_whatever_it_holds_at_a_time(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive(put(site), OLD, NEW, archive(101, 1), archive(102, 1))
    told = accepting.sync(site, accept=True, dry_run=True)
    monkeypatch.setattr(accepting, "BATCH", 1)
    assert accepting.sync(site, accept=True, dry_run=True).accepted == told.accepted
    one = accepting.sync(site, accept=True, vmid=101)
    assert [item.vmid for item in one.accepted] == [101] and list(one.stopped) == [102, 108]
    assert [item.vmid for item in accepting.sync(site, accept=True).accepted] == [102, 108]
    assert accepting.sync(site).stopped == {}


def test_law_3_nothing_is_gone_where_a_storage_is_called_shared_by_one_node_only(
    site: World,
) -> None:
    shared = replace(OLD, storage="nas", volid=OLD.volid.replace("local:", "nas:"), shared=True)
    own = replace(NEW, storage="nas", volid=NEW.volid.replace("local:", "nas:"), node="lge-pve02")
    known(site, shared, own)
    alive(put(site))
    kinds = [
        Storage("nas", "clovis", "nfs", frozenset({"backup"}), shared=True),
        Storage("nas", "lge-pve02", "dir", frozenset({"backup"})),
    ]
    site.pve.storage.seen = lambda: SeenStorages(tuple(kinds))
    site.pve.storage.archives = lambda node, storage, vmid=None: (
        [shared] if node == "clovis" else [own]
    )
    accepting.sync(site)
    assert len(site.catalog.archives.find()) == 2
