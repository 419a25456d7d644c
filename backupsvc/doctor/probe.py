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
    settings, asked = service.settings, _asks_the_network(service)
    configured = bool(settings.probe.host) or any(probe.host for probe in settings.probes.values())
    if not configured:
        text = "not configured" + (
            ": the guests whose checks need the network cannot be tested" if asked else ""
        )
        yield Line(
            "probe",
            WARNING if asked else OK,
            text,
            "set BACKUPSVC_PROBES__NODE__HOST, a probe a node" if asked else "",
        )
        return
    nodes = _nodes(service)
    known = {node_key(node) for node in nodes}
    named = {*settings.probes, *((node_key(settings.probe.node),) if settings.probe.node else ())}
    for name in sorted(named - known):
        yield Line(
            "probe",
            WARNING,
            f"a probe is configured for {name}, which is no node of the cluster",
            "correct its name",
        )
    ways = {node: service.probe(node) for node in nodes}
    if settings.probe.host and not settings.probe.node and not any(ways.values()):
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
        yield Line(
            "probe",
            WARNING,
            text,
            f"set up a probe there, and BACKUPSVC_PROBES__{node_key(without[0]).upper()}__HOST",
        )
    for node, jump in ways.items():
        if jump is not None:
            yield _moved(service, node) or _look(node, jump)


def _moved(service: DoctorServices, node: str) -> Line | None:
    """Whether a probe that the settings name as a guest of the cluster is on another node than its
    bridge, or gone.
    """
    vmid = service.probe_vmid(node)
    if vmid is None:
        return None
    at = next(
        (guest.node for guest in service.pve.cluster.guests() if guest.vmid == vmid),
        "no node that this token sees",
    )
    text = (
        f"the probe of {node}, guest {vmid}, is on {at}: it reaches another bridge, and counts "
        "for none"
    )
    return (
        None
        if at == node
        else Line(
            "probe", WARNING, text, f"move it back to {node}, and keep HA and balancing off it"
        )
    )


def _look(node: str, jump: Jump) -> Line:
    """What one probe lets us do."""
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
            "whose answers come through it "
        )
        action = "give that login a shell; it needs no privilege there"
        return Line(
            "probe", WARNING, text + "cannot be told, and tests through it are inconclusive", action
        )
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
    return Line(
        "probe",
        OK,
        f"the probe of {node} lets us in, forwards connections, tells who answers, and passes no "
        "packets on",
    )


def _nodes(service: DoctorServices) -> list[str]:
    """The nodes that are up, or those that the settings name when the cluster cannot be asked: its
    own line says so.
    """
    try:
        return [node.name for node in service.pve.cluster.nodes() if node.online]
    except BackupsvcError:
        return [
            *service.settings.probes,
            *((service.settings.probe.node,) if service.settings.probe.node else ()),
        ]


def _asks_the_network(service: DoctorServices) -> bool:
    try:
        return any(needs_network(guest.checks) for guest in service.policy.guests.values())
    except (UsageError, PolicyError):
        return False  # the policy's own line says so
