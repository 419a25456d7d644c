"""What ``backupsvc doctor`` says of the probes: on which nodes there is one, whether it lets us in,
and what it can tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.errors import BackupsvcError, UsageError
from backupsvc.operations.restore_test.forwarding import NOWHERE
from backupsvc.services import DoctorServices
from backupsvc.settings import node_key
from policies import silence
from policies.model import PolicyError
from policies.site.checks import needs_network

if TYPE_CHECKING:
    from backupsvc.remote.jump import Jump


def probes(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield a line for each probe, and one for the nodes without."""
    settings, single, asked = service.settings, service.settings.probe, False
    with contextlib.suppress(UsageError, PolicyError):  # the policy's own line says so
        asked = any(needs_network(guest.checks) for guest in service.policy.guests.values())
    if not (single.host or any(probe.host for probe in settings.probes.values())):
        text, action = "not configured", ""
        if asked:
            text += ": the guests whose checks need the network cannot be tested"
            action = "set BACKUPSVC_PROBES__NODE__HOST, a probe a node"
        yield Line("probe", WARNING if asked else OK, text, action)
        return
    placed = [single.node] if single.node else []
    try:
        nodes = [node.name for node in service.pve.cluster.nodes() if node.online]
    except BackupsvcError:  # its own line says so; the settings name some
        nodes = [*settings.probes, *placed]
    named = {*settings.probes, *map(node_key, placed)}
    for name in sorted(named - {node_key(node) for node in nodes}):
        text = f"a probe is configured for {name}, which is no node of the cluster"
        yield Line("probe", WARNING, text, "correct its name")
    ways = {node: service.probe(node) for node in nodes}
    if single.host and not placed and not any(ways.values()):
        text = (
            "BACKUPSVC_PROBE__HOST does not say on which node's isolated bridge it is, so it "
            "counts for none"
        )
        yield Line("probe", FAILED, text, "say which node with BACKUPSVC_PROBE__NODE", 2)
    if asked and (without := [node for node, jump in ways.items() if jump is None]):
        text = (
            f"no probe on the isolated bridge of {', '.join(without)}: guests whose checks need "
            "the network are not tested there"
        )
        action = f"set up a probe there, and BACKUPSVC_PROBES__{node_key(without[0]).upper()}__HOST"
        yield Line("probe", WARNING, text, action)
    for node, jump in ways.items():
        if jump is not None:
            yield _look(service, node, jump)


def _look(service: DoctorServices, node: str, jump: Jump) -> Line:
    """Whether one probe is on its node, and what it lets us do."""
    # one that the settings name as a guest may have been moved away from its bridge, or be gone
    if (vmid := service.probe_vmid(node)) is not None:
        places = {guest.vmid: guest.node for guest in service.pve.cluster.guests()}
        if (at := places.get(vmid, "no node that this token sees")) != node:
            text = (
                f"the probe of {node}, guest {vmid}, is on {at}: it reaches another bridge, and "
                "counts for none"
            )
            action = f"move it back to {node}, and keep HA and balancing off it"
            return Line("probe", WARNING, text, action)
    try:
        # it has answered: nothing need listen behind it
        with contextlib.suppress(ConnectionRefusedError, TimeoutError):
            jump.connect("127.0.0.1", 22, 10).close()
        table = silence.read(jump.ask(silence.question(NOWHERE)) or "", NOWHERE)
    except BackupsvcError as error:
        return Line("probe", FAILED, error.message, error.hint, error.exit_code)
    if table is None:
        text = (
            f"the probe of {node} forwards connections, but its login may not run `ip neigh`: "
            "whose answers come through it cannot be told, and tests through it are inconclusive"
        )
        return Line("probe", WARNING, text, "give that login a shell; it needs no privilege there")
    if through := silence.forwards(table):
        text = (
            f"the probe of {node} passes packets on at {through}: a restored copy could reach "
            "production through it"
        )
        action = (
            "switch it off there: sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0, "
            "and in /etc/sysctl.d"
        )
        return Line("probe", FAILED, text, action, 1)
    text = (
        f"the probe of {node} lets us in, forwards connections, tells who answers, and passes no "
        "packets on"
    )
    return Line("probe", OK, text)
