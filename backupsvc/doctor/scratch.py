"""What ``backupsvc doctor`` says of where restored copies live: whether their bridge leads nowhere, and
whether one was left over.
"""

from __future__ import annotations

from collections.abc import Iterator

from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.errors import LawRefused
from backupsvc.operations.scratch_cleanup import forgotten
from backupsvc.services import DoctorServices
from policies import i18n, isolation
from policies.compliance.facts import BridgeFacts, SiteFacts
from policies.compliance.findings import scratch_not_isolated
from policies.compliance.scratch_network import linked_down, scratch_network
from policies.model import Severity


def bridge(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield whether the isolated bridge of each node is one (law 2)."""
    cluster, scratch = service.pve.cluster, service.policy.scratch
    nodes = tuple(node for node in cluster.nodes() if node.online)
    bridges = tuple(
        BridgeFacts(bridge.name, bridge.node, tuple(bridge.ports), bridge.address or None)
        for node in nodes
        for bridge in cluster.bridges(node.name)
    )
    now = int(service.clock.now())
    facts = SiteFacts("", now, (), nodes=nodes, bridges=bridges, permissions=cluster.permissions())
    faults = list(scratch_network(facts, scratch))
    for fault in faults:
        detail, action = i18n.finding(
            f"scratch-not-isolated.{fault.kind}", i18n.ENGLISH, vmid=None, **fault.values
        )
        harmless = scratch_not_isolated.RULE.severity_of(fault.kind) is Severity.WARNING
        status, code = (WARNING, 0) if harmless else (FAILED, 1)
        yield Line("isolated bridge", status, detail, action, code)
    # without an isolated bridge copies hang on another one, with their links down
    for one in linked_down(facts) if scratch.bridge is None else ():
        yield Line("isolated bridge", FAILED, one.detail, one.action, one.exit_code)
    # A bridge that leads out, or that is none, need not be asked who else hangs on it.
    alone = not faults
    if scratch.bridge is not None and {fault.kind for fault in faults} <= {"token"}:
        guard = service.pve.scratch(scratch, service.catalog.leases.holder)
        for node in nodes:
            try:  # as a restore test asks before it takes a node
                notes = guard.require_bridge(node.name, isolation.ISOLATED, max_age=0.0)
            except LawRefused as no:
                alone = False
                yield Line("isolated bridge", FAILED, no.message, no.hint, no.exit_code)
                continue
            for note in notes:
                alone = False
                yield Line("isolated bridge", WARNING, note, "see the line `ssh to the nodes`")
    if alone:
        where = ", ".join(node.name for node in nodes)
        text = f"{scratch.bridge} leads nowhere on {where}, and the token may use no other"
        yield Line("isolated bridge", OK, text)


def copies(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield the copies that nobody removed (law 1)."""
    scratch, found = service.policy.scratch, forgotten.look(service)
    for orphan in found:
        yield Line("copies", WARNING, *forgotten.says(orphan))
    if not found:
        yield Line(
            "copies", OK, f"none is left over in the scratch range {scratch.first}-{scratch.last}"
        )
