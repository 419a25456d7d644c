"""Health checks: does the service inside a restored copy work? A module a kind, of its name;
``run`` makes one attempt.

A check ends ``passed``, ``failed`` (asked, and the answer is bad) or ``inconclusive`` (it could not
be asked, with what to do about that): silence for want of a way to ask is never taken for a pass,
nor held against the guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from backupsvc.checks.kinds import AgentPort, CannotAsk, Kind, Target, problems_with
from backupsvc.clock import Clock, SystemClock
from backupsvc.errors import BackupsvcError
from policies.check_kinds import CHECK_KINDS
from policies.model import CheckResult, CheckSpec, Outcome

__all__ = ["KINDS", "AgentPort", "Target", "problems", "run"]

KINDS: Mapping[str, Kind] = MappingProxyType(
    {name: import_module(f"{__name__}.{name}").KIND for name in CHECK_KINDS}
)


def problems(spec: CheckSpec) -> list[str]:
    """Given a check as the policy words it, return what is wrong with it, one sentence each."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        return [f"{spec.kind!r} is no kind of check: there are {', '.join(sorted(KINDS))}"]
    return problems_with(kind, spec.options)


def run(spec: CheckSpec, target: Target, clock: Clock | None = None) -> CheckResult:
    """Given a check and whom to ask, ask once and return the answer, within ``spec.timeout``
    seconds. It raises nothing.
    """
    clock = clock or SystemClock()
    started = clock.monotonic()
    outcome = Outcome.INCONCLUSIVE
    if wrong := problems(spec):
        detail = f"{'; '.join(wrong)}: correct the policy"
    else:
        try:
            outcome, detail = KINDS[spec.kind].ask(spec, target)
        except CannotAsk as reason:
            detail = str(reason)
        except BackupsvcError as error:
            # the way to the guest is broken, not the guest
            detail = f"{error.message}: {error.hint}" if error.hint else error.message
    return CheckResult(spec.name, outcome, detail, round(clock.monotonic() - started, 3), spec.kind)
