"""The step ``settle``: how a copy is watched, what is asked of whom, and what a watch that broke
off is worth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, PveUnreachable
from backupsvc.operations.restore_test import proving, settling
from backupsvc.operations.restore_test.memory import recall
from backupsvc.operations.restore_test.settling import Watcher
from backupsvc.pve.guests import GuestStatus
from policies import settle as settle_policy
from policies.causes import Cause
from policies.model import CheckResult, CheckSpec, Outcome, Rung
from policies.settle import Boot, Look, Settled, Watch, decide
from tests.fakes.clock import SteppingClock
from tests.unit.operations.test_restore_test import ARCHIVE, PLACE, Steps, site  # noqa: F401
from tests.unit.operations.worlds import World, operation_of

WEB, SSH = CheckSpec("http", "web"), CheckSpec("ssh", "ssh")


class Inline:
    """A pool whose questions are answered at once, so that a watch needs no time but the clock's
    own.
    """

    def submit(self, fn: Callable[[], Any], /) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn())
        return done


@dataclass
class Scene:
    """A copy by script: ``happens`` changes it when its time has come (seconds since the watch
    began).
    """

    clock: SteppingClock = field(default_factory=SteppingClock)
    happens: dict[float, Callable[[Scene], None]] = field(default_factory=dict)
    pid: int | None = 7
    status: str = "running"
    silent: str = ""
    answer: Outcome = Outcome.PASSED
    lasts: dict[str, float] = field(default_factory=dict)
    boot_id: str = "b1"
    heartbeats: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()

    def _now(self) -> float:
        passed = self.clock.monotonic() - self.began
        for at in [at for at in self.happens if at <= passed]:
            self.happens.pop(at)(self)
        return passed

    def ask(self, spec: CheckSpec) -> CheckResult:
        self._now()
        self.clock.sleep(self.lasts.get(spec.name, 0.01))
        return CheckResult(spec.name, self.answer, "it said so")

    def look(self) -> Look:
        passed = self._now()
        if self.silent:
            return Look(self.clock.monotonic(), unseen=self.silent)
        return Look(self.clock.monotonic(), self.status, self.status, self.pid, int(passed) + 20)

    def heartbeat(self) -> None:
        self.heartbeats += 1

    def watched(self, wanted: float = 10.0, checks: tuple[CheckSpec, ...] = (WEB, SSH)) -> Watch:
        boot = lambda: Boot(self.boot_id)  # noqa: E731 - a line of the scene
        return Watcher(self.clock, Inline(), wanted, checks, self.ask, self.look, boot).watch(
            self.heartbeat
        )


def test_every_check_and_pve_are_asked_until_the_time_is_up_and_once_more() -> None:
    scene = Scene()
    watch = scene.watched()
    assert decide(watch).outcome is Outcome.PASSED
    assert 10.0 <= watch.ended - watch.began < 12.0
    for name in ("web", "ssh"):
        asked = [one for one in watch.answers if one.name == name]
        assert len(asked) >= 10 and asked[-1].began >= watch.began + 10.0
    assert len(watch.looks) >= 10 and len(watch.boots) == 2
    assert scene.heartbeats > 50


def test_a_copy_that_dies_ends_the_watch_at_once() -> None:
    def die(scene: Scene) -> None:
        scene.status, scene.pid, scene.answer = "stopped", None, Outcome.FAILED

    watch = Scene(happens={4.0: die}).watched()
    assert (decide(watch).outcome, decide(watch).cause) == (Outcome.FAILED, Cause.SERVICE)
    assert watch.ended - watch.began < 6.0


def test_law_5_when_the_node_dies_with_the_copy_nothing_is_held_against_the_archive() -> None:
    def check_fails(scene: Scene) -> None:
        scene.answer, scene.silent = Outcome.FAILED, "595 no route to host"

    found = decide(Scene(happens={4.0: check_fails}).watched())
    assert (found.outcome, found.cause) == (Outcome.INCONCLUSIVE, Cause.PLATFORM)


def test_a_reset_between_two_good_answers_is_seen_by_the_boot_id() -> None:
    found = decide(Scene(happens={4.0: lambda scene: setattr(scene, "boot_id", "b2")}).watched())
    assert (found.outcome, found.cause) == (Outcome.FAILED, Cause.SERVICE)
    assert "booted anew" in found.said[0]


def test_a_watcher_that_was_held_up_says_so_and_proves_nothing() -> None:
    found = decide(Scene(happens={4.0: lambda scene: scene.clock.sleep(5.0)}).watched())
    assert (found.outcome, found.cause, found.again) == (Outcome.INCONCLUSIVE, Cause.OURS, True)


# --- what is asked of PVE -------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def call(*args: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        (
            lambda node, vmid: GuestStatus("running", "running", True, None, 31, pid=9),
            Look(0.0, "running", "running", 9, 31),
        ),
        (raising(PveNotFound("there is no 9000.conf")), Look(0.0, gone=True)),
        (raising(PveUnreachable("no route to host")), Look(0.0, unseen="no route to host")),
        (raising(PveError("got timeout", status=500)), Look(0.0, unseen="got timeout")),
    ],
)
def test_gone_and_silent_are_two_things(status: Any, seen: Look) -> None:
    pve: Any = SimpleNamespace(guests=SimpleNamespace(status=status))
    assert replace(settling.look(pve, SteppingClock(), "clovis", 9000), at=0.0) == seen


@pytest.mark.parametrize(
    ("read", "seen"),
    [
        (lambda node, vmid, path: "0a1b-2c\n", Boot("0a1b-2c")),
        (lambda node, vmid, path: "\n", Boot(unseen="its boot id is empty")),
        (
            raising(PvePermissionDenied("no")),
            Boot(unseen="the token lacks VM.GuestAgent.FileRead there"),
        ),
        (
            raising(PveError("QEMU guest agent is not running", status=500)),
            Boot(unseen="QEMU guest agent is not running"),
        ),
    ],
)
def test_why_a_boot_id_is_not_known_is_kept(read: Any, seen: Boot) -> None:
    pve: Any = SimpleNamespace(agent=SimpleNamespace(read_file=read))
    assert settling.boot(pve, "clovis", 9000, agent=True) == seen
    assert settling.boot(pve, "clovis", 9000, agent=False) == Boot(
        unseen="the copy has no guest agent"
    )


# --- the step -------------------------------------------------------------------------------------

PASSED_CHECK = {"web": CheckResult("web", Outcome.PASSED, "", 0.1, "http")}


def watching(
    site: World, settle: int, *watches: Outcome, monkeypatch: pytest.MonkeyPatch, again: bool = True
) -> list[int]:
    """Let the site's copies settle for so long, and its watches come out like this, one after the
    other.
    """
    site.policy = replace(site.policy, scratch=replace(site.policy.scratch, settle=settle))
    site.pve = SimpleNamespace(agent=SimpleNamespace(port=lambda node, vmid: None))
    left, begun = list(watches), []

    def decided(watch: Any) -> Any:
        begun.append(1)
        outcome = left.pop(0)
        cause = None if outcome is Outcome.PASSED else Cause.OURS
        return Settled(
            outcome, (f"watch {len(begun)}",), cause, again and outcome is Outcome.INCONCLUSIVE
        )

    monkeypatch.setattr(settle_policy, "decide", decided)
    monkeypatch.setattr(settling.Watcher, "watch", lambda self, heartbeat: None)
    return begun


def test_law_5_a_watch_with_a_gap_of_our_own_is_begun_anew_and_not_for_ever(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = watching(site, 30, Outcome.INCONCLUSIVE, Outcome.PASSED, monkeypatch=monkeypatch)
    found = Steps(site, scratch=PLACE, agent=False, checks=PASSED_CHECK)("settle").memory.settled
    assert found and (found.outcome, found.said, len(begun)) == (Outcome.PASSED, ("watch 2",), 2)


def test_law_5_a_watch_that_has_a_gap_each_time_is_given_up_and_proves_nothing(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = watching(site, 30, *[Outcome.INCONCLUSIVE] * 9, monkeypatch=monkeypatch)
    found = Steps(site, scratch=PLACE, agent=False, checks=PASSED_CHECK)("settle").memory.settled
    assert found and (found.outcome, found.cause, len(begun)) == (
        Outcome.INCONCLUSIVE,
        Cause.OURS,
        settling.MAX_ANEW,
    )


def test_law_5_a_failed_watch_is_never_begun_anew(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = watching(site, 30, Outcome.FAILED, Outcome.PASSED, monkeypatch=monkeypatch)
    found = Steps(site, scratch=PLACE, agent=False, checks=PASSED_CHECK)("settle").memory.settled
    assert found and (found.outcome, len(begun)) == (Outcome.FAILED, 1)


class Killed(BaseException):
    """The worker's process is no more."""


