"""Move a guest under HA to another node, hear that its service answers there, and bring it home.

HA is asked, and moves the guest itself; what became of a wish is seen from where the guest is. What
goes wrong on the way out, a cancellation and a passed deadline all lead to the way back. A guest
that is where this drill did not put it is left there (law 1), and it is said where that is.
"""

from __future__ import annotations

from collections.abc import Mapping

from backupsvc.checks.watching import listen
from backupsvc.clock import moment
from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import Refused
from backupsvc.operations.ha_drill.memory import DrillMemory
from backupsvc.operations.ha_drill.travelling import BACK, OUT, Journey, where
from backupsvc.operations.services import Run, StepServices
from policies.ha import drill, drill_move
from policies.i18n import duration
from policies.workflow import Workflow

PLAN_HOLDS_S = 600.0  # seconds for which a plan is still true of a guest that has not moved


def look(run: Run[DrillMemory]) -> Wait | None:
    """See once more, just before it goes, that it is at home and at rest, that the window is open,
    and that its service is heard from here.
    """
    memory, seen = run.memory, where(run)
    stops = [*drill.hours(run.service.policy, run.vmid, run.now())]
    if (age := memory.planned.until(moment(run.clock))) > PLAN_HOLDS_S:
        stops.append(f"it was planned {duration(age, 'en')} ago, and much may have changed")
    if (seen.node, seen.by_ha, seen.state) != (memory.home, memory.home, "started"):
        stops.append(f"it is {drill_move.in_words(seen)}, and not started on {memory.home}")
    routes = run.service.settings.outside
    heard, detail = listen(memory.check, run.vmid, memory.address, routes, run.clock)
    if not all(one.good for one in heard):
        stops.append(f"its service does not answer from here: {detail}")
    if stops:
        raise Refused(
            f"guest {run.vmid} is not moved: {'; '.join(stops)}",
            f"plan it anew with `backupsvc ha drill {run.vmid}`",
        )
    run.conclude(f"at home on {memory.home}, and heard from here")
    return None


def out(run: Run[DrillMemory]) -> Wait | None:
    """Have HA move it, and hear that its service answers from the other node."""
    Journey(run, OUT).travel()
    run.conclude(_heard(run, OUT))
    return None


def home(run: Run[DrillMemory]) -> Wait | None:
    """Have HA bring it home, whatever became of the way out, and hear that its service answers."""
    if run.memory.out.asked is None:
        run.conclude("it never left")
        return None
    Journey(run, BACK).travel()
    run.conclude(_heard(run, BACK))
    return None


def _heard(run: Run[DrillMemory], name: str) -> str:
    way = Journey(run, name)
    heard = way.way.heard
    least = "at least " if heard.at_least or heard.unwatched else ""
    return f"on {way.goal}, {heard.failed} of {heard.samples} unanswered, away {least}{heard.interruption:.1f} s"


WORKFLOW = Workflow("ha-drill", ("look", "out"), ("home",), long=frozenset({"out", "home"}))
HANDLERS: Mapping[str, Handler[StepServices, DrillMemory]] = {
    "look": look,
    "out": out,
    "home": home,
}
