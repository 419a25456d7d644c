"""A recovery opens a restore a guest, once, and nothing that one of them is refused with, or fails at,
keeps the others from coming back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.engine.memory import MemoryForm, MemoryUnreadable
from backupsvc.errors import OperationFailed, OutOfReach, PveUnreachable, Refused
from backupsvc.operations import retrying
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.recover.memory import FORM, RecoverMemory, facts, recall
from backupsvc.operations.recover.opening import left_alone, open_recovery
from backupsvc.operations.recover.result import outcome, summary
from backupsvc.operations.restore.memory import recall as recall_restore
from policies.model import Archive, Guest, Node, Operation, OperationState
from policies.recover.plan import Planned, Way
from policies.recover.turns import Ended, Outcome
from policies.restore_guard import Confirmation
from policies.restore_verdict import Health, Judgement
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_choosing import listing
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World, dead_command, kinds_with, operation_of

LOST, HERE = "lge", "clovis"
ARCHIVES = {vmid: archive(vmid, 1) for vmid in (100, 105, 108)}


def planned(vmid: int, way: Way = Way.RESTORE, **other: Any) -> Planned:
    held = ARCHIVES[vmid]
    made = Planned(
        vmid, f"g{vmid}", "critical", True, way, volid=held.volid, at=held.ctime, target=HERE
    )
    return replace(made, **other)


@dataclass
class Stage:
    """A cluster that lost a node, and restores that end as a test says, after so many looks."""

    site: World
    cluster: Cluster
    polls: int = 2
    failing: set[int] = field(default_factory=set)
    restored: list[int] = field(default_factory=list)
    checking: dict[int, int] = field(default_factory=dict)
    served: list[int] = field(default_factory=list)
    judged: dict[int, Judgement] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=lambda: [Node(HERE, True), Node(LOST, False)])
    quorate: Callable[[], bool] = lambda: True
    meanwhile: Callable[[Any], None] = lambda run: None
    usb: Any = None

    def restore(self, run: Any) -> Wait | None:
        self.meanwhile(run)
        left = self.looks.setdefault(run.vmid, self.polls)
        self.looks[run.vmid] = left - 1
        if left > 0:
            return Wait("it is being restored", most=1.0)
        self.restored.append(run.vmid)
        if run.vmid in self.failing:
            raise OperationFailed(f"guest {run.vmid} could not be restored", "look at its log")
        return None

    def check(self, run: Any) -> Wait | None:
        """What takes as long as a guest needs to serve."""
        if self.checking.get(run.vmid, 0) <= 0:
            return None
        self.checking[run.vmid] -= 1
        return Wait("it does not serve yet", most=1.0)

    def watch(self, run: Any) -> None:
        self.served.append(run.vmid)
        run.memory = replace(run.memory, judged=self.judged.get(run.vmid))

    def __post_init__(self) -> None:
        self.looks: dict[int, int] = {}
        done: Any = lambda run: None  # noqa: E731 - five handlers that do nothing
        steps = dict.fromkeys(("choose", "read-back", "start", "settle"), done)
        steps |= {"check": self.check, "watch": self.watch}
        self.engine = Engine(
            self.site,
            kinds_with({"restore": {**steps, "restore": self.restore}}),
            [lambda event: self.told.append(event.text)],
        )
        self.site.engine = self.engine
        self.cluster.cluster.nodes = lambda max_age=0.0: list(self.nodes)
        self.cluster.cluster.status = lambda: SimpleNamespace(quorate=self.quorate())

    def leaves(self, *vmids: int, node: str = LOST, **other: Any) -> None:
        """What the cluster's configuration has of the guests."""
        self.cluster.guests_there = [Guest(vmid, f"g{vmid}", node, **other) for vmid in vmids]

    def opened(self, *plan: Planned, **other: Any) -> Operation:
        said = Confirmation("alice@pve", int(self.site.clock.now()), f"{LOST} is off")
        operation = open_recovery(self.site, RecoverMemory(LOST, plan, said, **other))
        assert operation
        return operation

    def run(self, *plan: Planned, **other: Any) -> Operation:
        return self.engine.drive_one(self.opened(*plan, **other))


