"""``ha status`` asks the cluster: once for all where it can, and never again a node that answers
nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.catalog import Catalog
from backupsvc.cli.ha import app
from backupsvc.errors import PvePermissionDenied, PveUnreachable
from backupsvc.report import ha
from policies.ha.facts import HaFacts
from policies.ha.status import HaReport
from policies.model import GuestType, Node
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.fakes.recorded import data
from tests.fakes.state import BRIDGE
from tests.unit.pvelab.conformance import endpoints
from tests.unit.report.langeo import GIB, NOW, archive, guest, policy, storage
from tests.unit.report.worlds import World, served

REPLICATION, OPTIONS = "nodes/clovis/replication", "cluster/options"
STATUS, MANAGER = "cluster/ha/status/current", "cluster/ha/status/manager_status"


def lines(*, disarmed: bool = False) -> list[dict[str, Any]]:
    """HA's own status: both nodes at work, the second an hour ahead."""
    word, mode = ("disarmed", {"resource_mode": "freeze"}) if disarmed else ("armed", {})
    return [
        {"id": "quorum", "type": "quorum", "node": "clovis", "status": "OK", "quorate": 1},
        {"id": "master", "type": "master", "node": "clovis", "timestamp": NOW - 3,
         "status": "clovis (active, Tue Mar 10 09:00:00 2026)"},
        {"id": "fencing", "type": "fencing", "node": "clovis", "status": word,
         "armed-state": word} | mode,
        {"id": "lrm:clovis", "type": "lrm", "node": "clovis", "timestamp": NOW - 3,
         "status": "clovis (active, watchdog active, Tue Mar 10 09:00:00 2026)"},
        {"id": "lrm:lge-pve02", "type": "lrm", "node": "lge-pve02", "timestamp": NOW + 3641,
         "status": "lge-pve02 (detected time drift!, Tue Mar 10 10:00:41 2026)"},
        {"id": "service:vm:108", "type": "service", "sid": "vm:108", "node": "clovis",
         "state": "started", "request_state": "started", "status": "vm:108 (clovis, started)"},
    ]  # fmt: skip


def site() -> World:
    """The reference site, as HA tells it, with 108 replicated to the second node."""
    world = World()
    world.guest_list = [
        replace(one, max_memory=2 * GIB) if one.vmid == 108 else one for one in world.guest_list
    ]
    world.configs[108] |= {
        "ide2": "local:iso/debian.iso,media=cdrom",
        "net0": "virtio,bridge=vmbr0",
    }
    # a real server's words, for a node of 2 TiB that uses some of it
    rows = [
        data("02_inventory", 2)[0] | {"node": node, "id": f"node/{node}", "maxmem": 1 << 41}
        for node in ("clovis", "lge-pve02")
    ]
    world.told = {
        "nodes": [row | {"mem": 8 * GIB} for row in rows],
        STATUS: lines(),
        MANAGER: {
            "manager_status": {"master_node": "clovis", "node_status": {"clovis": "online"}},
            "lrm_status": {
                "lge-pve02": {"mode": "active", "state": "wait_for_agent_lock", "timestamp": 1}
            },
            "quorum": {"node": "clovis", "quorate": "1"},
        },
        "cluster/ha/resources": [{"sid": "vm:108", "type": "vm", "state": "started"}],
        "cluster/ha/rules": [],
        OPTIONS: {"keyboard": "fr", "crs": {"ha": "static"}},
        "cluster/config/nodes": [
            {"node": node, "name": node, "quorum_votes": "1"} for node in ("clovis", "lge-pve02")
        ],
        REPLICATION: [
            {"id": "108-0", "guest": 108, "type": "local", "source": "clovis",
             "target": "lge-pve02", "last_sync": NOW - 600, "fail_count": 0}
        ],
    }  # fmt: skip
    world.network = [BRIDGE | {"iface": "vmbr0", "bridge_ports": "eno1"}, BRIDGE]
    return world


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


def service(world: World, catalog: Catalog) -> Any:
    return SimpleNamespace(
        pve=served(world),
        catalog=catalog,
        policy=policy(),
        clock=StoppedClock(NOW),
        settings=SimpleNamespace(simulated=False),
    )


def seen(world: World, catalog: Catalog) -> HaFacts:
    return ha.collect(service(world, catalog))


def asked(world: World, catalog: Catalog) -> HaReport:
    return ha.ask(service(world, catalog))


