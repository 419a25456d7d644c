"""A drill's steps: the guest goes out and comes home, whatever HA, a person or a dying process does
meanwhile, or it is said where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.clock import moment
from backupsvc.engine import worker_loop
from backupsvc.errors import (
    BackupsvcError,
    LawRefused,
    PveError,
    PvePermissionDenied,
    PveUnreachable,
    Refused,
)
from backupsvc.operations import build_engine
from backupsvc.operations.ha_drill import steps, travelling
from backupsvc.operations.ha_drill.memory import recall
from backupsvc.operations.ha_drill.opening import open_drill
from backupsvc.operations.ha_drill.result import in_words, lines, outcome, summary
from backupsvc.pve.ha import Wished
from backupsvc.pve.tasks import TaskRow
from backupsvc.settings import Settings
from policies import windows
from policies.ha.drill import Plan
from policies.ha.drill_measure import EVERY, Sample
from policies.ha.facts import HaStatus
from policies.model import (
    CheckSpec,
    Guest,
    HaRules,
    Node,
    Operation,
    OperationState,
    Policy,
    Scratch,
)
from tests.fakes.clock import SteppingClock
from tests.unit.operations.worlds import World, world

HOME, AWAY, THIRD = "clovis", "pve02", "pve03"
CHECK = CheckSpec("http", "http :80/", {"port": 80})
PLAN = Plan(108, "Debian-Server", "vm:108", HOME, AWAY, "migrate", CHECK, "10.0.0.8", ())
TAKES = 12.0  # seconds from a wish to its end
AWAY_FOR = (6.0, 8.0)  # seconds after a wish between which the service is away


@dataclass
class Site:
    """A cluster with one guest under HA. ``wishes`` are what HA was asked; each is carried out when
    its time has come, unless ``deaf``. ``fails`` are the ends of the next moves.
    """

    clock: SteppingClock
    node: str = HOME
    state: str = "started"
    offline: set[str] = field(default_factory=set)
    wishes: list[tuple[float, str, str]] = field(default_factory=list)
    deaf: int = 0
    fails: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    said: Wished = field(default_factory=Wished)
    tasks_there: list[tuple[str, TaskRow]] = field(default_factory=list)
    events: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    silent: list[tuple[float, float]] = field(default_factory=list)
    mac: str | None = None
    blind: bool = False
    takes: float = TAKES

    def happen(self) -> None:
        now = self.clock.monotonic()
        for item in [item for item in self.events if item[0] <= now]:
            self.events.remove(item)
            item[1]()

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        self.events.append((self.clock.monotonic() + seconds, act))

    def move(self, sid: str, node: str, how: str) -> Wished:
        if self.errors:
            raise self.errors.pop(0)
        now = self.clock.monotonic()
        self.wishes.append((now, node, how))
        if self.deaf:
            self.deaf -= 1
            return self.said
        self.silent.append((now + AWAY_FOR[0], now + AWAY_FOR[1]))
        self.at(3.0, lambda: setattr(self, "state", how))
        self.at(self.takes, lambda: self._moved(node))
        return self.said

    def _moved(self, node: str) -> None:
        end = self.fails.pop(0) if self.fails else "OK"
        name = (
            f"UPID:{self.node}:0000A1B2:00097285:{int(self.clock.now()):08X}:qmigrate:108:root@pam:"
        )
        self.tasks_there.append((self.node, TaskRow(name, end, int(self.clock.now()), "root@pam")))
        self.node, self.state = (node if end == "OK" else self.node), "started"

    def put(self, node: str, state: str = "started") -> None:
        self.node, self.state = node, state

    def up(self, at: float) -> bool:
        return not any(begins <= at < ends for begins, ends in self.silent)

    # --- as the service asks it

    def status(self) -> HaStatus:
        self.happen()
        return HaStatus(services={"vm:108": self.state}, homes={"vm:108": self.node})

    def guests(self, max_age: float = 0.0) -> list[Guest]:
        return [Guest(108, "Debian-Server", self.node)]

    def nodes(self, max_age: float = 0.0) -> list[Node]:
        return [Node(name, name not in self.offline) for name in (HOME, AWAY, THIRD)]

    def find(self, node: str, *, type: str, vmid: int, since: int, mine: bool) -> list[TaskRow]:
        if self.blind:
            raise PvePermissionDenied("no", "")
        rows = [row for where, row in self.tasks_there if where == node and row.starttime >= since]
        return rows[::-1]

    def pve(self) -> Any:
        tasks = SimpleNamespace(find=self.find, lasted=lambda upid: 7)
        cluster = SimpleNamespace(guests=self.guests, nodes=self.nodes)
        return SimpleNamespace(
            ha=SimpleNamespace(status=self.status, move=self.move), cluster=cluster, tasks=tasks
        )


class Heard:
    """A watch that hears what the site's service says at each tenth of a second."""

    site: Site

    def __init__(self, spec: CheckSpec, vmid: int, address: str, routes: Any, clock: Any) -> None:
        self.began, self.detail = clock.monotonic(), "no answer"

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def heard(self) -> tuple[list[Sample], float]:
        passed = self.site.clock.monotonic() - self.began
        times = [number * EVERY for number in range(int(passed / EVERY))]
        return [Sample(at, 0.01, self.site.up(self.began + at)) for at in times], passed


