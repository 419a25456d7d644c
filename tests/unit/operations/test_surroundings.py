"""Which kept set a guest's surroundings come from, and what is read of the cluster to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from backupsvc.copies.config_sets import FOLDER, pack
from backupsvc.copies.snapshots import CONFIG, name_at
from backupsvc.inventory.cluster_config import Part, read
from backupsvc.operations import surroundings
from policies.cluster_config import ConfigSet
from policies.surroundings import Kind
from policies.surroundings import model as surroundings_model
from tests.fakes.cluster import Guest
from tests.fakes.made import config_of
from tests.fakes.state import Refusal
from tests.unit.operations.test_cluster_config import FIREWALL, Scene, Told, told
from tests.unit.operations.worlds import World

__all__ = ["told"]
DAY = 86_400
EMPTY = (
    "access/acl",
    "cluster/backup",
    "cluster/config/nodes",
    "cluster/ha/resources",
    "cluster/ha/rules",
    "cluster/replication",
    "pools",
)
RESOURCE = "vm: vm:108\n\tstate started\n"
GUESTS = {"guests.cfg": "qemu: 108\n\tnode n1\n", "ha/resources.cfg": RESOURCE}
MINE = "smbios1: uuid=11111111-2222-3333-4444-555555555555\n"
THEIRS = "smbios1: uuid=99999999-2222-3333-4444-555555555555\n"


def keep(site: World, tmp_path: Path, sets: Mapping[int, ConfigSet | bytes]) -> World:
    """These sets lie in the state directory, by their days."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    site.settings = SimpleNamespace(state_dir=tmp_path)
    for day, config in sets.items():
        data = config if isinstance(config, bytes) else pack(config)
        (folder / name_at(day * DAY, "tar", CONFIG)).write_bytes(data)
    return site


def lost(cluster: Told) -> Told:
    """Guest 108 is gone, and all of its surroundings with it."""
    del cluster.guests[108]
    cluster.said = {path: [] for path in EMPTY}
    cluster.said["cluster/ha/groups"] = Refusal(500, "ha groups have been migrated to rules")
    return cluster


def test_the_newest_set_that_has_the_guest_is_gone_by(told: Scene, tmp_path: Path) -> None:
    old = ConfigSet(GUESTS | {"ha/resources.cfg": f"{RESOURCE}\tmax_restart 7\n"})
    gone = ConfigSet({"guests.cfg": "qemu: 109\n\tnode n2\n"})
    site = keep(told[0], tmp_path, {1: old, 2: ConfigSet(GUESTS), 3: gone, 4: ConfigSet({})})
    lost(told[1])
    found = surroundings.of(site, 108)
    assert (found.kept_at, found.why_none, found.notes) == (2 * DAY, None, ())
    assert [one.commands for one in found.items] == [("ha-manager add vm:108 --state started",)]
    assert not found.whole
    (older,) = surroundings.of(site, 108, at=DAY).items
    assert "--max_restart 7" in older.commands[0]


def test_a_set_that_cannot_be_read_and_one_that_does_not_know_its_guests_are_passed_over(
    told: Scene, tmp_path: Path
) -> None:
    blind = ConfigSet({}, {"guests.cfg": "no right"})
    site = keep(told[0], tmp_path, {1: ConfigSet(GUESTS), 2: blind, 3: b"broken"})
    lost(told[1])
    found = surroundings.of(site, 108)
    assert found.kept_at == DAY and len(found.notes) == 2
    assert "no kept configuration" in found.notes[0] and "not read in full" in found.notes[1]


def test_law_10_a_set_of_another_machine_is_passed_over(told: Scene, tmp_path: Path) -> None:
    mine, theirs = (
        ConfigSet(GUESTS | {"guests/qemu-108.conf": text, "ha/resources.cfg": f"{RESOURCE}\tcomment {n}\n"})
        for n, text in enumerate((MINE, THEIRS))
    )  # fmt: skip
    site = keep(told[0], tmp_path, {1: mine, 2: theirs})
    lost(told[1])
    found = surroundings.of(site, 108, MINE)
    assert found.kept_at == DAY and "was another machine" in found.notes[0]
    assert "--comment 0" in found.items[-1].commands[0]
    only = surroundings.of(site, 108, MINE, at=2 * DAY)
    assert only.items == () and not only.whole
    assert only.why_none and "is not in the configuration that was kept at" in only.why_none
    assert "another machine" in only.why_none


