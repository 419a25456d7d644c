"""Plans a drill: asks the site all that is to be known before a guest is moved, and listens to its
service from outside. Nothing is changed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from backupsvc import garbage
from backupsvc.checks import outside
from backupsvc.checks.watching import listen
from backupsvc.errors import BackupsvcError
from backupsvc.report import gate as gates
from backupsvc.report import ha
from policies import gate
from policies.ha import drill
from policies.ha.drill import Asked, Heard, Plan, Seen
from policies.pve import guest_config

if TYPE_CHECKING:
    from backupsvc.operations.services import StepServices


def plan(service: StepServices, asked: Asked) -> tuple[Plan, tuple[str, ...]]:
    """Given what is asked, return the plan, with all that keeps it from being done, and the guest's
    MAC addresses. Raise Unreachable or Refused if the cluster says nothing at all.
    """
    with garbage.kept_out():
        facts = ha.collect(service)
    found = gates.ask(service, gate.Asked((asked.vmid,)))
    may: bool | None = None  # whether the token may, is not known where its rights are not read
    with suppress(BackupsvcError):
        may = drill.PRIVILEGE in service.pve.cluster.permissions_at("/")
    seen = Seen(
        facts,
        next(iter(found.guests), None),
        service.pve.cluster.version().simulated,
        may,
        _hear(service, asked.vmid),
        int(service.clock.now()),
    )
    config = facts.configs.get(asked.vmid)
    macs = guest_config.macs(config) if config is not None else ()
    return drill.decide(seen, service.policy, asked), macs


def _hear(service: StepServices, vmid: int) -> Heard:
    """What the guest's service says to this machine now."""
    check, address = drill.question(service.policy, vmid)
    if check is None or address is None:
        return Heard()
    routes = service.settings.outside
    samples, detail = listen(check, vmid, address, routes, service.clock)
    good = sum(one.good for one in samples)
    return Heard(len(samples), good, detail, outside.neighbour(routes, address))