@dataclass
class Stage:
    world: World
    site: Site

    def open(self, **changes: Any) -> Operation:
        opened = open_drill(self.world, replace(PLAN, **changes), ("bc:24:11:00:00:08",))
        assert opened
        return opened

    def drill(self, **changes: Any) -> Operation:
        ended: Operation = self.world.engine.drive_one(self.open(**changes))
        return ended


@pytest.fixture
def stage(sqlite_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = world(sqlite_url)
    rules = HaRules(windows.parse("00:00-24:00"))
    nothing: Any = {}
    made.policy = Policy(
        "s", "UTC", "en", (), nothing, nothing, Scratch(9000, 9009), "standard", ha=rules
    )
    made.settings = Settings(state_dir=tmp_path)
    site = Site(made.clock)
    made.pve = site.pve()
    made.engine = build_engine(made)
    Heard.site = site
    monkeypatch.setattr(travelling, "Watch", Heard)
    monkeypatch.setattr(
        steps, "listen", lambda *_: ([Sample(0.0, 0.0, site.up(made.clock.monotonic()))], "mute")
    )
    monkeypatch.setattr("backupsvc.checks.outside.neighbour", lambda routes, address: site.mac)
    yield Stage(made, site)
    made.catalog.close()


def code(stage: Stage, ended: Operation) -> int:
    return int(stage.world.engine.kinds["ha-drill"].exit_code(stage.world.catalog, ended))


def test_a_guest_goes_out_is_heard_there_and_comes_home(stage: Stage) -> None:
    ended = stage.drill()
    assert ended.state is OperationState.DONE and code(stage, ended) == 0
    assert [(node, how) for _, node, how in stage.site.wishes] == [
        (AWAY, "migrate"),
        (HOME, "migrate"),
    ]
    told = outcome(ended)
    assert (told["back_home"], told["ended_on"], told["worth"], told["well"]) == (
        True,
        HOME,
        "measured",
        True,
    )
    for way in (told["out"], told["back"]):
        assert way["arrived"] and way["answered"] and way["task_seconds"] == 7
        assert way["interruption_seconds"] == pytest.approx(2.0, abs=0.3)
        assert way["seconds"] == pytest.approx(TAKES, abs=2)
    assert told["interruption_seconds"] == pytest.approx(4.0, abs=0.5)
    assert told["longest_gap_seconds"] == pytest.approx(2.1, abs=0.2)
    assert "on pve02 and home again; interrupted" in in_words(ended)
    assert len(lines(ended)) == 3 and summary(ended)["well"] is True


def test_a_move_that_fails_leaves_it_at_home_and_says_why(stage: Stage) -> None:
    stage.site.fails = ["migration aborted"]
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and code(stage, ended) == 1
    assert "PVE's task ended with migration aborted; it is on clovis" in str(ended.error)
    assert len(stage.site.wishes) == 1 and stage.site.node == HOME
    told = outcome(ended)
    assert (told["back_home"], told["worth"]) == (True, "unknown")
    assert in_words(ended) == "it did not get to pve02"


def test_a_way_home_that_fails_once_is_asked_once_more_and_then_given_up(stage: Stage) -> None:
    stage.site.fails = ["OK", "migration aborted"]
    ended = stage.drill()
    assert ended.state is OperationState.DONE and stage.site.node == HOME
    assert outcome(ended)["back"]["asked"] == 2


def test_a_guest_that_cannot_come_home_is_said_to_be_away(stage: Stage) -> None:
    stage.site.fails = ["OK", "migration aborted", "migration aborted"]
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and stage.site.node == AWAY
    error = ended.book.worst
    assert error and "it is on pve02" in error.message
    assert "ha-manager migrate vm:108 clovis" in error.hint
    told = outcome(ended)
    assert (told["back_home"], told["ended_on"], told["well"]) == (False, AWAY, False)
    assert "now on pve02" in in_words(ended)


def test_ha_that_takes_it_home_by_itself_is_believed(stage: Stage) -> None:
    site = stage.site
    site.at(TAKES + 4, lambda: site.put(AWAY, "migrate"))
    site.at(TAKES + 10, lambda: site._moved(HOME))
    ended = stage.drill()
    assert ended.state is OperationState.DONE and len(site.wishes) <= 2
    assert outcome(ended)["out"]["arrived"]


def test_one_that_came_back_before_anybody_looked_went_all_the_same(stage: Stage) -> None:
    site, clock = stage.site, stage.world.clock

    def both() -> None:
        site._moved(AWAY)
        site._moved(HOME)

    site.takes = 10_000.0
    site.at(6.0, both)
    ended = stage.drill()
    assert ended.state is OperationState.DONE, ended.error
    told = outcome(ended)
    assert told["out"]["arrived"] and told["back"]["by_ha_itself"] and len(site.wishes) == 1
    assert clock.monotonic() > 0


def test_law_1_one_that_somebody_moved_elsewhere_is_left_there(stage: Stage) -> None:
    site = stage.site

    def moved() -> None:
        site.events.clear()
        site.put(THIRD)

    site.at(5.0, moved)
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and site.node == THIRD
    assert len(site.wishes) == 1
    assert "it is on pve03, where this drill did not put it" in str(ended.error)
    assert outcome(ended)["back_home"] is False


def test_one_whose_node_is_lost_is_hads_and_comes_home_when_its_node_is_back(stage: Stage) -> None:
    site = stage.site

    def lost() -> None:
        site.events.clear()
        site.put(HOME, "fence")
        site.offline = {HOME}
        site.at(20.0, lambda: site.put(AWAY))
        site.at(60.0, site.offline.clear)

    site.at(5.0, lost)
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and site.node == HOME
    told = outcome(ended)
    assert "its node was lost meanwhile" in told["error"]["message"] and told["back_home"] is True
    assert told["worth"] == "unknown"


def test_one_whose_home_stays_off_is_said_to_be_away(stage: Stage) -> None:
    site = stage.site
    site.at(TAKES + 1, lambda: site.offline.add(HOME))
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and site.node == AWAY
    error = ended.book.worst
    assert error and "cannot be moved to clovis, which is not online" in error.message


def test_ha_that_hears_nothing_is_asked_twice_and_it_stays_at_home(stage: Stage) -> None:
    stage.site.deaf = 9
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and len(stage.site.wishes) == 2
    assert "HA was asked 2 times" in str(ended.error) and outcome(ended)["back_home"] is True


def test_a_wish_that_is_lost_is_asked_again(stage: Stage) -> None:
    stage.site.errors = [PveUnreachable("nobody answers", "")]
    ended = stage.drill()
    assert ended.state is OperationState.DONE and outcome(ended)["out"]["asked"] == 2
    assert len(stage.site.wishes) == 2


def test_a_wish_that_pve_refuses_was_not_made(stage: Stage) -> None:
    stage.site.errors = [PveError("no", "", status=403, text="no")]
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and not stage.site.wishes
    assert recall(ended).out.asked is None and outcome(ended)["back_home"] is True


def test_law_1_one_that_would_take_others_along_is_brought_home(stage: Stage) -> None:
    stage.site.said = Wished(along=("vm:109",))
    ended = stage.drill()
    assert "HA names vm:109 along with it" in str(ended.error) and stage.site.node == HOME


def test_a_cancelled_drill_brings_it_home(stage: Stage) -> None:
    site, catalog = stage.site, stage.world.catalog
    opened = stage.open()
    site.at(
        TAKES + 1,
        lambda: catalog.operations.request_cancel(opened.id, "people come", int(site.clock.now())),
    )
    site.silent.append((site.clock.monotonic() + TAKES, site.clock.monotonic() + 120))
    ended = stage.world.engine.drive_one(opened)
    assert ended.state is OperationState.CANCELLED and site.node == HOME
    assert outcome(ended)["back_home"] is True


def test_one_whose_service_does_not_come_back_is_brought_home(stage: Stage) -> None:
    site = stage.site
    site.silent.append((site.clock.monotonic() + 5, site.clock.monotonic() + 700))
    ended = stage.drill()
    assert ended.state is OperationState.FAILED and site.node == HOME
    assert "its service does not answer there: no answer" in str(ended.error)
    assert outcome(ended)["out"]["answered"] is False


def test_another_machine_that_answers_makes_it_unknown(stage: Stage) -> None:
    stage.site.mac = "bc:24:11:00:00:99"
    ended = stage.drill()
    assert ended.state is OperationState.DONE and code(stage, ended) == 1
    assert "another machine (MAC bc:24:11:00:00:99)" in in_words(ended)


def test_a_token_that_sees_no_tasks_of_others_measures_all_the_same(stage: Stage) -> None:
    stage.site.blind = True
    ended = stage.drill()
    assert ended.state is OperationState.DONE and outcome(ended)["out"]["task"] is None


def test_law_5_a_modelled_guest_is_never_well(stage: Stage) -> None:
    ended = stage.drill(simulated=True)
    assert ended.state is OperationState.DONE and code(stage, ended) == 1
    assert in_words(ended).endswith("; simulated")


@pytest.mark.parametrize("after", [2.0, 7.0, TAKES + 2, TAKES + 9])
def test_law_9_a_drill_whose_driver_died_is_gone_on_with(stage: Stage, after: float) -> None:
    class Died(BaseException):
        pass

    def die() -> None:
        raise Died

    opened = stage.open()
    stage.site.at(after, die)
    with pytest.raises(Died):
        while True:  # killed: nothing is cleaned up
            stage.world.engine.executor.advance(opened.id)
    stage.world.clock.sleep(40)
    ended = stage.world.engine.drive_one(opened)
    assert ended.state is OperationState.DONE, ended.error
    assert stage.site.node == HOME and len(stage.site.wishes) == 2
    assert outcome(ended)["back_home"] is True


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda site: site.put(AWAY), "it is on pve02 (started), and not started on clovis"),
        (lambda site: site.put(HOME, "error"), "it is on clovis (error)"),
        (lambda site: site.silent.append((0, 1e12)), "does not answer from here: mute"),
        (lambda site: site.clock.sleep(601), "it was planned 10 min 1 s ago"),
    ],
)
def test_what_is_no_longer_as_planned_is_refused_before_anything_is_asked(
    stage: Stage, spoil: Callable[[Site], object], said: str
) -> None:
    opened = stage.open()
    spoil(stage.site)
    ended = stage.world.engine.drive_one(opened)
    assert ended.state is OperationState.FAILED and not stage.site.wishes
    assert said in str(ended.error) and outcome(ended)["back_home"] is True


