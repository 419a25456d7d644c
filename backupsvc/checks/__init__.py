"""Health checks: does the service inside a restored copy work? A file a kind; ``run`` makes one attempt.

A check ends ``passed``, ``failed`` (asked, and the answer is bad) or ``inconclusive`` (it could not be asked, with what to do
about that): silence for want of a way to ask is never taken for a pass, nor held against the guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from backupsvc.checks import agent, http, ldap, ssh, tcp
from backupsvc.checks.kinds import AgentPort, Answer, CannotAsk, Kind, Target, problems_with
from backupsvc.clock import Clock, SystemClock
from backupsvc.errors import BackupsvcError
from policies.model import CheckResult, CheckSpec, Outcome

__all__ = ["KINDS", "AgentPort", "Target", "problems", "run"]

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (agent.KIND, tcp.KIND, http.KIND, ssh.KIND, ldap.KIND)})


def problems(spec: CheckSpec) -> list[str]:
    """Given a check as the policy words it, return what is wrong with it, one sentence each."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        return [f"{spec.kind!r} is no kind of check: there are {', '.join(sorted(KINDS))}"]
    return problems_with(kind, spec.options)


def run(spec: CheckSpec, target: Target, clock: Clock | None = None) -> CheckResult:
    """Given a check and whom to ask, ask once and return the answer, within ``spec.timeout`` seconds. It raises nothing."""
    clock = clock or SystemClock()
    started = clock.monotonic()
    outcome, detail = _attempt(spec, target)
    return CheckResult(spec.name, outcome, detail, round(clock.monotonic() - started, 3), spec.kind)


def _attempt(spec: CheckSpec, target: Target) -> Answer:
    if wrong := problems(spec):
        return Outcome.INCONCLUSIVE, f"{'; '.join(wrong)}: correct the policy"
    try:
        return KINDS[spec.kind].ask(spec, target)
    except CannotAsk as reason:
        return Outcome.INCONCLUSIVE, str(reason)
    except BackupsvcError as error:  # the way to the guest is broken, not the guest
        return Outcome.INCONCLUSIVE, f"{error.message}: {error.hint}" if error.hint else error.message