@pytest.fixture
def stage(site: World) -> Stage:
    held = {one.volid: CONFIG for one in ARCHIVES.values()}
    cluster = listing(site, *ARCHIVES.values(), held=held)
    cluster.guests_there = []
    cluster.cluster.version = lambda: SimpleNamespace(simulated=False)
    return Stage(site, cluster)


def ends(operation: Operation) -> dict[int, str]:
    return {vmid: str(one.outcome) for vmid, one in recall(operation).ends.items()}


def code(stage: Stage, operation: Operation) -> int:
    return KINDS["recover"].exit_code(stage.site.catalog, operation)


def test_one_after_the_other_in_the_plans_order(stage: Stage) -> None:
    done = stage.run(planned(108), planned(100), planned(105))
    assert done.state is OperationState.DONE and stage.restored == [108, 100, 105]
    assert set(ends(done).values()) == {"back"} and code(stage, done) == 0
    assert summary(done) == "3 of 3 guests of lge are back" and facts(done).node == LOST
    assert any("is being restored on clovis from local:backup" in line for line in stage.told)
    assert any(line.startswith("guest 108: back after ") for line in stage.told)
    # whoever knows nothing of the plan sees each restore's own operation
    found = stage.site.catalog.operations.find(kind="restore")
    assert {one.occurrence for one in found} == {
        f"recover {done.id}#{vmid}" for vmid in (100, 105, 108)
    }


def test_what_one_restore_fails_at_or_is_refused_with_is_that_guests_end(stage: Stage) -> None:
    stage.failing = {108}
    stage.leaves(100, node=HERE, status="stopped")
    done = stage.run(planned(108), planned(100), planned(105, after=(108,), urgent=False))
    assert ends(done) == {108: "failed", 100: "not-done", 105: "back"}
    assert done.state is OperationState.FAILED and code(stage, done) == 1
    told = {one["vmid"]: one for one in outcome(done)["guests"]}
    assert "an existing guest is never overwritten" in told[100]["why"] and told[100]["hint"]
    assert (told[108]["why"], told[108]["hint"]) == (
        "guest 108 could not be restored",
        "look at its log",
    )
    assert told[105]["why"] == "108, which it starts after, is not back"
    assert done.error == "1 of 3 guests are back, not 108, 100"


def test_law_1_what_the_lost_node_left_is_waited_for_and_never_restored_over(stage: Stage) -> None:
    stage.leaves(100, 108, ha_state="started")
    seen: list[tuple[str, ...]] = []

    def freed() -> bool:
        recovery = stage.site.catalog.operations.find(kind="recover", limit=1)[0]
        seen.append(recall(recovery).to_do)
        if len(seen) > 5:
            stage.leaves()
        return True

    stage.quorate = freed
    done = stage.run(planned(108, managed=True), planned(100))
    assert ends(done) == {108: "back", 100: "back"} and stage.restored == [108, 100]
    (asked,) = {lines for lines in seen if lines}
    assert asked[1:] == (
        "ha-manager remove vm:108",
        "mv /etc/pve/nodes/lge/qemu-server/{100,108}.conf /root/",
    )
    assert stage.told.count(asked[2]) == 1, "a person is told once"


def test_who_does_not_wait_is_told_the_commands_and_goes_on_later_by_the_same_plan(
    stage: Stage,
) -> None:
    stage.leaves(100)
    ended = stage.run(planned(108), planned(100), wait=False)
    assert ends(ended) == {108: "back", 100: "not-done"} and code(stage, ended) == 1
    hint = recall(ended).ends[100].hint
    assert "mv /etc/pve/nodes/lge/qemu-server/100.conf /root/" in hint
    assert f"backupsvc operations retry {ended.id}" in hint
    stage.leaves()
    again = retrying.open_retry(stage.site, retrying.plan(stage.site, ended))
    done = stage.engine.drive_one(again)
    assert ends(done) == {108: "back", 100: "back"} and stage.restored == [108, 100]
    assert recall(done).confirmed == recall(ended).confirmed and code(stage, done) == 0


