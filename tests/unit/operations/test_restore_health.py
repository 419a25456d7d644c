"""Before a guest is brought back its original must be off, and after its start it is asked: what makes
"running" false while every check passes?
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.copies.config_sets import FOLDER, pack
from backupsvc.copies.snapshots import CONFIG as CONFIG_SET
from backupsvc.copies.snapshots import name_at
from backupsvc.engine.context import Wait
from backupsvc.errors import LawRefused, PveError, PvePermissionDenied, UsageError
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.restore import checking, hearing
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.memory import FORM, RestoreMemory, recall
from backupsvc.operations.restore.planning import Plan, Wish, look_ahead, open_restore, plan_restore
from backupsvc.operations.restore.result import plan_as_dict, restore_outcome
from policies import settle
from policies.cluster_config import ConfigSet
from policies.model import CheckSpec, Guest, GuestPolicy, Node, Operation, OperationState, Outcome
from policies.pve.guest_config import parse_config
from policies.restore_silence import Address
from policies.silence import Heard, State, Table, Verdict, Way
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import RUNNING, Cluster
from tests.unit.operations.test_choosing import listing
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World, operation_of

ONE = archive(108, 1)
IP, MAC, OTHER = "192.168.10.8", "BC:24:11:00:00:08", "BC:24:11:00:00:99"
GUEST = f"{CONFIG}\nnet0: virtio={MAC},bridge=vmbr0\nagent: 1\n"
OFF = "108 is off"
EMPTY = Table(State.FAILED, None, None, Way.ON_LINK)
MINE = Table(State.REACHABLE, MAC, 1, Way.ON_LINK)
SSH, AGENT = CheckSpec("ssh", "ssh", {"port": 22}), CheckSpec("agent", "agent")


@dataclass
class Network:
    """The guests' network as this machine sees it. ``up``: somebody is at the address, with ``mac``.

    ``asked`` counts the looks; ``clock`` goes on with each.
    """

    site: World
    up: bool = False
    mac: str = MAC
    way: Way = Way.ON_LINK
    greets: bytes = b"SSH-2.0-test\r\n"
    fails: OSError | None = None
    asked: int = 0
    said: list[str] = field(default_factory=list)
    stale: int = 0

    def knock(self, address: str, ports: Any, seconds: float) -> dict[int, Heard]:
        self.asked += 1
        self.site.clock.sleep(seconds)
        return dict.fromkeys(ports, Heard.OPEN if self.up else Heard.NOTHING)

    def neighbour(self, address: str) -> Table:
        if self.stale and not self.up:
            self.stale -= 1
            return Table(State.STALE, MAC, 99, self.way)
        found = replace(MINE, mac=self.mac) if self.up else EMPTY
        return replace(
            found if self.way is Way.ON_LINK else Table(State.ABSENT, None, None, Way.ROUTED)
        )

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        if self.fails:
            self.site.clock.sleep(timeout)
            raise self.fails
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        with theirs:
            theirs.sendall(self.greets)
        return ours


@dataclass
class Scene:
    """A lost guest with one archive, whose network and cluster a test moves. ``on_start`` happens when
    the restored guest is started.
    """

    site: World
    cluster: Cluster
    network: Network
    started: list[int] = field(default_factory=list)
    on_start: Callable[[], None] = lambda: None

    def plan(self, **asked: Any) -> Plan:
        return look_ahead(self.site, 108, Wish(Wanted(), **asked))

    def restore(self, plan: Plan | None = None, **asked: Any) -> tuple[dict[str, Any], int]:
        """Bring it back; return what is told of it, and the exit code."""
        opened = open_restore(self.site, 108, (plan or self.plan(**asked)).memory)
        ended = self.site.engine.drive_one(opened)
        return restore_outcome(ended), KINDS["restore"].exit_code(self.site.catalog, ended)


@pytest.fixture
def scene(site: World) -> Iterator[Scene]:
    cluster = listing(site, ONE, held={ONE.volid: GUEST})
    cluster.cluster.version = lambda: SimpleNamespace(simulated=False)
    network = Network(site)
    site.here = network  # type: ignore[assignment]
    wish = GuestPolicy(108, "web", "standard", address=IP, checks=(SSH,), settle=0)
    site.policy = replace(site.policy, guests={108: wish})
    made = Scene(site, cluster, network)

    def back(*_: Any, **__: Any) -> str:
        cluster.guests_there.append(Guest(108, "web", "clovis", status="stopped"))
        return cluster.result.upid

    def start(node: str, vmid: int) -> str:
        made.started.append(vmid)
        network.up = True
        made.on_start()
        return cluster.result.upid

    cluster.restore = SimpleNamespace(start=back)  # type: ignore[attr-defined]
    cluster.guests = SimpleNamespace(
        config=lambda node, vmid: parse_config(GUEST), start=start, status=lambda *_: RUNNING
    )
    cluster.agent = SimpleNamespace(
        port=lambda node, vmid: SimpleNamespace(
            ping=lambda: True, osinfo=lambda: {"pretty-name": "Debian"}
        ),
        read_file=lambda node, vmid, path: "one-boot",
        interfaces=lambda node, vmid: [{"name": "eth0", "hardware-address": MAC.lower()}],
    )
    yield made


def wants(scene: Scene, *checks: CheckSpec, **more: Any) -> None:
    guest = scene.site.policy.guests[108]
    scene.site.policy = replace(
        scene.site.policy, guests={108: replace(guest, checks=checks, **more)}
    )


def nodes(scene: Scene, *down: str) -> None:
    there = [Node("clovis", online=True), Node("lge", online="lge" not in down)]
    scene.cluster.cluster.nodes = lambda max_age=0.0: there
    scene.cluster.cluster.status = lambda: SimpleNamespace(quorate=True)


# --- after the start ------------------------------------------------------------------------------


def test_a_guest_whose_checks_pass_where_nobody_answered_before_is_running(scene: Scene) -> None:
    told, code = scene.restore()
    assert (told["verdict"], code, told["started"]) == ("running", 0, True), told
    assert told["reasons"][0] == "1 of 1 checks passed"
    (check,) = told["checks"]
    assert check["outcome"] == "passed" and "greets" in check["detail"]
    (look,) = told["before_start"]
    assert (look["address"], look["found"]) == (IP, "silent")


def test_without_start_nothing_is_asked_and_it_ends_as_it_always_did(scene: Scene) -> None:
    told, code = scene.restore(start=False)
    assert (told["verdict"], told["started"], code, told["checks"]) == (None, False, 0, [])
    assert scene.started == []


def test_what_another_machine_answers_before_the_start_makes_a_later_answer_worthless(
    scene: Scene,
) -> None:
    scene.network.up = True
    told, code = scene.restore(confirm=OFF)
    assert (told["verdict"], code) == ("inconclusive", 1)
    assert "somebody answered there before the start" in told["checks"][0]["detail"]


def test_what_another_neighbour_answers_afterwards_does_not_count(scene: Scene) -> None:
    scene.on_start = lambda: setattr(scene.network, "mac", OTHER)
    told, _ = scene.restore()
    assert told["verdict"] == "inconclusive" and OTHER in told["reasons"][1]


def test_behind_a_router_silence_is_not_known_and_a_new_answer_counts(scene: Scene) -> None:
    scene.network.way = Way.ROUTED
    plan = scene.plan()
    assert "behind a router" in plan.memory.unheard[0] and plan.doubts == ()
    assert scene.restore(plan)[0]["verdict"] == "running"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TimeoutError(), "no answer within 10 s"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_what_this_machine_cannot_reach_is_inconclusive(
    scene: Scene, error: OSError, tries: str
) -> None:
    wants(scene, SSH, boot_timeout=60)
    scene.network.fails = error
    told, code = scene.restore()
    assert (told["verdict"], code) == ("inconclusive", 1) and tries in told["reasons"][1]
    assert told["reasons"][0] == "started, nothing asked"


def test_what_is_refused_until_its_time_is_up_has_failed(scene: Scene) -> None:
    wants(scene, SSH, boot_timeout=60)
    scene.network.fails = ConnectionRefusedError(111, "Connection refused")
    before = scene.site.clock.now()
    told, code = scene.restore()
    assert (told["verdict"], code) == ("failed", 1)
    assert 60 < scene.site.clock.now() - before < 120


def test_where_the_settings_say_that_its_network_is_not_this_machines_nothing_is_silent(
    scene: Scene,
) -> None:
    scene.site.here = None
    told, _ = scene.restore()
    assert told["before_start"][0]["found"] == "unknown" and told["verdict"] == "inconclusive"
    assert "BACKUPSVC_GUEST_NETWORK" in told["checks"][0]["detail"]


def test_a_guest_without_checks_ends_started_and_nothing_asked(scene: Scene) -> None:
    wants(scene)
    told, code = scene.restore()
    assert (told["verdict"], told["reasons"], code) == (
        "inconclusive",
        ["started, nothing asked"],
        1,
    )


def test_an_agent_alone_shows_life_and_no_service_unless_the_tier_wants_no_more(
    scene: Scene,
) -> None:
    wants(scene, AGENT)
    told, _ = scene.restore()
    assert told["verdict"] == "inconclusive" and "only signs of life" in told["reasons"][0]


@pytest.mark.parametrize(
    ("interfaces", "verdict"),
    [
        ([{"name": "eth0", "hardware-address": OTHER}], "does not count"),
        (PvePermissionDenied("no right"), "does not tell whose it is: no right"),
        (PveError("refused", status=200), "the guest agent answers"),
    ],
)
def test_an_agent_of_another_machine_does_not_count(
    scene: Scene, interfaces: Any, verdict: str
) -> None:
    wants(scene, AGENT)

    def answer(node: str, vmid: int) -> Any:
        if isinstance(interfaces, Exception):
            raise interfaces
        return interfaces

    scene.cluster.agent.interfaces = answer
    told, _ = scene.restore()
    assert verdict in told["checks"][0]["detail"], told


def test_a_guest_that_dies_after_its_checks_has_failed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = settle.Settled(Outcome.FAILED, ("the copy stopped 3 s after its checks",))
    monkeypatch.setattr(checking, "_watched", lambda run, wanted: died)
    told, code = scene.restore()
    assert (told["verdict"], code) == ("failed", 1)
    assert told["reasons"] == ["the guest stopped 3 s after its checks"]


def test_one_that_answers_once_and_then_no_more_is_found_out_while_it_is_watched(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants(scene, SSH, settle=5)
    answered: list[int] = []
    connect = scene.network.connect

    def once(address: str, port: int, timeout: float) -> socket.socket:
        answered.append(port)
        if len(answered) > 1:
            raise ConnectionRefusedError(111, "Connection refused")
        return connect(address, port, timeout)

    monkeypatch.setattr(scene.network, "connect", once)
    told, code = scene.restore()
    assert (told["verdict"], code) == ("failed", 1), told


def test_a_node_that_came_back_meanwhile_may_have_brought_the_original(scene: Scene) -> None:
    nodes(scene, "lge")
    scene.on_start = lambda: nodes(scene)
    told, _ = scene.restore(confirm=OFF)
    assert told["verdict"] == "inconclusive" and "lge, which was silent" in told["reasons"][0]


def test_a_disk_that_the_archive_does_not_hold_keeps_it_from_being_called_running(
    scene: Scene,
) -> None:
    plan = scene.plan()
    lacking = replace(plan, memory=replace(plan.memory, missing_disks=("scsi1",)))
    told, _ = scene.restore(lacking)
    assert told["verdict"] == "inconclusive" and "disk scsi1" in told["reasons"][0]


def test_simulated_guests_are_asked_nothing_and_called_that(scene: Scene) -> None:
    scene.cluster.cluster.version = lambda: SimpleNamespace(simulated=True)
    told, code = scene.restore()
    assert (told["verdict"], code, scene.network.asked) == ("simulated", 0, 0)


# --- before it begins -----------------------------------------------------------------------------


def test_law_2_somebody_who_answers_at_its_address_keeps_it_from_being_begun(scene: Scene) -> None:
    scene.network.up = True
    plan = scene.plan()
    assert plan.unconfirmed and f"somebody answers at {IP}" in plan.unconfirmed.message
    assert plan.unconfirmed.exit_code == 4 and f'--confirm "{OFF}"' in plan.unconfirmed.hint
    told = plan_as_dict(look_ahead(scene.site, 108, Wish(Wanted()), gather=True))
    assert told["words"] == OFF and told["blockers"][0]["exit_code"] == 4
    with pytest.raises(LawRefused, match="must never run twice"):
        plan_restore(scene.site, 108, at=None, volid=None, node=None, storage=None)


@pytest.mark.parametrize("typed", ["yes", "109 is off", ""])
def test_law_2_other_words_confirm_nothing(scene: Scene, typed: str) -> None:
    nodes(scene, "lge")
    with pytest.raises(UsageError, match="confirms nothing of guest 108"):
        scene.plan(confirm=typed)


def test_law_2_who_confirmed_when_and_with_which_words_stands_in_memory_and_history(
    scene: Scene,
) -> None:
    nodes(scene, "lge")
    told, _ = scene.restore(confirm=OFF)
    given = told["confirmed"]
    assert given["words"] == OFF and given["by"] and "lge is offline" in given["doubts"][0]
    history = scene.site.catalog.operations.transitions(told["operation"])
    (line,) = [one for one in history if one.event == "confirmed"]
    assert line.detail["words"] == OFF and line.detail["by"] == given["by"]
    assert recall(operation_of(scene.site, told["operation"])).noted


def test_law_2_whoever_wakes_up_between_plan_and_begin_is_refused_also_if_a_node_was_confirmed(
    scene: Scene,
) -> None:
    nodes(scene, "lge")
    plan = scene.plan(confirm=OFF)
    scene.site.clock.sleep(60)
    scene.network.up = True
    told, code = scene.restore(plan)
    assert (code, told["error"]["step"], told["restored"]) == (4, "choose", False)
    assert f"somebody answers at {IP}" in told["error"]["message"] and scene.started == []


def test_law_2_whoever_wakes_up_while_it_is_restored_keeps_it_from_being_started(
    scene: Scene,
) -> None:
    back = scene.cluster.restore.start  # type: ignore[attr-defined]

    def wakes(*words: Any, **more: Any) -> Any:
        scene.network.up = True
        return back(*words, **more)

    scene.cluster.restore.start = wakes  # type: ignore[attr-defined]
    told, code = scene.restore()
    assert (code, told["error"]["step"]) == (4, "start") and scene.started == []
    assert told["restored"] and not told["started"]
    assert "is restored on clovis, and was not started" in told["error"]["message"]


def test_law_2_under_another_vmid_its_machine_may_have_come_back_to_its_own_before_the_start(
    scene: Scene,
) -> None:
    scene.cluster.guests_there.clear()
    plan = look_ahead(scene.site, 108, Wish(Wanted(), into=208))
    back = scene.cluster.restore.start  # type: ignore[attr-defined]

    def returns(*words: Any, **more: Any) -> Any:
        return back(*words, **more)  # under 108, with the MAC of the archive

    scene.cluster.restore.start = returns  # type: ignore[attr-defined]
    opened = open_restore(scene.site, 208, plan.memory)
    told = restore_outcome(scene.site.engine.drive_one(opened))
    assert told["error"]["step"] == "start" and scene.started == []
    assert "guest 108 (web) on clovis" in told["error"]["message"]


def test_law_2_of_one_that_is_restored_by_then_the_way_on_is_pves_own_start(scene: Scene) -> None:
    back = scene.cluster.restore.start  # type: ignore[attr-defined]

    def wakes(*words: Any, **more: Any) -> Any:
        scene.network.up = True
        return back(*words, **more)

    scene.cluster.restore.start = wakes  # type: ignore[attr-defined]
    told, _ = scene.restore()
    assert "then start the restored one in PVE" in told["error"]["hint"]
    assert "--confirm" not in told["error"]["hint"]


def test_an_address_that_is_none_is_asked_by_nobody(scene: Scene) -> None:
    wants(scene, SSH, address="no-address")
    plan = scene.plan()
    assert "no address of it is known" in plan.memory.unheard[0]
    told, _ = scene.restore(plan)
    assert told["verdict"] == "inconclusive" and "nobody listened" in told["reasons"][1]


def test_without_start_the_doubts_are_said_and_hinder_nobody(scene: Scene) -> None:
    nodes(scene, "lge")
    plan = scene.plan(start=False)
    assert plan.doubts == () and any("lge is offline" in one for one in plan.memory.unheard)
    assert scene.restore(plan)[1] == 0


def test_a_remembered_neighbour_is_asked_anew_until_it_is_known(scene: Scene) -> None:
    scene.network.stale = 3
    (look,) = hearing.listen(scene.site, [Address(IP, (22,), "x")])
    assert look.found.verdict is Verdict.SILENT and scene.network.asked == 4
    scene.network.stale = 99
    (look,) = hearing.listen(scene.site, [Address(IP, (22,), "x")])
    assert look.found.verdict is Verdict.UNKNOWN and "remembers" in look.found.words


def test_addresses_are_known_from_the_archive_and_from_the_newest_kept_set_of_that_machine(
    scene: Scene, tmp_path: Path
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    mine, theirs = (
        {
            "guests.cfg": "qemu: 108\n\tnode clovis\n",
            "guests/qemu-108.conf": f"ipconfig0: ip={ip}/24\nsmbios1: uuid={uuid}\n",
        }
        for ip, uuid in (
            ("10.0.0.1", "11111111-2222-4333-8444-555555555555"),
            ("10.0.0.2", "99999999-2222-4333-8444-555555555555"),
        )
    )
    sets = (mine, theirs, {"guests.cfg": ""}, None)
    for day, files in enumerate(sets, 1):
        data = pack(ConfigSet(files)) if files is not None else b"broken"
        (folder / name_at(day * 86400, "tar", CONFIG_SET)).write_bytes(data)
    archived = f"{GUEST}ipconfig0: ip=10.0.0.9/24\n"
    found = hearing.addresses(scene.site, 108, archived)
    assert [(one.ip, one.known_from) for one in found] == [
        (IP, "the policy"),
        ("10.0.0.9", "in its archive"),
        ("10.0.0.1", "in the cluster's kept configuration"),
    ]


def test_a_restore_that_an_older_release_left_before_its_start_is_guarded_and_asked_as_well(
    scene: Scene,
) -> None:
    stored = FORM.write(RestoreMemory(ONE, "clovis", name="web", disks=("#qmdump#map:scsi0",)))
    assert FORM.read({**stored, "version": 1}).looks == ()
    opened = open_restore(scene.site, 108, FORM.read({**stored, "version": 1}))
    nodes(scene, "lge")
    told = restore_outcome(scene.site.engine.drive_one(opened))
    assert told["error"]["step"] == "choose" and "lge is offline" in told["error"]["message"]
    nodes(scene)
    told, _ = scene.restore(replace(scene.plan(), memory=FORM.read({**stored, "version": 1})))
    # nobody listened at its address before the start
    assert told["started"] and told["verdict"] == "inconclusive"


# --- quorum ---------------------------------------------------------------------------------------


def test_a_lost_quorum_is_waited_for_and_the_restore_goes_on_when_it_is_back(scene: Scene) -> None:
    nodes(scene, "lge")
    quorate = iter([False, False, False, True])
    last = [False]

    def status() -> Any:
        last[0] = next(quorate, True)
        return SimpleNamespace(quorate=last[0])

    scene.cluster.cluster.status = status
    plan = scene.plan(confirm=OFF)
    assert plan.without_quorum and "pvecm expected 1" in plan.without_quorum.hint
    begun = scene.site.clock.now()
    told, code = scene.restore(plan)
    assert (told["verdict"], code) == ("running", 0), told
    assert scene.site.clock.now() > begun


def test_who_waits_for_quorum_says_why_and_can_be_cancelled(scene: Scene) -> None:
    nodes(scene, "lge")
    scene.cluster.cluster.status = lambda: SimpleNamespace(quorate=False)
    opened = open_restore(scene.site, 108, scene.plan(confirm=OFF).memory)
    assert isinstance(opened, Operation)
    turn = scene.site.engine.executor.advance(opened.id)
    assert isinstance(turn.wait, Wait) and "it goes on when quorum is back" in turn.wait.why
    scene.site.engine.cancel(opened.id, "enough")
    (ended,) = scene.site.engine.drive([opened.id])
    assert ended.state is OperationState.CANCELLED and scene.started == []