def with_medium(world: World) -> World:
    """The medium lies on the second node too."""
    volid = "local:iso/debian.iso"
    content = "nodes/lge-pve02/storage/local/content"
    world.told[content] = [{"volid": volid, "size": 1, "format": "iso", "content": "iso"}]
    # the same call lists the archives there
    world.storage_list = [
        replace(one, content=frozenset({"iso"}))
        if (one.node, one.name) == ("lge-pve02", "local")
        else one
        for one in world.storage_list
    ]
    return world


def test_what_is_told_here_fits_pves_own_schema() -> None:
    # the schema that we have lacks the one, and of the other PVE answers objects (pve-facts 4.1)
    beyond = {REPLICATION, OPTIONS}
    for path, body in site().told.items():
        if path in beyond:
            continue
        schema = next(
            one["returns"]
            for one in endpoints.SCHEMA["endpoints"]
            if (one["method"], one["path"]) == ("GET", f"/{path}")
        )
        assert list(endpoints.misfit(schema, body)) == [], path


def test_a_replicated_guest_with_its_medium_and_bridge_there_can_move(catalog: Catalog) -> None:
    (found,) = asked(with_medium(site()), catalog).resources
    assert (found.can_move, found.reasons) == (True, ())
    (place,) = found.places
    assert (place.node, place.fits, place.replica_age) == ("lge-pve02", True, 600)


def test_everything_is_asked_once_and_only_the_managed_guest_for_its_configuration(
    catalog: Catalog,
) -> None:
    world = site()
    seen(world, catalog)
    names = [str(call[0]) for call in world.calls]
    for once in ("guests", "ha", MANAGER, "ha_resources", "cluster/ha/rules", "cluster/options",
                 "cluster/config/nodes", "jobs", "status", "replication clovis"):  # fmt: skip
        assert names.count(once) == 1, once
    assert [name for name in names if name.startswith("config ")] == ["config 108"]
    assert "replication lge-pve02" not in names and "cluster/ha/groups" not in names
    assert [name for name in names if "108" in name] == ["config 108"]


def test_of_a_cluster_without_ha_no_more_is_asked(catalog: Catalog) -> None:
    world = site()
    world.told["cluster/ha/resources"] = []
    found = asked(world, catalog)
    names = [str(call[0]) for call in world.calls]
    assert not [name for name in names if name.startswith(("config", "bridges", "archives"))]
    assert found.well and found.resources == ()


def test_a_missing_medium_and_one_that_cannot_be_looked_for_are_two_things(
    catalog: Catalog,
) -> None:
    world = site()
    (found,) = asked(world, catalog).resources
    assert found.can_move is False
    assert found.reasons == ("lge-pve02: ide2 names local:iso/debian.iso, which is not there",)
    world.refuse = {"archives lge-pve02 local": PvePermissionDenied("no right")}
    (found,) = asked(world, catalog).resources
    assert found.can_move is None


def test_a_container_is_asked_for_as_one(catalog: Catalog) -> None:
    world = site()
    world.guest_list = [
        guest(108, type=GuestType.LXC, max_memory=GIB) if one.vmid == 108 else one
        for one in world.guest_list
    ]
    world.told |= {
        "cluster/ha/resources": [{"sid": "ct:108", "type": "ct"}],
        "nodes/clovis/lxc/108/config": {
            "rootfs": "local-lvm:subvol-108-disk-0",
            "lxc": [["a", "b"]],
        },
    }
    facts = seen(world, catalog)
    assert facts.configs[108]["rootfs"].startswith("local-lvm") and not facts.gaps


def test_groups_are_asked_for_only_where_a_guest_is_in_one(catalog: Catalog) -> None:
    world = site()
    world.told |= {
        "cluster/ha/resources": [{"sid": "vm:108", "group": "pair"}],
        "cluster/ha/groups": [{"group": "pair", "nodes": "clovis", "restricted": 1}],
    }
    (found,) = asked(with_medium(world), catalog).resources
    assert found.reasons == ("lge-pve02: group pair keeps it on clovis",)


def test_without_the_right_to_see_ha_there_is_nothing_to_say(catalog: Catalog) -> None:
    world = site()
    world.refuse = {"ha_resources": PvePermissionDenied("Permission check failed (/, Sys.Audit)")}
    with pytest.raises(PvePermissionDenied):
        seen(world, catalog)