def test_without_quorum_nothing_begins_and_it_is_said_what_to_do(stage: Stage) -> None:
    answers = iter([False, False, True])
    stage.quorate = lambda: next(answers, True)
    done = stage.run(planned(108, managed=True))
    assert ends(done) == {108: "back"}
    assert any(line.endswith("then on clovis: pvecm expected 1") for line in stage.told)
    assert "ha-manager remove vm:108" in stage.told
    stage.quorate = lambda: False
    ended = stage.run(planned(100), wait=False)
    assert (code(stage, ended), ends(ended)) == (3, {100: "not-done"})
    assert "no quorum" in str(ended.error) and stage.restored == [108]


def test_a_node_that_answers_is_not_lost_and_what_runs_comes_to_its_end(stage: Stage) -> None:
    def comes_back(run: Any) -> None:
        stage.nodes = [Node(HERE, True), Node(LOST, True)]

    stage.meanwhile = comes_back
    ended = stage.run(planned(108), planned(100))
    assert ends(ended) == {108: "back", 100: "not-done"} and code(stage, ended) == 4
    assert recall(ended).ends[100].why == "it was not begun: lge is back"
    with pytest.raises(Refused, match="node lge is online"):
        retrying.plan(stage.site, ended)
    refused = stage.run(planned(105))
    assert code(stage, refused) == 4 and ends(refused) == {105: "not-done"}


def test_a_node_that_is_in_no_list_any_more_is_away(stage: Stage) -> None:
    stage.nodes = [Node(HERE, True)]
    assert ends(stage.run(planned(108))) == {108: "back"}


def test_cancelled_it_lets_what_runs_end_and_begins_nothing_more(stage: Stage) -> None:
    def cancels(run: Any) -> None:
        (recovery,) = stage.site.catalog.operations.find(kind="recover")
        stage.site.catalog.operations.request_cancel(recovery.id, "enough, by alice", run.now())

    stage.meanwhile = cancels
    ended = stage.run(planned(108), planned(100), planned(105, Way.LOST, reasons=("no archive",)))
    assert ended.state is OperationState.CANCELLED and stage.restored == [108]
    assert ends(ended) == {108: "back", 100: "not-done", 105: "lost"}
    assert recall(ended).ends[100].why == "it was not begun: enough, by alice"
    assert code(stage, ended) == 1


def test_step_by_step_each_of_them_is_one_guest(stage: Stage) -> None:
    first = stage.run(planned(108), planned(100), step=True)
    assert first.state is OperationState.CANCELLED and stage.restored == [108]
    assert first.error == "stopped after guest 108, as asked" and code(stage, first) == 1
    second = stage.engine.drive_one(
        retrying.open_retry(stage.site, retrying.plan(stage.site, first))
    )
    assert second.state is OperationState.DONE and stage.restored == [108, 100]


def test_what_was_confirmed_is_not_believed_for_ever(stage: Stage) -> None:
    ended = stage.run(planned(108), planned(100), step=True)
    stage.site.clock.sleep(25 * 3600)
    with pytest.raises(Refused, match="was confirmed more than a day ago"):
        retrying.plan(stage.site, ended)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"at": 1}, "is not the one that was shown"),
        ({"volid": "local:backup/vzdump-qemu-108-2026_03_09-21_00_07.vma.zst"}, "108"),
    ],
)
def test_nothing_is_taken_but_what_was_shown(
    stage: Stage, changes: dict[str, Any], said: str
) -> None:
    ended = stage.run(planned(108, **changes), planned(100))
    assert ends(ended) == {108: "not-done", 100: "back"}
    assert said in recall(ended).ends[108].why


def test_an_archive_that_was_changed_since_it_was_shown_is_not_taken(stage: Stage) -> None:
    mine: Archive = ARCHIVES[108]
    stage.site.catalog.archives.observe([mine], scope=[], at=mine.ctime)
    changed = replace(mine, size=mine.size + 1)
    stage.cluster.listings = [[changed, ARCHIVES[100]]]
    ended = stage.run(planned(108), planned(100))
    assert ends(ended) == {108: "not-done", 100: "back"}, recall(ended).ended
    assert "since it was shown" in recall(ended).ends[108].why