def test_what_the_plan_speaks_against_is_not_opened(stage: Stage) -> None:
    for changes in ({"blockers": ("it is Monday",)}, {"target": None}, {"check": None}):
        with pytest.raises(Refused):
            stage.open(**changes)
    with pytest.raises(LawRefused):
        stage.open(vmid=9001)
    assert stage.world.catalog.operations.find() == []


def test_workers_that_only_look_leave_the_way_home_to_those_who_work_for_minutes(
    stage: Stage,
) -> None:
    engine, catalog = stage.world.engine, stage.world.catalog
    opened = stage.open()
    engine.executor.advance(opened.id)
    turn = worker_loop.work(engine.executor, opened.id, long=False)
    assert turn.long and not stage.site.wishes
    catalog.operations.request_cancel(opened.id, "no longer", int(stage.world.clock.now()))
    turn = worker_loop.work(engine.executor, opened.id, long=False)  # it goes to its cleanup
    assert turn.long
    worker_loop.work(engine.executor, opened.id, long=True)
    ended = catalog.operations.get(opened.id)
    assert ended and ended.state is OperationState.CANCELLED and not stage.site.wishes


def test_a_drill_is_not_retried(stage: Stage) -> None:
    kind = stage.world.engine.kinds["ha-drill"]
    refused: BackupsvcError = kind.never_again(stage.world.catalog, stage.open())
    assert "ha drill 108" in refused.hint
    assert moment(stage.world.clock).wall > 0
