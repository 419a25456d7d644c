"""The steps of a restore test, each called again after PVE went wrong in the middle of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeAlias

import pytest

from backupsvc import checks
from backupsvc.engine.context import Run
from backupsvc.engine.foreground import Engine
from backupsvc.errors import (
    AgentHeld,
    BackupsvcError,
    LawRefused,
    OperationFailed,
    PveError,
    PveUnreachable,
    TaskFailed,
)
from backupsvc.operations import build_engine
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test import steps as restore_test
from backupsvc.operations.restore_test.asking import MAX_UNSURE
from backupsvc.operations.restore_test.memory import FORM, RestoreTestMemory
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.operations.services import StepServices
from backupsvc.operations.showing import exit_code
from backupsvc.pve.guests import GuestStatus
from backupsvc.pve.tasks import TaskResult
from backupsvc.settings import Settings
from policies import ownership
from policies.bookkeeping import StepError, TaskRecord
from policies.causes import Cause
from policies.error_kinds import ErrorKind
from policies.model import (
    CheckResult,
    CheckSpec,
    GuestPolicy,
    Job,
    Node,
    Operation,
    OperationState,
    Outcome,
    Policy,
    Proof,
    Rung,
    Scratch,
    SeenStorages,
    Storage,
    Verdict,
)
from policies.settle import Settled
from policies.site import DEFAULT_TIER
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import ended
from tests.unit.operations.worlds import World, world

SCRATCH = Scratch(9000, 9009)
ARCHIVE = archive(108, 1)
PLACE = ScratchPlace(9000, "clovis", "local-lvm")


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    guests = MappingProxyType(
        {108: GuestPolicy(108, "Debian-Server", "standard", checks=(CheckSpec("agent", "agent"),))}
    )
    jobs = (Job("nightly", "21:00", "local"),)
    tiers = MappingProxyType({"standard": replace(DEFAULT_TIER, proof_rung=Rung.BOOTED)})
    made.policy = Policy("s", "Europe/Paris", "en", jobs, tiers, guests, SCRATCH, "standard")
    made.settings = Settings(state_dir=tmp_path)
    made.probe = lambda node: None
    made.catalog.archives.observe([ARCHIVE], scope=[], at=int(made.clock.now()))
    yield made
    made.catalog.close()


LIVED_ON = Settled(Outcome.PASSED)


def running(**parts: Any) -> SimpleNamespace:
    """A PVE that says of every guest that it runs, and nothing of its disks."""
    state = GuestStatus("running", "running", True, None, 60)
    return SimpleNamespace(guests=SimpleNamespace(status=lambda node, vmid: state), **parts)


def described(step: str, error: BackupsvcError) -> StepError:
    """The error that a step ended with, as the engine keeps it."""
    return StepError(step, error.message, error.hint, error.kind, error.exit_code)


TestRun: TypeAlias = Run[StepServices, RestoreTestMemory]


class Steps:
    """An operation whose steps are called one by one, as the engine calls them: its memory lasts
    from one to the next.
    """

    def __init__(self, site: World, **known: Any) -> None:
        """Begin with an archive that was chosen, and with what else is known (the fields of its
        memory).
        """
        self.engine, self.site = Engine(site, KINDS), site
        memory = RestoreTestMemory(archive=ARCHIVE, config=CONFIG, network="none")
        operation = self.engine.open("restore-test", 108, replace(memory, **known))
        assert operation
        self.id = operation.id

    def run(self) -> TestRun:
        """One call of a step's handler, before the handler is called."""
        operation = self.site.catalog.operations.claim(self.id, self.engine.executor.driver())
        assert operation
        return Run(self.engine.executor, self.site, operation, FORM)

    def book(self, **known: Any) -> Steps:
        """Let the engine have kept these of it (the fields of its bookkeeping)."""
        run = self.run()
        run.book = replace(run.book, **known)
        run.save()
        return self

    def enter(self, *steps: str) -> None:
        """Let the steps have been entered now."""
        run = self.run()
        for step in steps:
            run.enter(step)
        run.save()

    def __call__(self, step: str) -> TestRun:
        """Call a step; what it remembers is written down also when it fails."""
        run = self.run()
        run.enter(step)
        try:
            self.answer = restore_test.HANDLERS[step](run)
        finally:
            run.save()
        return run