def test_a_guest_that_is_busy_or_whose_target_does_not_answer_is_tried_again(
    stage: Stage,
) -> None:
    other = stage.engine.open("restore", 108, KINDS["restore"].form.read(_restore_memory()))
    assert other
    looked = 0

    def silent() -> Any:
        nonlocal looked
        looked += 1
        if looked == 3:
            stage.engine.abandon(other.id, "enough")
        if looked < 6:
            raise PveUnreachable("clovis does not answer")
        return SimpleNamespace(simulated=False)

    stage.cluster.cluster.version = silent
    done = stage.run(planned(100), planned(108))
    assert ends(done) == {100: "back", 108: "back"} and looked >= 6
    assert any("guest 108: it has an operation at work" in line for line in stage.told)
    assert any("guest 100: clovis does not answer" in line for line in stage.told)


def _restore_memory() -> dict[str, Any]:
    memory = {"archive": ARCHIVES[108], "node": HERE}
    return {"version": 1, **memory}


def test_ha_and_people_bring_guests_back_too(stage: Stage) -> None:
    moved = replace(planned(108, Way.HA), managed=True)
    stage.cluster.guests_there = [
        Guest(108, "g108", LOST, ha_state="fence"),
        Guest(100, "g100", HERE, status="running"),
    ]
    polls = 0

    def takes_over() -> bool:
        nonlocal polls
        polls += 1
        if polls > 4:
            stage.leaves(108, 100, node=HERE, status="running", ha_state="started")
        return True

    stage.quorate = takes_over
    by_hand = planned(105, Way.BY_HAND, urgent=False, commands=("qm start 105",))
    done = stage.run(moved, planned(100), by_hand)
    assert ends(done) == {108: "back", 100: "back", 105: "by-hand"} and stage.restored == []
    assert recall(done).ends[108].why == "HA brought it back" and code(stage, done) == 0


def test_what_ha_gives_up_is_not_back(stage: Stage) -> None:
    stage.leaves(108, node=HERE, status="stopped", ha_state="error")
    ended = stage.run(planned(108, Way.HA, managed=True))
    assert ends(ended) == {108: "not-done"} and code(stage, ended) == 1
    stage.leaves(108, ha_state="fence")
    late = stage.run(planned(108, Way.HA, managed=True))
    assert "is in state fence on lge" in recall(late).ends[108].why


def test_law_9_one_that_a_process_left_is_gone_on_with_and_restores_nothing_twice(
    stage: Stage,
) -> None:
    alive, stage.engine.executor.owner = stage.engine.executor.owner, dead_command()
    opened = stage.opened(planned(108), planned(100))
    for _ in range(3):
        stage.engine.executor.advance(opened.id)
    (child,) = stage.site.catalog.operations.find(kind="restore")
    # it died before it wrote down which restore it had opened
    left = operation_of(stage.site, opened.id)
    forgot = FORM.write(replace(recall(left), children={}))
    driver = stage.engine.executor.driver()
    stage.site.catalog.operations.record(opened.id, driver, kept=Kept(forgot, left.book))
    stage.engine.executor.owner = alive
    found = left_alone(stage.site, LOST)
    assert found and found.id == opened.id
    done = stage.engine.drive_one(found)
    assert ends(done) == {108: "back", 100: "back"} and stage.restored == [108, 100]
    assert recall(done).children[108] == child.id
    assert left_alone(stage.site, LOST) is None


def test_a_node_has_one_recovery_at_a_time(stage: Stage) -> None:
    stage.opened(planned(108))
    with pytest.raises(Refused, match="the recovery of lge already has an operation at work"):
        stage.opened(planned(108))
    assert left_alone(stage.site, LOST) is None, "this process has it"


def test_law_2_that_the_node_is_off_is_said_once_and_each_restore_has_who_said_it(
    stage: Stage,
) -> None:
    done = stage.run(planned(108), planned(100))
    given = recall(done).confirmed
    for one in stage.site.catalog.operations.find(kind="restore"):
        mine = recall_restore(one).confirmed
        assert mine and (mine.by, mine.at, mine.words) == (given.by, given.at, given.words)
        assert [doubt.key for doubt in mine.doubts] == ["node lge"]


def test_law_2_another_silent_node_is_not_set_aside_by_these_words(stage: Stage) -> None:
    stage.nodes.append(Node("third", False))
    ended = stage.run(planned(108))
    assert ends(ended) == {108: "not-done"} and stage.restored == []
    assert "node third is offline" in recall(ended).ends[108].why
    assert '--confirm "108 is off"' in recall(ended).ends[108].hint