def test_law_10_where_another_machine_is_under_the_vmid_now_nothing_is_proposed(
    told: Scene, tmp_path: Path
) -> None:
    site = keep(told[0], tmp_path, {1: ConfigSet(GUESTS | {"guests/qemu-108.conf": MINE})})
    cluster = lost(told[1])
    cluster.guests[108] = Guest("n1", config_of(108) | {"smbios1": THEIRS[9:].strip()})
    found = surroundings.of(site, 108)
    assert found.items == () and found.kept_at == DAY
    assert found.why_none and "is another machine now" in found.why_none


def test_without_any_set_that_is_said(told: Scene, tmp_path: Path) -> None:
    told[0].settings = SimpleNamespace(state_dir=tmp_path)
    found = surroundings.of(told[0], 108)
    assert found.why_none and found.why_none.startswith("no configuration of the cluster is kept")
    assert not told[1].asked, "the cluster is not asked for nothing"
    site = keep(told[0], tmp_path, {1: ConfigSet(GUESTS)})
    assert surroundings.of(site, 4).why_none == "guest 4 is in no configuration that is kept here"


def test_only_what_is_compared_is_read(told: Scene) -> None:
    site, cluster = told
    cluster.guests[110] = Guest("n1", config_of(108))
    cluster.said = {"pools": [], "cluster/backup": []}
    found = read(site, part=Part({"jobs.cfg", "pools.cfg"}, {108}))
    asked = set(cluster.asked)
    assert {"cluster/backup", "pools", "nodes/n1/qemu/108/config"} <= asked
    assert not [path for path in asked if "110" in path or "109" in path or "storage" in path]
    assert not [path for path in asked if path.startswith("nodes/n1/network")]
    assert found.files["guests.cfg"].count("node") == 3


def test_a_firewall_and_replication_are_put_back_and_are_whole_then(
    told: Scene, tmp_path: Path
) -> None:
    folder = "guests/qemu-108.firewall"
    rules = "rule: 0\n\taction ACCEPT\n\ttype in\n\nrule: 1\n\taction DROP\n\ttype in\n"
    files = {
        "guests.cfg": GUESTS["guests.cfg"],
        f"{folder}/options.cfg": "enable: 1\n",
        f"{folder}/rules.cfg": rules,
        "replication.cfg": "local: 108-0\n\tschedule */5\n\ttarget n2\n",
    }
    site = keep(told[0], tmp_path, {1: ConfigSet(files)})
    cluster = lost(told[1])
    cluster.guests[108] = Guest("n1", config_of(108))
    base = "nodes/n1/qemu/108/firewall"
    cluster.said |= {f"{base}/{part}": {} if part == "options" else [] for part in FIREWALL}
    found = surroundings.of(site, 108)
    assert [call.path for one in found.items for call in one.calls] == [
        f"{base}/rules",
        f"{base}/rules",
        f"{base}/options",
        "cluster/replication",
    ]
    for one in found.items:
        for call in one.calls:
            _carry_out(cluster, call.method, call.path, dict(call.params))
    again = surroundings.of(site, 108)
    assert again.items == () and again.whole


def _carry_out(cluster: Told, method: str, path: str, params: dict[str, str]) -> None:
    """As PVE does it: a rule is put before all others (pve-facts 8.8)."""
    if method == "PUT":
        cluster.said[path] |= params
        return
    rows = [params, *cluster.said[path]]
    if path.endswith("/rules"):
        rows = [row | {"pos": place} for place, row in enumerate(rows)]
    cluster.said[path] = rows


@pytest.mark.parametrize("text", ["", "pool: x\n"])
def test_whether_all_is_known_is_told(told: Scene, tmp_path: Path, text: str) -> None:
    kept = ConfigSet({"guests.cfg": GUESTS["guests.cfg"]}, {"jobs.cfg": "no right"} if text else {})
    site = keep(told[0], tmp_path, {1: kept})
    lost(told[1])
    assert surroundings.of(site, 108).whole is not bool(text)


def test_what_is_left_for_hands_is_missing_and_a_mere_note_is_not() -> None:
    by_hand, note = (
        make(Kind.RULES, "", "among others")
        for make in (surroundings_model.for_hands, surroundings_model.said)
    )
    assert not surroundings.Found((by_hand,), DAY).whole
    assert surroundings.Found((note,), DAY).whole