def test_law_4_each_question_that_fails_is_a_gap_and_never_a_yes(catalog: Catalog) -> None:
    denied = PvePermissionDenied("no right")
    for name in ("ha", "storages of lge-pve02", "bridges lge-pve02", "replication clovis",
                 "config 108", "cluster/ha/rules", MANAGER):  # fmt: skip
        world = with_medium(site())
        world.refuse = {name: denied}
        found = asked(world, catalog)
        assert found.resources[0].can_move is None, name
        assert not found.well
    for name in ("status", "clock_offsets", "jobs", "cluster/options", "cluster/config/nodes"):
        world = with_medium(site())
        world.refuse = {name: denied}
        assert any("no right" in note for note in asked(world, catalog).notes), name


def test_a_node_that_is_off_is_not_asked_and_what_it_had_is_not_known(catalog: Catalog) -> None:
    world = site()
    world.node_list[0] = Node("clovis", False)
    world.told["nodes"][0] = {"node": "clovis", "id": "node/clovis", "status": "offline"}
    world.storage_list = [one for one in world.storage_list if one.node != "clovis"]
    del world.offsets["clovis"]
    found = asked(world, catalog)
    assert not [call for call in world.calls if "clovis" in str(call)]
    assert not [call for call in world.calls if str(call[0]).startswith("config ")]
    (one,) = found.resources
    assert one.can_move is None and not found.well
    assert "node clovis is offline" in "\n".join(found.notes)


def test_a_node_that_is_called_online_and_is_mute_is_asked_once(catalog: Catalog) -> None:
    world = site()
    world.mute = {"clovis"}
    silence = PveUnreachable("595 No route to host")
    for name in ("config 108", "bridges clovis", "replication clovis", "storages of clovis",
                 "archives clovis local"):  # fmt: skip
        world.refuse[name] = silence
    del world.offsets["clovis"]
    found = asked(world, catalog)
    names = [str(call[0]) for call in world.calls]
    assert names.count("answers clovis") == 1
    put = [name for name in names if name in world.refuse and name != "storages of clovis"]
    assert len(put) == 1, put
    assert found.resources[0].can_move is None


def test_archives_that_lie_with_the_guest_alone_are_told(catalog: Catalog) -> None:
    world = site()
    world.archive_list = [archive(108, NOW - 3600)]
    notes = "\n".join(asked(world, catalog).resources[0].notes)
    assert "all 1 of its archives lie on clovis" in notes
    world.storage_list += [
        storage("nas", node, "backup", shared=True) for node in ("clovis", "lge-pve02")
    ]
    world.archive_list.append(archive(108, NOW - 60, storage="nas", shared=True))
    assert "of its archives lie on" not in "\n".join(asked(world, catalog).resources[0].notes)


def run(world: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    @contextmanager
    def opened(**_: Any) -> Iterator[Any]:
        yield service(world, catalog)

    monkeypatch.setattr(bootstrap, "open_service", opened)
    return CliRunner().invoke(app, ["status", *words])


def test_its_json_keeps_what_the_command_promises(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(with_medium(site()), catalog, monkeypatch, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1, "two votes"
    assert told["quorum"] == {
        "clustered": True,
        "quorate": True,
        "votes": 2,
        "votes_online": 2,
        "votes_needed": 2,
        "survives_node_loss": None,
    }
    assert [(one["node"], one["drift_seconds"], one["lrm"]) for one in told["nodes"]] == [
        ("clovis", 0, "alive"),
        ("lge-pve02", 3644, "alive"),
    ]
    (one,) = told["resources"]
    assert (one["sid"], one["can_move"], one["reasons"], one["backup_follows"]) == (
        "vm:108",
        True,
        [],
        False,
    )
    assert one["targets"][0]["replica_age_seconds"] == 600
    assert told["rebalancing"] == {"mode": "static", "on_start": False, "automatic": False}


def test_its_text_is_a_short_table_and_then_what_is_wrong_with_the_next_action(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = with_medium(site())
    world.told[STATUS] = lines(disarmed=True)
    world.told[OPTIONS] = {"crs": {"ha": "dynamic", "ha-auto-rebalance": 1}}
    world.told["cluster/ha/rules"] = [
        {
            "rule": "pair",
            "type": "node-affinity",
            "resources": "vm:108",
            "nodes": "clovis:2,lge-pve02",
        }
    ]
    done = run(world, catalog, monkeypatch)
    golden = Path(__file__).parents[2] / "golden" / "ha_status.txt"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == golden.read_text(encoding="utf-8")
    assert done.exit_code == 1


def test_it_exits_0_only_if_all_is_well(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    world = site()
    world.told["cluster/ha/resources"] = []
    done = run(world, catalog, monkeypatch)
    assert done.exit_code == 0 and "no guest is under HA" in done.stdout