def test_a_guest_that_is_slow_to_serve_keeps_none_away_but_what_starts_after_it(
    stage: Stage,
) -> None:
    stage.checking = {108: 40}
    done = stage.run(planned(108), planned(100), planned(105, after=(108,)))
    assert stage.restored == [108, 100, 105] and stage.served == [100, 108, 105]
    assert set(ends(done).values()) == {"back"}


def test_a_guest_whose_checks_fail_is_back_and_not_well(stage: Stage) -> None:
    stage.judged = {108: Judgement(Health.FAILED, ("check HTTP failed: 503",))}
    done = stage.run(planned(108))
    (told,) = outcome(done)["guests"]
    assert (told["outcome"], told["health"]) == ("back", "failed")
    assert told["why"] == "check HTTP failed: 503"
    assert (done.state, code(stage, done)) == (OperationState.DONE, 1)


def test_guests_that_nobody_may_see_are_not_called_well(stage: Stage) -> None:
    done = stage.run(planned(108), hidden=("the token lacks VM.Audit",))
    assert done.state is OperationState.DONE and code(stage, done) == 1
    assert not outcome(done)["well"]


def test_what_it_remembers_is_written_and_read_as_it_was() -> None:
    ended = Ended(108, Outcome.BACK, 5, "", "", HERE, 1.5)
    memory = RecoverMemory(
        LOST, (planned(108),), Confirmation("alice", 1, "lge is off"), True, False, {108: "ID"}, (108,),
        (ended,), {108: ("around it: HA",)}, ("do",), ("hidden",),
    )  # fmt: skip
    assert FORM.read(FORM.write(memory)) == memory


def test_a_release_that_knows_of_no_storage_keeps_its_hands_off_and_what_it_wrote_is_read() -> None:
    said = Confirmation("alice", 1, "usb is lost")
    written = FORM.write(RecoverMemory("", (planned(108, home=LOST),), said, storage="usb"))
    # it would take "" for a node that is in no list, and so for away
    with pytest.raises(MemoryUnreadable, match="a newer version"):
        MemoryForm(RecoverMemory).read(written)
    older = MemoryForm(RecoverMemory).write(RecoverMemory(LOST, (planned(108),), said))
    assert older["version"] == 1 and "storage" not in older and "home" not in older["plan"][0]
    found = FORM.read(older)
    assert (found.node, found.storage, found.lost) == (LOST, "", LOST)
    assert found.home(found.plan[0]) == LOST


def has_usb(stage: Stage, *nodes: str, silent: tuple[str, ...] = ()) -> None:
    """On which nodes the storage ``usb`` is active; the others list it, but for the silent ones."""
    seen = stage.cluster.storage.seen() if stage.usb is None else stage.usb
    stage.usb = seen
    one = seen.storages[0]
    found = tuple(
        replace(one, name="usb", node=node, active=node in nodes, content=frozenset())
        for node in (LOST, HERE, "third")
        if node not in silent
    )
    told = replace(
        seen,
        storages=(*seen.storages, *found),
        silent=dict.fromkeys(silent, "596 Connection timed out"),
    )
    stage.cluster.storage.seen = lambda: told


def test_law_1_a_guest_whose_storage_is_lost_is_not_restored_over_what_is_left_of_it(
    stage: Stage,
) -> None:
    stage.nodes = [Node(HERE, True), Node(LOST, True)]
    has_usb(stage, HERE)
    stage.leaves(108, status="running")
    said = Confirmation("alice@pve", int(stage.site.clock.now()), "usb is lost")
    plan = (planned(108, home=LOST, managed=True), planned(105, home=LOST))
    memory = RecoverMemory("", plan, said, wait=False, storage="usb")
    operation = open_recovery(stage.site, memory)
    assert operation
    done = stage.engine.drive_one(operation)
    assert ends(done) == {108: "not-done", 105: "back"} and stage.restored == [105]
    hint = recall(done).ends[108].hint
    steps = ("ha-manager remove vm:108", "qm stop 108", f"mv /etc/pve/nodes/{LOST}/qemu-server/108")
    assert [hint.index(step) for step in steps] == sorted(hint.index(step) for step in steps)
    assert summary(done) == "1 of 2 guests of storage usb are back, not 108"
    assert outcome(done)["node"] is None and outcome(done)["storage"] == "usb"


