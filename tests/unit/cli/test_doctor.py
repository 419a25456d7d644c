"""``backupsvc doctor``: every thing is one line with the next action, and the exit code is that of
the first failure.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from backupsvc.bootstrap import Service
from backupsvc.cli.app import build
from backupsvc.doctor import checks as health
from backupsvc.errors import (
    LawRefused,
    PvePermissionDenied,
    PveTokenRefused,
    PveUnreachable,
    UsageError,
)
from backupsvc.pve.cluster import Bridge, ClusterNode, ClusterStatus, Version
from backupsvc.pve.tasks import TaskRow
from backupsvc.settings import ProbeSettings, PveSettings, Settings, SshSettings
from policies import ownership, role
from policies.model import Archive, Guest, GuestType, Node, SeenStorages, Storage
from policies.prune_guard import Knowledge
from policies.site import load_policy
from tests.fakes.clock import SteppingClock

POLICY = """
site: s
timezone: Europe/Paris
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: thin}
jobs: {nightly: {storage: nas}}
"""


def _needed(policy: Any) -> role.Holder:
    return role.Holder("t", (*role.everyday(policy), *role.optional(policy)))


class World(Service):
    """A service on a cluster by script, all well until a test breaks something."""

    def __init__(self) -> None:
        super().__init__(
            Settings(policy=Path("site.yaml"), state_dir=Path()), SteppingClock(1_000_000.0)
        )
        self.policy: Any = load_policy(POLICY, "site.yaml")
        self.tasks: dict[tuple[str, int], list[TaskRow]] = {}
        self.knowledge = Knowledge()
        self.catalog: Any = SimpleNamespace(
            archives=SimpleNamespace(find=lambda vmid=None: list(self.known)),
            inspections=SimpleNamespace(knowledge=lambda: self.knowledge),
            archive_signs=SimpleNamespace(suspicious=tuple),
            leases=SimpleNamespace(holder=lambda vmid: None),
            operations=SimpleNamespace(get=lambda id: None),
            identity=SimpleNamespace(get=lambda: "a" * 32),
        )  # fmt: skip
        self.guests: list[Guest] = []
        self.configs: dict[int, dict[str, str]] = {}
        self.bridge: Any = lambda node, network, max_age: ()
        self.listed: list[Archive] = []
        self.ways: dict[str, Any] = {}
        self.vmids: dict[str, int] = {}
        self.members = [Node("a", True), Node("b", True)]
        self.quorate: bool | Exception | None = True
        self.bridges = [Bridge("vmbr9", "a"), Bridge("vmbr0", "a", ("eno1",))]
        self.offsets = {"a": 1.0, "b": -2.0}
        self.release = "9.2"
        self.silent: list[PveUnreachable] = []
        self.mute: dict[str, str] = {}
        self.known: list[Archive] = []
        self.rights = {
            path: frozenset(privs) for path, privs in _needed(self.policy).grants.items()
        }
        self.storages = [
            Storage("nas", node, "dir", frozenset({"backup"})) for node in ("a", "b")
        ] + [Storage("thin", node, "lvmthin", frozenset({"images"})) for node in ("a", "b")]  # fmt: skip
        self.pve: Any = SimpleNamespace(
            host="a:8006",
            token_id="svc@pve!t",
            silent=lambda: self.silent,
            cluster=SimpleNamespace(
                version=self.version,
                guests=lambda max_age=0.0: self.guests,
                nodes=lambda max_age=0.0: self.members,
                permissions=lambda: self.rights,
                bridges=lambda node: (
                    [bridge for bridge in self.bridges if bridge.node == node]
                    or [Bridge("vmbr9", node)]
                ),
                clock_offsets=lambda: self.offsets,
                status=self.status,
                ha_resources=lambda: set[str](),
            ),
            scratch=lambda scratch, holder: SimpleNamespace(require_bridge=self.ask_bridge),
            guests=SimpleNamespace(config=lambda node, vmid: self.configs[vmid]),
            tasks=SimpleNamespace(of_guest=lambda node, vmid: self.tasks.get((node, vmid), [])),
            storage=SimpleNamespace(
                seen=lambda: SeenStorages(tuple(self.storages), self.mute),
                archives=lambda node, storage, vmid=None: [
                    one for one in self.listed if one.node == node
                ],
            ),
        )

    def probe(self, node: str) -> Any:
        return self.ways.get(node)

    def probe_vmid(self, node: str) -> int | None:
        return self.vmids.get(node)

    def status(self) -> ClusterStatus:
        if isinstance(self.quorate, Exception):
            raise self.quorate
        found = (
            ClusterNode(node.name, number, "", node.online)
            for number, node in enumerate(self.members, 1)
        )
        return ClusterStatus("s", self.quorate, tuple(found))

    def version(self) -> Version:
        return Version(self.release, f"{self.release}.1")

    def ask_bridge(self, node: str, network: str, max_age: float) -> Any:
        return self.bridge(node, network, max_age)

    def seen(self, status: str) -> list[health.Line]:
        """The lines of one status."""
        return [line for line in health.examine(self) if line.status == status]


def refusing(error: Exception) -> Any:
    """A call that ends in that error."""

    def call() -> Any:
        raise error

    return call


def test_all_well_is_all_ok() -> None:
    lines = health.examine(World())
    assert {line.status for line in lines} == {health.OK}
    assert health.exit_code(lines) == 0


def test_law_3_a_guest_with_archives_from_before_a_lost_catalog_is_named() -> None:
    world = World()
    world.listed = [Archive("nas:backup/x", "a", "nas", 108, GuestType.QEMU, 900_000, 5)]
    (line,) = world.seen(health.WARNING)[:1]
    assert line.detail.startswith("catalog-young: 1 archive of guest 108 on nas")
    assert "catalog sync --accept" in line.action
    world.knowledge = Knowledge(looks={("a", "nas"): 950_000}, proven={108: 960_000})
    assert [line.name for line in world.seen(health.WARNING) if line.name == "retention"] == []


def test_a_missing_privilege_is_named_with_its_path_its_purpose_and_the_command() -> None:
    world = World()
    world.rights["/vms"] -= {"VM.Backup"}
    (line,) = world.seen(health.FAILED)
    assert "svc@pve!t lacks VM.Backup on /vms, to back guests up" in line.detail
    assert "pveum acl modify /vms --users 'svc@pve' --tokens 'svc@pve!t'" in line.action
    assert line.exit_code == 4


def test_a_right_that_is_only_good_to_have_is_a_warning_with_what_is_not_seen_without_it() -> None:
    world = World()
    world.rights["/vms"] -= {"VM.GuestAgent.FileRead"}
    (line,) = world.seen(health.WARNING)
    assert (
        "svc@pve!t lacks VM.GuestAgent.FileRead on /vms, so that no test can see by its boot id"
        in line.detail
    )
    assert world.seen(health.FAILED) == []
    world.rights["/vms"] |= {"VM.GuestAgent.Unrestricted"}
    assert world.seen(health.WARNING) == []


def test_a_storage_that_prunes_asks_for_the_right_to_overrule_it() -> None:
    world = World()
    world.storages[0] = Storage("nas", "a", "dir", frozenset({"backup"}), prune="keep-last=2")
    assert [
        "Datastore.Allocate on /storage/nas" in line.detail for line in world.seen(health.FAILED)
    ] == [True]


def test_on_pve_8_the_token_is_asked_for_that_releases_privileges() -> None:
    world = World()
    world.release = "8.4"
    assert ["lacks VM.Monitor on /vms" in line.detail for line in world.seen(health.FAILED)] == [
        True
    ]


def test_an_unreachable_cluster_is_exit_code_3_and_what_needs_it_is_not_asked() -> None:
    world = World()
    world.pve.cluster.version = refusing(PveUnreachable("a:8006 does not answer", "is it up?"))
    (line,) = world.seen(health.FAILED)
    assert (line.name, line.action, line.exit_code) == ("cluster", "is it up?", 3)
    assert not {"token", "storages", "clocks"} & {line.name for line in health.examine(world)}


def test_the_first_failure_gives_the_exit_code() -> None:
    world = World()
    world.catalog.archives.find = refusing(UsageError("x"))
    world.pve.cluster.version = refusing(PveTokenRefused("no"))
    assert health.exit_code(health.examine(world)) == 2


@pytest.mark.parametrize(
    ("storages", "text"),
    [
        ([], "there is no storage nas"),
        ([Storage("nas", "a", "dir", frozenset({"images"}))], "storage nas takes no backup"),
    ],
)
def test_a_storage_that_cannot_hold_what_the_policy_wants_fails(
    storages: list[Storage], text: str
) -> None:
    world = World()
    world.storages = storages + world.storages[2:]
    assert [text in line.detail for line in world.seen(health.FAILED)] == [True]


def test_law_2_a_bridge_with_a_port_fails_and_a_token_on_a_production_bridge_warns() -> None:
    world = World()
    world.bridges[0] = Bridge("vmbr9", "a", ("eno2",))
    (line,) = world.seen(health.FAILED)
    assert (line.name, line.exit_code) == ("isolated bridge", 1)
    assert "eno2" in line.detail
    world = World()
    world.rights["/sdn/zones/localnetwork/vmbr0"] = frozenset({"SDN.Use"})
    assert ["vmbr0" in line.detail for line in world.seen(health.WARNING)] == [True]
    assert world.seen(health.FAILED) == []


def test_law_2_a_guest_of_somebody_else_on_the_isolated_bridge_fails_and_an_unasked_kernel_warns() -> (
    None
):
    world = World()
    world.bridge = refusing_of(
        "b", LawRefused(2, "no copy starts on b: guest 105 (pfsense) on b is on bridge vmbr9 too")
    )
    (line,) = world.seen(health.FAILED)
    assert (line.name, line.exit_code) == ("isolated bridge", 4) and "pfsense" in line.detail
    world.bridge = lambda node, network, max_age: (
        ("the kernel could not be asked",) if node == "a" else ()
    )
    assert [line.detail for line in world.seen(health.WARNING)] == ["the kernel could not be asked"]


def refusing_of(node: str, error: Exception) -> Any:
    """A bridge that is refused on that node alone."""

    def ask(asked: str, network: str, max_age: float) -> tuple[str, ...]:
        if asked == node:
            raise error
        return ()

    return ask


@pytest.mark.parametrize(
    ("service", "restored", "action"),
    [
        ("a" * 32, True, "backupsvc serve"),
        (
            "a" * 32,
            False,
            "see whose it is; if nobody needs it, remove it on a: qm stop 9000; qm destroy 9000 "
            "--purge",
        ),
        ("b" * 32, True, "qm destroy 9000 --purge"),
    ],
    ids=["ours", "perhaps a clone", "another service's"],
)
def test_law_1_a_copy_that_the_catalog_forgot_is_named_with_what_to_do(
    service: str, restored: bool, action: str
) -> None:
    world = World()
    if restored:
        upid = "UPID:a:0000A1B2:00097285:69AF0000:qmrestore:9000:svc@pve!t:"
        world.tasks["a", 9000] = [TaskRow(upid, "OK", 1_000, "svc@pve!t")]
    world.guests = [Guest(9000, "restore-test-108", "a", status="running")]
    world.configs = {9000: {"description": ownership.mark("01GONE", service)}}
    (line,) = world.seen(health.WARNING)
    assert line.name == "copies" and "VM 9000" in line.detail and action in line.action


def test_a_clock_that_is_off_is_a_warning() -> None:
    world = World()
    world.offsets["b"] = -90.0
    assert [line.detail for line in world.seen(health.WARNING)] == [
        "the clock of b is 90 s behind this machine's"
    ]


def test_a_node_that_is_offline_is_the_first_line_with_quorum_what_is_unknown_and_the_way_on() -> (
    None
):
    world = World()
    world.members[1] = Node("b", False)
    world.quorate = False
    world.storages = [storage for storage in world.storages if storage.node == "a"]
    world.guests = [Guest(108, "web", "b", status="running")]
    world.catalog.archives.find = lambda vmid=None: [
        Archive("nas:backup/x", "b", "nas", 108, GuestType.QEMU, 900_000, 5)
    ]
    lines = health.examine(world)
    assert (lines[0].name, lines[0].status, lines[0].exit_code) == (
        "node-offline",
        health.FAILED,
        3,
    )
    for text in ("b is offline", "Quorum: LOST", "108 web", "1 known archive(s) on b", "not gone"):
        assert text in lines[0].detail
    assert "really off" in lines[0].action and health.exit_code(lines) == 3
    assert [line.name for line in lines if line.status == health.FAILED] == [
        "node-offline",
        "quorum",
    ]


def test_a_dead_node_is_not_asked_over_ssh() -> None:
    world = World()
    world.members[1] = Node("b", False)
    world.catalog.archives.find = lambda vmid=None: []
    world.settings = Settings(
        policy=Path("site.yaml"), state_dir=Path(), ssh=SshSettings(nodes={"b": "127.0.0.1:9"})
    )
    assert [line.detail for line in health.examine(world) if line.name == "ssh to the nodes"] == [
        "b was not asked: it is offline"
    ]


def test_a_pvestatd_that_is_dead_is_a_warning_and_the_node_is_looked_at_like_any_other() -> None:
    world = World()
    world.members[1] = Node("b", True, unknown=True)
    world.catalog.archives.find = lambda vmid=None: []
    (line,) = world.seen(health.WARNING)
    assert line.name == "status-unknown" and "systemctl status pvestatd" in line.action
    assert world.seen(health.FAILED) == []


def test_quorum_is_one_line_and_what_a_token_may_not_know_of_it_is_a_warning() -> None:
    world = World()
    assert [line.detail for line in world.seen(health.OK) if line.name == "quorum"] == [
        "kept: 2 of 2 nodes are online"
    ]
    world.quorate = None
    assert [line.detail for line in world.seen(health.OK) if line.name == "quorum"] == [
        "a node that stands alone has none to lose"
    ]
    world.quorate = False
    assert [(line.name, line.exit_code) for line in world.seen(health.FAILED)] == [("quorum", 3)]
    world.quorate = PvePermissionDenied("Permission check failed (/, Sys.Audit)", "grant it")
    assert [(line.name, line.action) for line in world.seen(health.WARNING)] == [
        ("quorum", "grant it")
    ]


def test_a_broken_policy_is_said_once_and_the_rest_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.yaml").write_text("site: x\njobs: {n: {modes: snapshot}}\n")
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BACKUPSVC_POLICY", str(tmp_path / "p.yaml"))
    answer = CliRunner().invoke(build(["doctor"]), ["doctor", "--json"])
    found = json.loads(answer.stdout)
    assert answer.exit_code == found["exit_code"] == 2
    assert [line["name"] for line in found["lines"] if line["status"] == "failed"] == [
        "policy",
        "cluster",
    ]
    assert "p.yaml:2" in found["lines"][0]["detail"]


def test_the_role_is_printed_without_a_cluster_as_commands_and_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BACKUPSVC_POLICY", str(tmp_path / "p.yaml"))
    text = CliRunner().invoke(build(["doctor"]), ["doctor", "--role"]).stdout
    data = json.loads(CliRunner().invoke(build(["doctor"]), ["doctor", "--role", "--json"]).stdout)
    assert [line for line in text.splitlines() if not line.startswith("#")] == data["commands"]
    assert [holder["name"] for holder in data["holders"]] == [
        "backupsvc@pve",
        "backupsvc@pve!service",
    ]
    assert all(entry["why"] for holder in data["holders"] for entry in holder["why"])
    eight = (
        CliRunner()
        .invoke(build(["doctor"]), ["doctor", "--role", "--pve", "8", "--restore", "vmbr0"])
        .stdout
    )
    assert "VM.Monitor" in eight
    assert "'backupsvc@pve!restore'" in eight


def test_a_host_of_the_settings_that_does_not_answer_is_told_while_another_does() -> None:
    world = World()
    world.silent = [PveUnreachable("b:8006 refuses connections (GET version)", "is the node up?")]
    (line,) = world.seen("warning")
    assert "b:8006 refuses connections" in line.detail
    assert (line.name, line.action) == ("cluster", "is the node up?")


OVER_NETWORK = "\nguests: {108: {address: 10.0.0.8, checks: [ssh]}}\n"
TELLS = (
    "@neigh\n@route\n192.0.2.1 via 10.0.0.1 dev "
    "eth0\n@forwarding\n/proc/sys/net/ipv4/conf/all/forwarding:{0}\n@end\n"
)


def way(said: str | None) -> Any:
    return SimpleNamespace(
        connect=lambda address, port, timeout: SimpleNamespace(close=lambda: None),
        ask=lambda command: said,
    )


def probed(**more: Any) -> World:
    world = World()
    world.policy = load_policy(POLICY + OVER_NETWORK, "site.yaml")
    world.settings = Settings(
        policy=Path("site.yaml"),
        state_dir=Path(),
        probes={"a": {"host": "p"}, "b": {"host": "q"}} | more,
    )
    world.ways = {"a": way(TELLS.format(0)), "b": way(TELLS.format(0))}
    return world


def lines_of(world: World) -> list[tuple[str, str, int]]:
    found = [line for line in health.examine(world) if line.name == "probe"]
    return [(line.status, f"{line.detail} -> {line.action}", line.exit_code) for line in found]


def test_a_probe_a_node_is_all_that_is_needed() -> None:
    assert [status for status, _, _ in lines_of(probed())] == ["ok", "ok"]


def test_a_node_without_a_probe_is_named_with_the_setting() -> None:
    world = probed()
    del world.ways["b"]
    found = [text for status, text, _ in lines_of(world) if status == "warning"]
    assert [
        "isolated bridge of b" in text and "BACKUPSVC_PROBES__B__HOST" in text for text in found
    ] == [True]


def test_a_probe_of_a_node_that_there_is_not_is_told() -> None:
    found = [text for status, text, _ in lines_of(probed(c={"host": "r"})) if status == "warning"]
    assert ["configured for c, which is no node" in text for text in found] == [True]


def test_a_single_probe_that_does_not_say_where_it_is_counts_for_no_node() -> None:
    world = probed()
    world.settings, world.ways = (
        Settings(policy=Path("site.yaml"), state_dir=Path(), probe=ProbeSettings(host="p")),
        {},
    )
    (status, text, code), *_ = lines_of(world)
    assert (status, code) == ("failed", 2)
    assert "BACKUPSVC_PROBE__NODE" in text


def test_law_5_a_login_that_cannot_tell_who_answers_is_told() -> None:
    world = probed()
    world.ways["b"] = way(None)
    found = [text for status, text, _ in lines_of(world) if status == "warning"]
    assert ["the probe of b" in text and "inconclusive" in text for text in found] == [True]


def test_law_2_a_probe_that_passes_packets_on_fails() -> None:
    world = probed()
    world.ways["a"] = way(TELLS.format(1))
    found = [(text, code) for status, text, code in lines_of(world) if status == "failed"]
    assert [
        ("could reach production" in text and "ip_forward=0" in text, code) for text, code in found
    ] == [(True, 1)]


def test_a_probe_that_was_moved_off_its_node_is_told() -> None:
    world = probed()
    world.vmids = {"a": 901, "b": 902}
    world.pve.cluster.guests = lambda max_age=0.0: [
        Guest(901, "probe-a", "a"),
        Guest(902, "probe-b", "a"),
    ]
    assert [status for status, _, _ in lines_of(world)] == ["ok", "warning"]
    assert "guest 902, is on a" in lines_of(world)[1][1]


def test_law_2_a_restore_token_that_is_the_everyday_one_is_told_and_not_sent_to_take_production_bridges() -> (
    None
):
    world = World()
    same = PveSettings(restore_token=SecretStr("svc@pve!t=secret"))
    world.settings = Settings(policy=Path("site.yaml"), state_dir=Path(), pve=same)
    world.restore_pve = world.pve
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "restore token"]
    assert "is the everyday token svc@pve!t" in line.detail
    assert "doctor --role --restore" in line.action and "acl modify" not in line.action


def test_law_2_no_line_advises_a_bridge_before_it_is_seen_to_lead_nowhere() -> None:
    world = World()
    del world.rights["/sdn/zones/localnetwork/vmbr9"]
    (line,) = world.seen(health.FAILED)
    assert line.action.startswith("once the line `isolated bridge` says that it leads nowhere, ")


def linked_down(*bridges: Bridge, **rights: frozenset[str]) -> World:
    """A world whose policy names no isolated bridge."""
    world = World()
    world.policy = load_policy(POLICY.replace("bridge: vmbr9, ", ""), "site.yaml")
    del world.rights["/sdn/zones/localnetwork/vmbr9"]
    world.rights |= {f"/sdn/zones/localnetwork/{name}": held for name, held in rights.items()}
    world.bridges = list(bridges)
    world.pve.cluster.bridges = lambda node: [bridge for bridge in bridges if bridge.node == node]
    return world


USE = frozenset({"SDN.Use"})


def test_law_2_without_an_isolated_bridge_one_of_its_own_is_enough_and_is_not_called_production() -> (
    None
):
    world = linked_down(
        Bridge("vmbr9", "a"), Bridge("vmbr9", "b"), Bridge("vmbr0", "a", ("eno1",)), vmbr9=USE
    )
    assert world.seen(health.FAILED) == []
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "isolated bridge"]
    assert "names no isolated bridge" in line.detail


def test_law_2_a_bridge_with_ports_is_production_though_it_is_the_only_one_that_the_token_may_use() -> (
    None
):
    world = linked_down(Bridge("vmbr0", "a", ("eno1",)), Bridge("vmbr0", "b", ("eno1",)), vmbr0=USE)
    assert [
        "vmbr0" in line.detail
        for line in world.seen(health.WARNING)
        if "production networks" in line.detail
    ] == [True]


def test_what_cannot_work_without_an_isolated_bridge_fails_with_the_command_that_helps() -> None:
    (line,) = linked_down(Bridge("vmbr9", "a", ("eno1",)), Bridge("vmbr9", "b")).seen(health.FAILED)
    assert line.exit_code == 4 and "may use no bridge" in line.detail
    # vmbr9 is used for something else
    assert "pvesh create /nodes/NODE/network --iface vmbr90 --type bridge" in line.action
    assert "doctor --role --bridge vmbr90`" in line.action
    (line,) = linked_down(Bridge("vmbr7", "a"), Bridge("vmbr0", "b"), vmbr7=USE).seen(health.FAILED)
    assert line.exit_code == 1 and line.detail.endswith("does not exist on b")


def test_a_storage_without_room_fails_and_one_that_tells_nothing_is_not_called_roomy() -> None:
    world = World()
    world.guests = [Guest(108, "glpi", "a")]
    world.listed = [Archive("nas:backup/x", "a", "nas", 108, GuestType.QEMU, 900_000, 500)]
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "room"]
    assert "not known" in line.detail
    world.storages[0] = Storage("nas", "a", "dir", frozenset({"backup"}), total=1000, available=499)
    (line,) = [line for line in world.seen(health.FAILED) if line.name == "room"]
    assert line.exit_code == 1 and "499 B free" in line.detail and "500 B" in line.detail


# --- what could not be asked is unknown, and neither wrong nor well -------------------------------


def hanging(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
    """A storage whose listing is never answered."""
    raise PveUnreachable("596 Connection timed out")


def test_the_room_on_a_dead_node_is_unknown_and_no_warning_of_its_own() -> None:
    world = World()
    world.guests = [Guest(108, "glpi", "a"), Guest(109, "docker", "b")]
    world.members = [Node("a", False), Node("b", True)]
    world.storages = [
        replace(storage, total=1000, available=900)
        for storage in world.storages
        if storage.node == "b"
    ]
    lines = [line for line in health.examine(world) if line.name == "room"]
    assert [(line.status, line.action, line.exit_code) for line in lines] == [
        ("unknown", "", 0),
        ("ok", "", 0),
    ]
    assert (
        lines[0].detail == "how much storage nas on a has free is not known while a does not answer"
    )


def test_an_archive_that_cannot_be_listed_still_tells_how_large_the_next_one_will_be() -> None:
    world = World()
    world.guests = [Guest(108, "glpi", "a")]
    world.known = [Archive("nas:backup/x", "a", "nas", 108, GuestType.QEMU, 900_000, 500)]
    world.storages[0] = replace(world.storages[0], total=1000, available=499)
    world.pve.storage.archives = hanging
    (line,) = [line for line in world.seen(health.FAILED) if line.name == "room"]
    assert (
        "499 B free" in line.detail
        and "the last archives of 1 guest(s) that it is to take again are 500 B" in line.detail
    )


def test_a_node_that_does_not_say_its_storages_is_named_and_its_storages_are_not_missing() -> None:
    world = World()
    world.storages, world.mute = (
        [storage for storage in world.storages if storage.node == "b"],
        {"a": "596 Connection timed out"},
    )
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "storages"]
    assert (
        line.detail.startswith("a did not say which storages it has")
        and line.action == "see on a which one hangs: pvesm status"
    )
    assert world.seen(health.FAILED) == []


@pytest.mark.parametrize("how", ["dead", "mute"])
def test_a_storage_that_only_a_node_out_of_reach_may_have_is_unknown_and_not_missing(
    how: str,
) -> None:
    world = World()
    world.storages = []
    world.members = [Node("a", False), Node("b", True)] if how == "dead" else world.members
    world.mute = {} if how == "dead" else {"a": "596 Connection timed out"}
    lines = [line for line in world.seen("unknown") if line.name == "storages"]
    assert [line.detail for line in lines] == [
        "no node that could be asked has a storage nas for archives; whether a has it is not known",
        "no node that could be asked has a storage thin for the disks of copies; whether a has it "
        "is not known",
    ]


def test_a_clock_that_nobody_could_read_is_not_called_right() -> None:
    world = World()
    world.offsets = {"b": -2.0}
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "clocks"]
    assert line.detail == "a did not tell its time, so its drift is not known"
    (good,) = [line for line in world.seen(health.OK) if line.name == "clocks"]
    assert good.detail == f"b within {world.policy.max_clock_drift} s of this machine"


def test_law_3_which_guests_prune_would_not_touch_is_told_though_a_storage_cannot_be_listed() -> (
    None
):
    world = World()
    world.known = [Archive("nas:backup/x", "a", "nas", 108, GuestType.QEMU, 900_000, 5)]
    world.pve.storage.archives = hanging
    (line,) = [line for line in world.seen(health.WARNING) if line.name == "retention"]
    assert line.detail.startswith("catalog-young: 1 archive of guest 108 on nas")
    world.known = []
    (line,) = [line for line in world.seen(health.OK) if line.name == "retention"]
    assert line.detail.endswith(
        "; what lies on storage nas of a, storage nas of b was not looked at"
    )