def test_law_5_whoever_resumes_a_watch_that_was_killed_begins_it_anew(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, told = Scene(clock=site.clock), list[str]()
    site.policy = replace(site.policy, scratch=replace(site.policy.scratch, settle=10))
    site.pve = SimpleNamespace(agent=SimpleNamespace(port=lambda node, vmid: None))
    monkeypatch.setattr(
        settling, "ThreadPoolExecutor", lambda *given, **named: contextlib.nullcontext(Inline())
    )
    monkeypatch.setattr(settling, "look", lambda *given: scene.look())
    monkeypatch.setattr(settling, "boot", lambda *given, **named: Boot("b1"))
    monkeypatch.setattr("backupsvc.checks.run", lambda spec, target: scene.ask(spec))
    steps = Steps(site, scratch=PLACE, agent=False, checks=PASSED_CHECK)
    steps.engine.executor.observe(lambda event: told.append(event.text))
    scene.happens[scene.clock.monotonic() - scene.began + 5.0] = kill
    with pytest.raises(Killed):
        steps("settle")
    assert recall(operation_of(site, steps.id)).settled is None
    began = site.clock.monotonic()
    found = steps("settle").memory.settled
    assert site.clock.monotonic() - began >= 10.0, "the five seconds before the kill were counted"
    assert found and found.outcome is Outcome.PASSED and any("begins anew" in text for text in told)


def kill(scene: Scene) -> None:
    raise Killed


def test_law_5_a_watch_is_not_begun_anew_when_the_deadline_would_pass(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = watching(site, 30, *[Outcome.INCONCLUSIVE] * 9, monkeypatch=monkeypatch)
    soon = int(site.clock.now()) + 20
    found = (
        Steps(site, scratch=PLACE, agent=False, checks=PASSED_CHECK)
        .book(deadline=soon)("settle")
        .memory.settled
    )
    assert found and (found.outcome, found.cause, len(begun)) == (
        Outcome.INCONCLUSIVE,
        Cause.OURS,
        1,
    )


def test_a_settle_of_nothing_asks_nobody_and_is_said(site: World) -> None:
    site.policy = replace(site.policy, scratch=replace(site.policy.scratch, settle=0))
    site.pve = SimpleNamespace(agent=SimpleNamespace(port=lambda node, vmid: None))
    found = Steps(site, scratch=PLACE, agent=True, checks=PASSED_CHECK)("settle").memory.settled
    assert found and found.outcome is Outcome.PASSED and "settle: 0s" in found.said[0]


def test_a_guests_own_settle_goes_before_the_sites(site: World) -> None:
    guest = replace(site.policy.guests[108], settle=0)
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    assert site.policy.scratch.settle == 30
    assert settling.seconds(site.policy.scratch, guest) == 0


def test_a_copy_that_failed_a_check_is_not_watched(site: World) -> None:
    site.pve = SimpleNamespace(agent=SimpleNamespace(port=lambda node, vmid: None))
    failed = {"web": replace(PASSED_CHECK["web"], outcome=Outcome.FAILED)}
    found = Steps(site, scratch=PLACE, agent=True, checks=failed)("settle").memory.settled
    assert found and found.said == () and found.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("settled", "verdict", "cause", "rto"),
    [
        (Settled(Outcome.PASSED, ("it lived on",)), "proven", None, 4.0),
        (Settled(Outcome.FAILED, ("it went off",), Cause.SERVICE), "failed", "service", None),
        (
            Settled(Outcome.INCONCLUSIVE, ("no answer",), Cause.PLATFORM),
            "inconclusive",
            "platform",
            None,
        ),
        (None, "inconclusive", "ours", None),
    ],
    ids=["lived on", "died", "the node died", "nobody watched"],
)
def test_law_5_only_a_copy_that_was_seen_to_live_on_proves_and_only_then_its_time_counts(
    site: World,
    settled: Settled | None,
    verdict: str,
    cause: str | None,
    rto: float | None,
) -> None:
    site.catalog.archives.raise_rung(
        ARCHIVE.node, ARCHIVE.volid, Rung.INTACT, int(site.clock.now())
    )
    done = {"restore": 2.0, "isolate": 0.1}
    watched = {"settled": settled, "settle_seconds": 30}
    steps = Steps(site, scratch=PLACE, booted=True, checks=PASSED_CHECK, rto=4.0, **watched).book(
        seconds=done
    )
    steps.enter("choose")
    proof = steps("judge").memory.proof
    assert proof and (proof.verdict, proof.cause, proof.rto) == (verdict, cause, rto)
    said = settled.said[0] if settled else "not watched after its checks"
    assert any(said in reason for reason in proof.reasons)
    told = (
        {"seconds": 30, "outcome": settled.outcome, "said": [*settled.said], "cause": settled.cause}
        if settled
        else None
    )
    assert proving.outcome(operation_of(site, steps.id))["settle"] == told