def test_a_storage_that_is_there_again_ends_its_recovery(stage: Stage) -> None:
    stage.nodes = [Node(HERE, True), Node(LOST, True)]
    has_usb(stage, HERE)
    said = Confirmation("alice@pve", int(stage.site.clock.now()), "usb is lost")
    plan = (planned(108, home=LOST), planned(105, home=LOST))
    operation = open_recovery(stage.site, RecoverMemory("", plan, said, storage="usb"))
    assert operation
    stage.meanwhile = lambda run: has_usb(stage, HERE, LOST)
    done = stage.engine.drive_one(operation)
    # what was begun comes to its end, and nothing else is
    assert ends(done) == {108: "back", 105: "not-done"}
    assert "storage usb is active on a node that has a guest" in str(done.error)
    with pytest.raises(Refused, match="is active on a node"):
        retrying.plan(stage.site, done)


def of_usb(stage: Stage, *plan: Planned, wait: bool = True) -> Operation:
    """The recovery of the storage ``usb``, opened."""
    said = Confirmation("alice@pve", int(stage.site.clock.now()), "usb is lost")
    operation = open_recovery(stage.site, RecoverMemory("", plan, said, wait=wait, storage="usb"))
    assert operation
    return operation


def test_law_4_while_a_home_does_not_say_its_storages_nothing_is_begun(stage: Stage) -> None:
    stage.nodes = [Node(HERE, True), Node(LOST, True)]
    has_usb(stage, HERE, silent=(LOST,))
    operation = of_usb(stage, planned(108, home=LOST))
    waits = [stage.engine.executor.advance(operation.id) for _ in range(5)]
    assert waits and stage.restored == []
    assert any(f"{LOST} did not say its storages" in line for line in stage.told), stage.told
    # another node that is silent has none of the guests: what it has is no matter
    has_usb(stage, HERE, silent=("third",))
    assert ends(stage.engine.drive_one(operation)) == {108: "back"}
    has_usb(stage, HERE, silent=(LOST,))
    ended = stage.engine.drive_one(of_usb(stage, planned(100, home=LOST), wait=False))
    assert ends(ended) == {100: "not-done"} and code(stage, ended) == 3
    assert "whether usb is lost there is not known" in str(ended.error)
    with pytest.raises(OutOfReach, match="did not say its storages"):
        retrying.plan(stage.site, ended)


def test_a_home_that_falls_silent_on_the_way_lets_what_runs_end_and_begins_no_other(
    stage: Stage,
) -> None:
    stage.nodes = [Node(HERE, True), Node(LOST, True)]
    has_usb(stage, HERE)
    stage.meanwhile = lambda run: has_usb(stage, HERE, silent=(LOST,))
    operation = of_usb(stage, planned(108, home=LOST), planned(105, home=LOST))
    for _ in range(40):
        stage.engine.executor.advance(operation.id)
        for child in stage.site.catalog.operations.find(kind="restore"):
            stage.engine.executor.advance(child.id)
        stage.site.clock.sleep(15)
    assert stage.restored == [108]
    stage.meanwhile = lambda run: None
    has_usb(stage, HERE)
    assert ends(stage.engine.drive_one(operation)) == {108: "back", 105: "back"}


def test_a_guest_that_runs_where_the_storage_is_lost_too_is_not_back(stage: Stage) -> None:
    stage.nodes = [Node(HERE, True), Node(LOST, True), Node("third", True)]
    has_usb(stage, HERE)
    stage.cluster.guests_there = [
        Guest(108, "g108", "third", status="running"),
        Guest(100, "g100", HERE, status="running"),
    ]
    plan = (planned(108, home=LOST), planned(100, home=LOST))
    ended = stage.engine.drive_one(of_usb(stage, *plan))
    assert ends(ended) == {108: "not-done", 100: "back"} and stage.restored == []
    assert "an existing guest is never overwritten" in recall(ended).ends[108].why
