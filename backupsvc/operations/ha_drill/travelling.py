"""One way of a drill: HA is asked, the guest is followed with the eyes of the cluster, and its
service is listened to all the while.

What was heard is written down every few seconds, so that whoever goes on after a process that died
lacks no more than that, and says so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from backupsvc.checks import outside
from backupsvc.checks.watching import Watch
from backupsvc.clock import moment
from backupsvc.engine.context import CancelAsked, refused_for_sure
from backupsvc.errors import (
    BackupsvcError,
    OperationFailed,
    PvePermissionDenied,
    PveUnreachable,
)
from backupsvc.operations.ha_drill.memory import DrillMemory, Way
from backupsvc.operations.services import Run
from backupsvc.pve.tasks import succeeded
from policies.guest_policy import policy_for
from policies.ha import drill_measure, drill_move
from policies.ha.drill_move import Arrived, Ask, Leg, Returned, Stuck, Wait, Where
from policies.i18n import duration, names

LOOK_S = 1.0  # seconds between two looks at where it is
SAVE_S = 5.0  # seconds after which what was heard is written down
MOST_S = 3600.0  # seconds that one way may take
HEEDED_S = drill_move.HEEDED
SURE = 30  # good answers one after the other, three seconds of them, after which it is back
OUT, BACK = "out", "back"


def where(run: Run[DrillMemory]) -> Where:
    """Return where the guest is now, by the cluster and by HA."""
    pve, sid = run.service.pve, run.memory.sid
    status = pve.ha.status()
    node = next((one.node for one in pve.cluster.guests() if one.vmid == run.vmid), None)
    found = Where(node, status.homes.get(sid), status.services.get(sid, ""))
    run.memory = replace(run.memory, ended=node or run.memory.ended)
    return found


class Journey:
    """One way, ``there`` (``out``) or ``back``, from where the memory says that it stands."""

    def __init__(self, run: Run[DrillMemory], way: str) -> None:
        self.run, self.name = run, way
        memory = run.memory
        self.origin, self.goal = (
            (memory.home, memory.target) if way == OUT else (memory.target, memory.home)
        )
        self._before, self._until = self.way.heard, self.way.until
        self._began = moment(run.clock)

    @property
    def way(self) -> Way:
        """What is remembered of it."""
        return self.run.memory.out if self.name == OUT else self.run.memory.back

    def know(self, **known: object) -> None:
        """Remember something of it (the fields of Way)."""
        changed = replace(self.way, **known)  # type: ignore[arg-type]  # checked by the form
        run = self.run
        run.memory = (
            replace(run.memory, out=changed)
            if self.name == OUT
            else replace(run.memory, back=changed)
        )

    def travel(self) -> None:
        """Bring the guest to its goal, and hear that its service answers there. Raise
        OperationFailed with where it is if it does not get there.
        """
        run, memory = self.run, self.run.memory
        routes = run.service.settings.outside
        with Watch(memory.check, run.vmid, memory.address, routes, run.clock) as watch:
            try:
                self._until_it_answers(watch)
            finally:
                self._keep(watch)

    def _until_it_answers(self, watch: Watch) -> None:
        run, clock = self.run, self.run.clock
        saved = clock.monotonic()
        while True:
            if self._look() and self._answers(watch):
                return
            if clock.monotonic() - saved >= SAVE_S:
                saved = clock.monotonic()
                self._keep(watch)
                run.save()
            if self.name == OUT:
                run.heartbeat()
            else:  # who asked for an end has it: this is the way there
                with suppress(CancelAsked):
                    run.heartbeat()
            if run.passed(run.operation.step) > MOST_S:
                raise self._failed(f"it took longer than {duration(MOST_S, 'en')}", where(run))
            clock.sleep(LOOK_S)

    def _look(self) -> bool:
        """Look where the guest is, and do what follows; return whether it is at its goal."""
        run, seen = self.run, where(self.run)
        step = drill_move.following(self._leg(), seen, HEEDED_S)
        if isinstance(step, Arrived):
            out = run.memory.out
            self._arrived(itself=not self.way.count and (out.arrived or out.moved))
            return True
        if isinstance(step, Ask):
            # it may have come back before anybody looked
            if self.way.count and self._went():
                return self._arrived()
            self._ask()
        elif isinstance(step, Returned):
            return self._returned(seen)
        elif isinstance(step, Stuck):
            raise self._failed(step.why, seen)
        elif isinstance(step, Wait):
            run.memory = replace(run.memory, lost=run.memory.lost or step.lost)
            if step.moving and not self.way.moved:
                self.know(moved=True)
                run.save()
            if step.lost and self.name == OUT:
                raise self._failed(step.why, seen)
        return False

    def _leg(self) -> Leg:
        now, way, out = moment(self.run.clock), self.way, self.run.memory.out
        pending = out.asked is not None and not out.moved and self.name == BACK
        return Leg(
            self.origin,
            self.goal,
            way.asked.until(now) if way.asked else None,
            way.moved,
            way.count,
            out.asked.until(now) if pending and out.asked else None,
        )

    def _ask(self) -> None:
        """Ask HA, after it is written down: whoever goes on after this process knows of it."""
        run, memory, before = self.run, self.run.memory, self.way
        nodes = {one.name: one for one in run.service.pve.cluster.nodes()}
        if self.goal not in nodes or not nodes[self.goal].online:
            raise PveUnreachable(
                f"guest {run.vmid} cannot be moved to {self.goal}, which is not online: it is on "
                f"{memory.ended}",
                f"bring {self.goal} back",
                node=self.goal,
            )
        now = moment(run.clock)
        self.know(asked=now, count=before.count + 1, began=before.began or now, moved=False)
        run.note("intent", what=f"ask HA to {memory.how} {memory.sid} to {self.goal}")
        try:
            said = run.service.pve.ha.move(memory.sid, self.goal, memory.how)
        except BackupsvcError as error:
            if refused_for_sure(error):
                self.know(asked=before.asked, count=before.count, began=before.began)
            raise
        run.note("asked", node=self.goal, how=memory.how)
        # on the way back whoever went along comes home too
        if self.name == OUT and (others := (*said.along, *said.blocking)):
            raise self._failed(f"HA names {names(others)} along with it", where(run))

    def _arrived(self, *, itself: bool = False) -> bool:
        """Remember, once, that the guest is at its goal, how long that took, and PVE's task."""
        if self.way.arrived:
            return True
        now, began, task = moment(self.run.clock), self.way.began, self._task()
        seconds = round(began.until(now), 3) if began else None
        self.know(arrived=True, here=now, itself=itself, moved=True, seconds=seconds)
        if task:
            self.know(task=task[0], task_seconds=self.run.service.pve.tasks.lasted(task[0]))
        self.run.note("arrived", task[0] if task else None, node=self.goal)
        return True

    def _went(self) -> bool:
        """Whether PVE says that it was moved away, and so that it came back since."""
        task = self._task()
        return self.name == OUT and task is not None and succeeded(task[1])

    def _returned(self, seen: Where) -> bool:
        """It is where it was, and has been away from there: whether it was at its goal meanwhile."""
        if self._went():
            return self._arrived()
        task = self._task()
        said = f": PVE's task ended with {task[1]}" if task and not succeeded(task[1]) else ""
        if self.name == OUT or self.way.count >= drill_move.MOST_ASKED:
            raise self._failed(f"the move did not come about{said}", seen)
        self.know(moved=False, asked=None)  # it is asked once more
        return False

    def _task(self) -> tuple[str, str] | None:
        """PVE's newest task that moved the guest away from where it was, with how it ended."""
        began = self.way.began
        if began is None:
            return None
        kind = "qmigrate" if self.run.memory.sid.startswith("vm:") else "vzmigrate"
        try:
            rows = self.run.service.pve.tasks.find(
                self.origin, type=kind, vmid=self.run.vmid, since=int(began.wall), mine=False
            )
        except PvePermissionDenied:  # others' tasks need Sys.Audit on the node
            return None
        # node clocks are read in whole seconds: one of a drill just before may be among them
        others = self.run.service.catalog.operations.upids_of_others(
            self.run.id, [row.upid for row in rows]
        )
        ended = [row for row in rows if row.status != "running" and row.upid not in others]
        return (ended[0].upid, ended[0].status) if ended else None

    def _answers(self, watch: Watch) -> bool:
        run, memory = self.run, self.run.memory
        heard, _ = watch.heard()
        mac = outside.neighbour(run.service.settings.outside, memory.address)
        if mac and memory.macs and mac not in memory.macs and not memory.stranger:
            run.memory = replace(memory, stranger=mac)
        # what answered before it was there says nothing of how it does there
        there = self._began.until(self.way.here) if self.way.here else 0.0
        if drill_measure.answers_now([one for one in heard if one.at >= there], SURE):
            self.know(answered=True)
            return True
        limit = policy_for(run.service.policy, run.vmid, "").boot_timeout
        if self.way.here and self.way.here.until(moment(run.clock)) > limit:
            raise self._failed(f"its service does not answer there: {watch.detail}", where(run))
        return False

    def _keep(self, watch: Watch) -> None:
        """Remember what was heard until now, together with what was heard before a process died."""
        samples, lasted = watch.heard()
        now = drill_measure.measure(samples, lasted)
        if self._until is not None:
            between = self._until.until(self._began)
            now = drill_measure.plus(self._before, now, between)
        self.know(heard=now, until=moment(self.run.clock))

    def _failed(self, why: str, seen: Where) -> OperationFailed:
        run, memory = self.run, self.run.memory
        at = drill_move.in_words(seen)
        home = seen.node == memory.home
        return OperationFailed(
            f"guest {run.vmid} was not brought to {self.goal}: {why}; it is {at}",
            ""
            if home or self.name == OUT
            else f"look at it, and bring it home with `ha-manager migrate {memory.sid} {memory.home}`",
            operation=run.id,
        )
