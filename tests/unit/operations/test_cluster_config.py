"""The cluster's configuration is read as far as the token may: what is not told is said, and no
dead node is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupsvc.errors import PveTokenRefused, PveUnreachable
from backupsvc.inventory.cluster_config import read
from policies.model import GuestType
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import Guest, VirtualCluster, connect
from tests.fakes.made import config_of
from tests.fakes.state import Refusal, Said
from tests.unit.operations.farm import policy
from tests.unit.operations.worlds import World, world

EVERYTHING = {
    "/": dict.fromkeys(
        ["Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "SDN.Audit", "Mapping.Audit"], 1
    )
}
FIREWALL = ("options", "rules", "aliases", "ipset")


class Told(VirtualCluster):
    """A cluster that answers what a test says, and notes what it was asked."""

    def __init__(self, clock: SteppingClock) -> None:
        super().__init__(clock, ())
        self.said: dict[str, Any] = {}
        self.asked: list[str] = []
        self.nodes = ("n1", "n2")
        self.guests = {
            vmid: Guest(node, config_of(vmid)) for vmid, node in ((108, "n1"), (109, "n2"))
        }
        self.permissions = EVERYTHING

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Said:
        """Given a call, return what was set for it, or what the cluster answers."""
        assert method == "GET", "reading changes nothing"
        self.asked.append(path)
        said = self.said.get(f"{path}?{'&'.join(asked.values())}" if asked else path, self)
        if said is self:
            return super().answer(method, path, asked)
        if isinstance(said, Exception):
            raise said
        return Said(said, {})


@pytest.fixture
def told(tmp_path: Path) -> tuple[World, Told]:
    made = world(f"sqlite:///{tmp_path}/catalog.db")
    cluster = Told(made.clock)
    made.policy = policy()
    made.pve = connect(cluster, made.policy.scratch)
    return made, cluster


Scene = tuple[World, Told]


def test_what_is_told_becomes_files_and_each_row_is_read_where_it_has_more(told: Scene) -> None:
    site, cluster = told
    cluster.said = {
        "pools": [{"poolid": "web"}],
        "pools?web": [
            {"poolid": "web", "members": [{"type": "qemu", "vmid": v} for v in (108, 9001)]}
        ],
        "cluster/options": {"keyboard": "fr"},
        "cluster/firewall/ipset": [{"name": "lan"}],
        "cluster/firewall/ipset/lan": [{"cidr": "10.0.0.0/8"}],
        "cluster/ha/groups": [],
    }
    found = read(site)
    assert found.files["pools/web.cfg"] == "pool: web\n\tmember qemu/108\n"
    assert found.files["datacenter.cfg"] == "keyboard: fr\n"
    assert found.files["firewall/ipset/lan.cfg"] == "address: 10.0.0.0/8\n"
    assert "name: " in found.files["guests/qemu-108.conf"]
    assert "ha/groups.cfg" not in {*found.files, *found.not_read}, "what is empty is no file"
    assert found.in_part == {}
    assert len(cluster.asked) == len(set(cluster.asked)) + 1, "only pools is asked once more"


def test_copies_of_restore_tests_come_and_go_and_are_no_configuration(told: Scene) -> None:
    site, cluster = told
    cluster.guests[9001] = Guest("n1", config_of(108))
    assert not [path for path in read(site).files if "9001" in path]
    assert not [path for path in cluster.asked if "9001" in path]


def test_a_dead_node_is_not_asked_and_what_is_its_own_is_said_not_to_be_read(told: Scene) -> None:
    site, cluster = told
    cluster.offline = {"n2"}
    found = read(site)
    assert not [path for path in cluster.asked if path.startswith("nodes/n2")]
    assert "offline" in found.not_read["nodes/n2/"]
    assert found.not_read["guests/qemu-109.conf"].startswith("n2: ")
    assert found.why_not_read("guests/qemu-109.firewall/rules.cfg") is not None
    assert "guests/qemu-108.conf" in found.files
    assert found.files["guests.cfg"] == "qemu: 108\n\tnode n1\n\nqemu: 109\n\tnode n2\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Refusal(403, "Permission check failed (/, Sys.Audit)"), "Permission check failed (/, Sys.Audit)"),
        (Refusal(500, "got no\nsuch thing"), "got no such thing"),
        (Refusal(500, "\x1b[31mred"), "%1B[31mred"),
        (Refusal(501, "Method 'GET /cluster/options' not implemented"), "this Proxmox VE has no such call"),
        (Refusal(595, "No route to host"), "nobody answered"),
        ([], "the answer has another form: it should be an object"),
        (None, "the answer has another form: it should be an object"),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_in_pves_words_and_the_rest_is_read(
    told: Scene, said: Any, reason: str
) -> None:
    site, cluster = told
    cluster.said = {"cluster/options": said, "access/groups": [{"groupid": "admins"}]}
    found = read(site)
    assert found.not_read["datacenter.cfg"] == reason and "datacenter.cfg" not in found.files
    assert found.files["access/groups.cfg"] == "group: admins\n"


def test_where_a_list_is_refused_nothing_is_known_of_its_rows(told: Scene) -> None:
    site, cluster = told
    cluster.said = {"pools": Refusal(403, "Permission check failed")}
    assert read(site).why_not_read("pools/web.cfg") == "pools.cfg was not read"


def test_a_cluster_whose_groups_have_become_rules_has_none(told: Scene) -> None:
    site, cluster = told
    gone = "cannot index groups: ha groups have been migrated to rules"
    cluster.said = {"cluster/ha/groups": Refusal(500, gone)}
    found = read(site)
    assert "ha/groups.cfg" not in {*found.files, *found.not_read}


def test_a_guest_that_is_not_told_is_said_and_its_firewall_not_asked_for(told: Scene) -> None:
    site, cluster = told
    cluster.said = {"nodes/n1/qemu/108/config": Refusal(403, "Permission check failed")}
    found = read(site)
    assert found.not_read["guests/qemu-108.conf"] == "Permission check failed"
    assert found.why_not_read("guests/qemu-108.firewall/rules.cfg") is not None
    assert "nodes/n1/qemu/108/firewall/options" not in cluster.asked
    assert "guests/qemu-109.conf" in found.files


def test_guests_that_are_not_listed_are_not_gone(told: Scene) -> None:
    site, cluster = told
    cluster.said = {"cluster/resources?vm": Refusal(500, "no")}
    found = read(site)
    assert found.not_read["guests/"] == found.not_read["guests.cfg"] == "no"


def test_a_guests_firewall_is_read_and_where_pve_has_none_it_is_asked_of_one_guest(
    told: Scene,
) -> None:
    site, cluster = told
    asked = f"nodes/n1/qemu/108/firewall/{FIREWALL[0]}"
    found = read(site)
    assert [path for path in cluster.asked if "/qemu/" in path and "firewall" in path] == [asked]
    assert found.why_not_read("guests/qemu-109.firewall/rules.cfg") is not None
    cluster.said = {f"nodes/n1/qemu/108/firewall/{part}": [] for part in FIREWALL} | {
        asked: {"enable": 1, "digest": "x"},
        "nodes/n1/qemu/108/firewall/rules": Refusal(500, "broken"),
    }
    found = read(site)
    assert found.files["guests/qemu-108.firewall/options.cfg"] == "enable: 1\n"
    assert found.not_read["guests/qemu-108.firewall/rules.cfg"] == "broken"
    assert found.why_not_read("guests/qemu-108.firewall/aliases.cfg") is None


def test_a_container_is_read_as_one(told: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    site, cluster = told
    guest = site.pve.cluster.guests()[0]
    monkeypatch.setattr(
        site.pve.cluster, "guests", lambda: [replace(guest, vmid=200, type=GuestType.LXC)]
    )
    cluster.said = {"nodes/n1/lxc/200/config": {"hostname": "web", "lxc": [["lxc.a", "b"]]}}
    cluster.said |= {
        f"nodes/n1/lxc/200/firewall/{part}": {} if part == "options" else [] for part in FIREWALL
    }
    assert read(site).files["guests/lxc-200.conf"] == "hostname: web\nlxc.a: b\n"


def test_what_pve_may_have_left_out_is_said(told: Scene) -> None:
    site, cluster = told
    cluster.said = {"pools": [], "access/acl": [], "access/users?1": []}
    # the right on the root does not hold for what lies below
    cluster.permissions = {"/": {"Sys.Audit": 1, "Pool.Audit": 0}, "/vms/108": {"VM.Audit": 1}}
    found = read(site)
    assert {"pools.cfg", "pools/", "guests/", "guests.cfg"} <= set(found.in_part)
    assert not {"access/acl.cfg", "access/users.cfg"} & {*found.in_part, *found.not_read}
    assert "Pool.Audit on /pool" in found.in_part["pools.cfg"]


@pytest.mark.parametrize(("status", "error"), [(401, PveTokenRefused), (595, PveUnreachable)])
def test_where_the_cluster_tells_nothing_at_all_there_is_nothing_to_keep(
    told: Scene, status: int, error: type[Exception]
) -> None:
    site, cluster = told
    cluster.said = {"access/permissions": Refusal(status, "no")}
    with pytest.raises(error):
        read(site)


def test_a_token_that_is_refused_in_the_middle_ends_the_reading(told: Scene) -> None:
    site, cluster = told
    cluster.said = {"cluster/options": Refusal(401, "no")}
    with pytest.raises(PveTokenRefused):
        read(site)


def test_whoever_reads_shows_life_and_can_be_ended(told: Scene) -> None:
    site, _ = told
    lives: list[int] = []

    def alive() -> None:
        lives.append(1)
        if len(lives) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(site, alive)
    assert len(lives) == 5