def once(error: Exception, then: Any) -> Any:
    """A call that fails the first time."""
    calls: list[int] = []

    def call(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return then

    return call


def test_law_2_what_was_stripped_is_evidence_also_when_the_answer_to_the_strip_was_lost(
    site: World,
) -> None:
    config = {"description": "", "onboot": "1", "digest": "d"}

    def strip(node: str, vmid: int, operation: str, keys: tuple[str, ...]) -> None:
        for key in keys:
            del config[key]
        raise PveUnreachable("the connection broke off; whether it was carried out is not known")

    site.pve = SimpleNamespace(
        guests=SimpleNamespace(config=lambda node, vmid: dict(config)),
        scratch=lambda scratch, holder: SimpleNamespace(
            apply_strip=strip, require_bridge=lambda node, network: ()
        ),
        cluster=SimpleNamespace(ha_resources=dict),
    )
    steps = Steps(site, scratch=PLACE)
    config["description"] = ownership.marker(steps.id)
    with pytest.raises(PveUnreachable):
        steps("isolate")
    assert steps("isolate").memory.isolation.stripped == ("onboot: 1 removed",)


def test_a_check_that_could_not_be_put_once_is_put_again(site: World) -> None:
    ping = once(PveError("got timeout", status=500), True)
    agent = SimpleNamespace(ping=ping, osinfo=lambda: {"name": "Debian"})
    site.pve = SimpleNamespace(
        agent=SimpleNamespace(port=lambda node, vmid: agent, held=lambda node, vmid: False)
    )
    steps = Steps(site, scratch=PLACE, agent=True)
    steps("check")
    assert steps.answer is not None
    assert steps("check").memory.checks["agent"].outcome is Outcome.PASSED


def test_law_5_an_agent_of_another_does_not_pass_when_it_is_put_again_beside_a_slow_service(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = [{"name": "eth0", "hardware-address": "BC:24:11:00:00:99"}]
    agent = SimpleNamespace(
        port=lambda node, vmid: None,
        held=lambda node, vmid: False,
        interfaces=lambda node, vmid: other,
        hostname=lambda node, vmid: "another",
    )
    site.pve = SimpleNamespace(agent=agent)
    specs = (CheckSpec("agent", "agent"), CheckSpec("http", "page"))
    guests = {108: replace(site.policy.guests[108], checks=specs)}
    site.policy = replace(site.policy, guests=guests)
    pages = [Outcome.FAILED, Outcome.PASSED]

    def put(spec: CheckSpec, whom: Any) -> CheckResult:
        outcome = Outcome.PASSED if spec.kind == "agent" else pages.pop(0)
        return CheckResult(spec.name, outcome, "answered")

    monkeypatch.setattr(checks, "run", put)
    steps = Steps(site, scratch=PLACE, agent=True, macs=("BC:24:11:00:00:08",))
    steps("check")
    assert steps.answer is not None, "the page is waited for"
    found = steps("check").memory.checks
    assert {name: str(one.outcome) for name, one in found.items()} == {
        "agent": "inconclusive",
        "page": "passed",
    }


def test_a_check_that_can_never_be_put_is_not_waited_for(site: World) -> None:
    steps = Steps(site, scratch=PLACE, agent=False)
    for _ in range(MAX_UNSURE):
        run = steps("check")
    assert steps.answer is None
    assert run.memory.checks["agent"].outcome is Outcome.INCONCLUSIVE


ONE_BRIDGE = {"/sdn/zones/localnetwork/vmbr9": frozenset({"SDN.Use"})}


def with_room(site: World, permissions: Any = lambda: ONE_BRIDGE) -> None:
    """Let PVE have room for a copy."""
    free = Storage(
        "local-lvm", "clovis", "lvmthin", frozenset({"images"}), available=1 << 40, total=1 << 40
    )
    local = Storage("local", "clovis", "dir", frozenset({"backup"}))
    site.pve = SimpleNamespace(
        cluster=SimpleNamespace(
            guests=list,
            nodes=lambda max_age=0.0: [Node("clovis", True, max_memory=1 << 40)],
            vmid_free=lambda vmid: True,
            permissions=permissions,
            ha_resources=set,
        ),
        scratch=lambda scratch, holder: SimpleNamespace(require_bridge=lambda node, network: ()),
        storage=SimpleNamespace(
            seen=lambda: SeenStorages(
                (
                    free,
                    local,
                )
            ),
            volumes=lambda node, storage, vmid: [],
        ),
    )


def test_a_reservation_that_pve_interrupted_is_made_again_as_a_whole(site: World) -> None:
    with_room(site, once(PveError("got timeout", status=500), ONE_BRIDGE))
    steps = Steps(site)
    with pytest.raises(PveError):
        steps("reserve")
    memory = steps("reserve").memory
    assert (memory.scratch, memory.network) == (PLACE, "link-down") and memory.planned
    assert site.catalog.leases.holders() == {9000: steps.id}


def test_a_test_that_was_cancelled_before_it_chose_an_archive_is_cancelled_and_has_not_failed(
    site: World,
) -> None:
    site.engine = build_engine(site, foreground=False)
    operation = open_test(site, 108)
    assert operation
    ended = site.engine.cancel(operation.id, "cancelled by the administrator")
    assert (ended.state, ended.error) == (
        OperationState.CANCELLED,
        "cancelled by the administrator",
    )


@pytest.mark.parametrize(
    ("step", "verdict"),
    [(-3600, "inconclusive"), (3600, "inconclusive"), (29, "proven"), (0, "proven")],
)
def test_a_clock_that_is_set_during_a_test_makes_no_stage_longer_or_shorter(
    site: World, step: float, verdict: str
) -> None:
    agent = SimpleNamespace(ping=lambda: True, osinfo=lambda: {"name": "Debian"})
    site.pve = SimpleNamespace(
        agent=SimpleNamespace(port=lambda node, vmid: agent, held=lambda node, vmid: False)
    )
    site.catalog.archives.raise_rung(
        ARCHIVE.node, ARCHIVE.volid, Rung.INTACT, int(site.clock.now())
    )
    done = {"restore": 20.0, "isolate": 0.1}
    steps = Steps(site, scratch=PLACE, agent=True, booted=True, settled=LIVED_ON).book(seconds=done)
    steps.enter("choose", "begin")
    site.clock.sleep(20)
    site.clock.step(step)
    assert steps("check").memory.rto == 20.0
    steps("judge")
    [proof] = site.catalog.proofs.find(vmid=108)
    assert (str(proof.verdict), proof.rto) == (verdict, 20.0 if verdict == "proven" else None)


@pytest.mark.parametrize(
    ("lasted", "rto"),
    [(30, 50.0), (-3540, 620.0), (5, 55.0)],
    ids=["read beside it", "node's clock set back", "a little"],
)
def test_the_time_that_a_restore_takes_does_not_count_how_long_its_archive_was_read_beside_it(
    site: World, lasted: int, rto: float
) -> None:
    took = SimpleNamespace(
        lasted=lambda upid: lasted, poll=lambda upid: TaskResult(upid, True, "OK", 0, ())
    )
    agent = SimpleNamespace(ping=lambda: True, osinfo=lambda: {"name": "Debian"})
    agents = SimpleNamespace(port=lambda node, vmid: agent, held=lambda node, vmid: False)
    site.pve = SimpleNamespace(tasks=took, agent=agents)
    read = {"begin": 30.0, "read": 570.0 if lasted == 30 else 565.0}
    steps = Steps(site, scratch=PLACE, agent=True, booted=True, planned={})
    steps.book(seconds=read, tasks={"restore": TaskRecord(upid="UPID")})
    steps.enter("choose", "begin")
    site.clock.sleep(600)  # so long was it read; it was restored after half a minute
    steps("restore")
    site.clock.sleep(20)
    assert steps("check").memory.rto == rto


@pytest.mark.parametrize("known", [True, False])
def test_law_5_an_archive_that_only_its_notes_call_ours_is_not_relied_on_for_its_checksums(
    site: World, known: bool
) -> None:
    agent = SimpleNamespace(ping=lambda: True, osinfo=lambda: {"name": "Debian"})
    agents = SimpleNamespace(port=lambda node, vmid: agent, held=lambda node, vmid: False)
    site.pve = SimpleNamespace(agent=agents)
    steps = Steps(site, scratch=PLACE, agent=True, booted=True, settled=LIVED_ON)
    # a rebuilt catalog has the name of the operation and not the operation
    named = steps.id if known else "01J8Z3K4M5N6P7Q8R9S0T1V2W3"
    site.catalog.archives.annotate(ARCHIVE.node, ARCHIVE.volid, operation=named)
    steps.book(seconds={"restore": 20.0, "isolate": 0.1})
    steps.enter("choose", "begin")
    steps("check")
    told = steps("judge").memory.proof
    assert told and (str(told.verdict) == "proven") is known, told


@pytest.mark.parametrize("wanted", [Rung.HEALTHY, Rung.BOOTED])
def test_an_agents_ping_alone_proves_no_more_than_the_tier_of_its_guest_wants(
    site: World, wanted: Rung
) -> None:
    site.policy = replace(site.policy, tiers={"standard": replace(DEFAULT_TIER, proof_rung=wanted)})
    agent = SimpleNamespace(ping=lambda: True, osinfo=lambda: {"name": "Debian"})
    site.pve = SimpleNamespace(
        agent=SimpleNamespace(port=lambda node, vmid: agent, held=lambda node, vmid: False)
    )
    site.catalog.archives.raise_rung(
        ARCHIVE.node, ARCHIVE.volid, Rung.INTACT, int(site.clock.now())
    )
    steps = Steps(site, scratch=PLACE, agent=True, booted=True, settled=LIVED_ON)
    steps.book(seconds={"restore": 20.0, "isolate": 0.1})
    steps.enter("choose", "begin")
    steps("check")
    memory = steps("judge").memory
    told, proven = memory.proof, wanted is Rung.BOOTED
    assert told and (told.verdict, told.rung, told.cause) == (
        "proven" if proven else "inconclusive",
        "booted",
        None,
    )
    assert told.reasons[0].startswith("no-service-check: ") is not proven
    now = site.catalog.archives.get(ARCHIVE.node, ARCHIVE.volid)
    assert now and (now.rung, now.proven_at is not None) == (Rung.BOOTED, proven)
    done = Operation(
        steps.id, "restore-test", 108, OperationState.DONE, "judge", FORM.write(memory), 1, 2, 3
    )
    assert exit_code(site.catalog, done) == (0 if proven else 1)


FULL = ("progress 40%", "vma: restore failed - blk_pwrite to  failed (-28)")
FLIPPED = (
    "x.vma.zst : Decoding error (36) : Restored data doesn't match checksum",
    "vma: restore failed - short vma extent",
)


@pytest.mark.parametrize(
    ("log", "verdict", "cause", "rung", "still_proven"),
    [
        (FULL, "inconclusive", "capacity", Rung.HEALTHY, True),
        ((), "inconclusive", "platform", Rung.HEALTHY, True),
        (FLIPPED, "failed", "archive", Rung.RECORDED, False),
    ],
    ids=["scratch storage full", "no word of why", "flipped"],
)
def test_law_3_only_what_lies_in_the_archive_costs_it_its_proof(
    site: World, log: tuple[str, ...], verdict: str, cause: str, rung: Rung, still_proven: bool
) -> None:
    """All three end with the same exit status."""
    before = Proof(
        "earlier", 108, ARCHIVE.volid, "clovis", ARCHIVE.ctime, Verdict.PROVEN, Rung.HEALTHY, 1, 2
    )
    site.catalog.proofs.record(before)
    result = ended("command 'zstd -q -d -c x | vma extract' failed: exit code 133", *log)
    site.pve = SimpleNamespace(
        tasks=SimpleNamespace(
            poll=lambda upid: result, find=lambda node, **wanted: [], surely_runs=lambda upid: False
        ),
        restore=SimpleNamespace(start=lambda *args, **named: "UPID:x"),
        cluster=SimpleNamespace(ha_resources=set),
    )
    steps = Steps(site, scratch=PLACE, bridge=None)
    with pytest.raises(TaskFailed) as failed:
        steps("restore")
    steps.enter("choose")
    steps.book(error=described("restore", failed.value))
    proof = steps("judge").memory.proof
    assert proof and proof.cause == cause
    now = site.catalog.archives.get(ARCHIVE.node, ARCHIVE.volid)
    assert now and (now.rung, now.proven_at is not None) == (rung, still_proven)
    assert bool(now.damaged) is not still_proven
    assert (
        site.catalog.proofs.find(vmid=108)[0].verdict == verdict
        and site.catalog.proofs.find(vmid=108)[0].cause == cause
    )


def test_a_copy_that_never_showed_a_sign_of_life_was_restored_and_is_blamed_on_its_boot(
    site: World,
) -> None:
    site.catalog.archives.raise_rung(
        ARCHIVE.node, ARCHIVE.volid, Rung.INTACT, int(site.clock.now())
    )
    error = StepError("boot", "no sign of life", kind=ErrorKind.OPERATION_FAILED)
    steps = Steps(site, scratch=PLACE, booted=False).book(
        seconds={"restore": 2.0, "isolate": 0.1}, error=error
    )
    steps.enter("choose")
    proof = steps("judge").memory.proof
    assert proof and (proof.verdict, proof.rung, proof.cause) == (
        Verdict.FAILED,
        Rung.RESTORED,
        Cause.BOOT,
    )


def refusing(node: str, network: str) -> None:
    raise LawRefused(2, f"no copy starts on {node} ({network}): bridge vmbr0 has the ports eno1")


def test_law_2_no_vmid_is_taken_on_a_node_whose_bridge_is_not_isolated(site: World) -> None:
    with_room(site)
    site.pve.scratch = lambda scratch, holder: SimpleNamespace(require_bridge=refusing)
    with pytest.raises(LawRefused, match="eno1"):
        Steps(site)("reserve")
    assert site.catalog.leases.holders() == {}


def test_law_2_a_copy_is_not_prepared_on_a_bridge_that_got_a_port_while_it_was_restored(
    site: World,
) -> None:
    touched: list[str] = []
    site.pve = SimpleNamespace(
        guests=SimpleNamespace(config=lambda node, vmid: touched.append("config")),
        scratch=lambda scratch, holder: SimpleNamespace(require_bridge=refusing),
    )
    with pytest.raises(LawRefused, match="clovis"):
        Steps(site, scratch=PLACE, network="isolated")("isolate")
    assert touched == []


@pytest.mark.parametrize(
    ("looks", "booted"),
    [
        ([Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE], None),
        ([Outcome.FAILED, Outcome.INCONCLUSIVE], None),
        ([Outcome.INCONCLUSIVE, Outcome.FAILED], False),
    ],
    ids=["never asked", "asked once, then the probe went down", "asked in the end"],
)
def test_law_5_only_a_copy_that_was_asked_and_stayed_silent_has_not_booted(
    site: World, monkeypatch: pytest.MonkeyPatch, looks: list[Outcome], booted: bool | None
) -> None:
    """What could not be asked is unknown, and no sign of death: it must not cost the archive its
    proof.
    """
    guest = GuestPolicy(
        108, "Debian-Server", "standard", "", "isolated", "10.0.0.8", (CheckSpec("ssh", "ssh 22"),)
    )
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    site.probe = lambda node: SimpleNamespace(connect=None, refused=None)
    left = list(looks)
    monkeypatch.setattr(
        "backupsvc.checks.run",
        lambda spec, target: CheckResult("ssh 22", left.pop(0), "", kind="ssh"),
    )
    site.pve = running()
    steps = Steps(site, scratch=PLACE, network="isolated", agent=False)
    steps.enter("boot")
    steps("boot")
    assert steps.answer is not None
    site.clock.sleep(guest.boot_timeout + 1)
    if booted is False:
        with pytest.raises(OperationFailed, match="no sign of life"):
            steps("boot")
    else:
        assert steps("boot").memory.booted is None and steps.answer is None


# --- somebody dumps the copy ----------------------------------------------------------------------


def held_agent(*held: bool) -> SimpleNamespace:
    """A copy's agent that is not asked while the copy is dumped: at each look in turn, the last one
    again and again.
    """
    looks, agent = list(held), SimpleNamespace(ping=lambda: True, osinfo=lambda: {"name": "Debian"})

    def ping(node: str, vmid: int) -> bool:
        if looks[0]:
            raise AgentHeld("it is being dumped")
        return True

    return SimpleNamespace(
        port=lambda node, vmid: agent,
        ping=ping,
        held=lambda node, vmid: looks.pop(0) if len(looks) > 1 else looks[0],
    )


def test_a_copys_agent_is_not_asked_while_somebody_dumps_the_copy_and_its_check_waits(
    site: World,
) -> None:
    site.pve = SimpleNamespace(agent=held_agent(True, True, True, True, False))
    steps = Steps(site, scratch=PLACE, agent=True)
    for _ in range(MAX_UNSURE + 1):
        assert steps("check").memory.checks == {}
        assert steps.answer is not None and "dumps the copy" in steps.answer.why
    assert steps("check").memory.checks["agent"].outcome is Outcome.PASSED


def test_a_copy_that_is_dumped_all_the_time_is_neither_alive_nor_dead(site: World) -> None:
    site.pve = running(agent=held_agent(True))
    steps = Steps(site, scratch=PLACE, agent=True)
    steps("boot")
    assert steps.answer is not None
    site.clock.sleep(601)
    assert steps("boot").memory.booted is None and steps.answer is None, (
        "that nobody was asked is no sign of death"
    )
