"""What ``backupsvc doctor`` looks at: whether everything that the service leans on is there, and
what to do where it is not.

Nothing here changes anything. A failed line carries an exit code: 1 wrong, 2 settings or policy, 3
unreachable, 4 refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from backupsvc.doctor import copy_targets, token
from backupsvc.doctor.lines import FAILED, OK, UNKNOWN, WARNING, Line
from backupsvc.doctor.probe import probes
from backupsvc.errors import BackupsvcError, LawRefused, PvePermissionDenied
from backupsvc.inventory.listing import survey
from backupsvc.inventory.room import rooms
from backupsvc.operations.scratch_cleanup import forgotten
from backupsvc.services import DoctorServices
from policies import archive_signs, i18n, isolation, prune_guard, reach, role
from policies.compliance.evaluation import findings
from policies.compliance.facts import BridgeFacts, GuestFacts, Quorum, SiteFacts
from policies.compliance.findings import node_offline, scratch_not_isolated, status_unknown
from policies.compliance.scratch_network import linked_down, scratch_network
from policies.model import PolicyError, Severity, Storage

__all__ = ["FAILED", "OK", "UNKNOWN", "WARNING", "Line", "examine", "exit_code"]

T = TypeVar("T")
_WORD = "en"  # the language of the command line; only the report speaks two


def examine(service: DoctorServices) -> list[Line]:
    """Given the service, return one line or more for each thing it leans on, in the order in which
    to put them right.

    A node that does not answer comes first: much of the rest follows from it.
    """
    lines = [*_ask("policy", service, _policy), *_ask("catalog", service, _catalog)]
    lines += _ask("cluster", service, _cluster)
    # Where the policy is wrong or the cluster silent, each of these would fail with the same
    # sentence.
    if not any(line.status == FAILED for line in lines if line.name in ("policy", "cluster")):
        lines = [*_ask("nodes", service, _nodes), *lines]
        questions = (
            ("quorum", _quorum),
            ("token", token.everyday),
            ("storages", _storages),
            ("isolated bridge", _bridge),
            ("clocks", _clocks),
        )
        for name, question in (
            *questions,
            ("room", _room),
            ("retention", _retention),
            ("copies", _copies),
        ):
            lines += _ask(name, service, question)
        if service.settings.pve.restore_token:
            lines += _ask("restore token", service, token.restoring)
        lines += _ask(copy_targets.NAME, service, copy_targets.look)
    for name, question in (("ssh to the nodes", _ssh), ("probe", probes), ("broker", _broker)):
        lines += _ask(name, service, question)
    return lines


def exit_code(lines: Iterable[Line]) -> int:
    """Given the lines, return the exit code of the first that failed, 0 if none did."""
    return next((line.exit_code for line in lines if line.status == FAILED), 0)


def _ask(
    name: str, service: DoctorServices, question: Callable[[DoctorServices], Iterator[Line]]
) -> list[Line]:
    try:
        return list(question(service))
    except BackupsvcError as error:
        return [Line(name, FAILED, error.message, error.hint, error.exit_code)]
    except PolicyError as error:
        return [
            Line(
                name,
                FAILED,
                str(error),
                "correct the policy; `backupsvc policy check` says whether it is right",
                2,
            )
        ]


def _policy(service: DoctorServices) -> Iterator[Line]:
    policy = service.policy
    yield Line(
        "policy",
        OK,
        f"{policy.source}: {policy.site}, {len(policy.jobs)} jobs, {len(policy.guests)} guests "
        "named",
    )
    if not policy.jobs:
        yield Line(
            "policy",
            WARNING,
            "no job: nothing is backed up by this service",
            "write a job into the policy",
        )


def _catalog(service: DoctorServices) -> Iterator[Line]:
    yield Line("catalog", OK, f"{len(service.catalog.archives.find())} archives known")


def _cluster(service: DoctorServices) -> Iterator[Line]:
    cluster = service.pve.cluster
    version = cluster.version()
    seen = f"{service.pve.host} answers, Proxmox VE {version.version}"
    if token.major(version.release) in role.SUPPORTED:
        yield Line("cluster", OK, seen)
    else:
        known = " and ".join(map(str, role.SUPPORTED))
        yield Line(
            "cluster",
            WARNING,
            f"{seen}: not a release that this service was made for",
            f"use Proxmox VE {known}",
        )
    for error in service.pve.silent():
        yield Line(
            "cluster",
            WARNING,
            f"a host of BACKUPSVC_PVE__HOST is of no use now: {error.message}",
            error.hint,
        )


def _nodes(service: DoctorServices) -> Iterator[Line]:
    """The findings of ``pra status`` about nodes, with what is known without any long question."""
    nodes = service.pve.cluster.nodes()
    if not any(node.unknown or not node.online for node in nodes):
        return
    # guests, archives, quorum and HA, as the nodes that answer tell them; what is refused is not
    # known
    cluster, seen = service.pve.cluster, survey(service, remember=False)
    status, managed = _unless_denied(cluster.status), _unless_denied(cluster.ha_resources) or set()
    guests = tuple(
        GuestFacts(
            guest.vmid,
            guest.name or (known.name if (known := service.policy.guests.get(guest.vmid)) else ""),
            guest,
            archives=tuple(one for one in seen.listed if one.vmid == guest.vmid),
            unreachable=tuple(one for one in seen.unreachable if one.vmid == guest.vmid),
            ha_managed=bool({f"vm:{guest.vmid}", f"ct:{guest.vmid}"} & managed),
        )
        for guest in cluster.guests()
        if guest.vmid not in service.policy.scratch
    )
    quorum = Quorum(True, len(status.nodes), status.quorate) if status else None
    facts = SiteFacts(
        service.policy.site, int(service.clock.now()), guests, nodes=tuple(nodes), quorum=quorum
    )
    for finding in findings(
        facts,
        replace(service.policy, language=_WORD),
        facts.at,
        (node_offline.RULE, status_unknown.RULE),
    ):
        bad = finding.severity is Severity.CRITICAL
        yield Line(
            finding.id, FAILED if bad else WARNING, finding.detail, finding.action, 3 if bad else 0
        )


def _unless_denied(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except PvePermissionDenied:
        return None


def _quorum(service: DoctorServices) -> Iterator[Line]:
    try:
        status = service.pve.cluster.status()
    except PvePermissionDenied as denied:
        yield Line("quorum", WARNING, f"not known: {denied.message}", denied.hint)
        return
    online, votes = sum(node.online for node in status.nodes), len(status.nodes)
    if status.quorate is None:
        yield Line("quorum", OK, "a node that stands alone has none to lose")
    elif status.quorate:
        yield Line("quorum", OK, f"kept: {online} of {votes} nodes are online")
    else:
        text = (
            f"LOST: {online} of {votes} nodes are online; HA does not act, and PVE refuses every "
            "restore and every new setting"
        )
        action = (
            "bring the missing node back" if online == votes else "see node-offline, the first line"
        )
        yield Line("quorum", FAILED, text, action, 3)


def _room(service: DoctorServices) -> Iterator[Line]:
    yield from (Line("room", *item) for item in rooms(service))


def _storages(service: DoctorServices) -> Iterator[Line]:
    # a storage that is missing on nodes that could not be asked is not known to be missing
    seen, down = service.pve.storage.seen(), _down(service)
    for node, why in sorted(seen.silent.items()):
        text = (
            f"{node} did not say which storages it has, so what they hold, and whether they have "
            f"room, is not known: {why}"
        )
        yield Line("storages", WARNING, text, f"see on {node} which one hangs: pvesm status")
    unseen = i18n.names(sorted({*down, *seen.silent}))
    for name in sorted({job.storage for job in service.policy.jobs}):
        yield _storage(name, "backup", "archives", seen.storages, unseen)
    if service.policy.scratch.storage:
        yield _storage(
            service.policy.scratch.storage, "images", "the disks of copies", seen.storages, unseen
        )


def _storage(name: str, content: str, purpose: str, found: Sequence[Storage], unseen: str) -> Line:
    """What is to be said of a storage that the policy names. ``unseen``: the nodes that could not
    be asked, or "".
    """
    places = [storage for storage in found if storage.name == name]
    action = (
        "correct the storage's name in the policy, its content types in PVE (pvesm status), or "
        "the token's rights on it"
    )
    if not places and unseen:
        text = (
            f"no node that could be asked has a storage {name} for {purpose}; whether {unseen} "
            "has it is not known"
        )
        return Line("storages", UNKNOWN, text)
    if not places:
        return Line(
            "storages",
            FAILED,
            f"there is no storage {name} for {purpose}, or the token may not see it",
            action,
            1,
        )
    if not any(content in storage.content for storage in places):
        return Line(
            "storages",
            FAILED,
            f"storage {name} takes no {content}, so it cannot hold {purpose}",
            action,
            1,
        )
    if silent := sorted(
        storage.node for storage in places if not (storage.active and storage.enabled)
    ):
        text = f"storage {name} for {purpose} is not active on {', '.join(silent)}"
        return Line("storages", WARNING, text, f"look at it there: pvesm status --storage {name}")
    return Line(
        "storages",
        OK,
        f"{name} holds {purpose} on {', '.join(sorted(storage.node for storage in places))}",
    )


def _bridge(service: DoctorServices) -> Iterator[Line]:
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
            f"scratch-not-isolated.{fault.kind}", _WORD, vmid=None, **fault.values
        )
        harmless = scratch_not_isolated.RULE.severity_of(fault.kind) is Severity.WARNING
        status, code = (WARNING, 0) if harmless else (FAILED, 1)
        yield Line("isolated bridge", status, detail, action, code)
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


def _copies(service: DoctorServices) -> Iterator[Line]:
    scratch, found = service.policy.scratch, forgotten.look(service)
    for orphan in found:
        yield Line("copies", WARNING, *forgotten.says(orphan))
    if not found:
        yield Line(
            "copies", OK, f"none is left over in the scratch range {scratch.first}-{scratch.last}"
        )


def _clocks(service: DoctorServices) -> Iterator[Line]:
    limit = service.policy.max_clock_drift
    offsets = service.pve.cluster.clock_offsets()
    untold = [
        node.name
        for node in service.pve.cluster.nodes()
        if node.online and node.name not in offsets
    ]
    for node in untold:
        yield Line(
            "clocks",
            WARNING,
            f"{node} did not tell its time, so its drift is not known",
            f"see on {node} that it answers",
        )
    for node, offset in sorted(offsets.items()):
        if abs(offset) > limit:
            text = (
                f"the clock of {node} is {abs(offset):.0f} s "
                f"{'ahead of' if offset > 0 else 'behind'} this machine's"
            )
            yield Line(
                "clocks",
                WARNING,
                text,
                "synchronise both (chronyc tracking): schedules and ages lean on them",
            )
    if all(abs(offset) <= limit for offset in offsets.values()):
        which = f"{i18n.names(sorted(offsets)) or 'no node'}" if untold else "every node"
        yield Line("clocks", OK, f"{which} within {limit} s of this machine")


def _retention(service: DoctorServices) -> Iterator[Line]:
    """Which guests a prune would not touch, by what the storages list now: a lost catalog knows of
    no archive itself.
    """
    seen = survey(service, remember=False)
    known = [*seen.listed, *seen.unreachable]
    stopped = prune_guard.stopped(known, service.catalog.inspections.knowledge())
    for why in stopped.values():
        _, action = prune_guard.refusal({0: why}) or ("", "")
        yield Line("retention", WARNING, f"{why}; prune removes nothing of it", action)
    if not stopped:
        # a storage of a node that is down goes without saying
        alone = [reach.in_words(place) for place in sorted(seen.why) if place[0] not in seen.down]
        where = i18n.names([*sorted(seen.down), *alone])
        unseen = f"; what lies on {where} was not looked at" if where else ""
        yield Line(
            "retention", OK, f"every guest's archives are known well enough to be pruned{unseen}"
        )
    # a guest's owner may make suspicious archives at will: until somebody acknowledges them all
    # that they hold stays, and the storage fills
    for vmid, hold in archive_signs.holds(service.catalog.archive_signs.suspicious()).items():
        theirs = [one for one in known if one.vmid == vmid and one.ctime <= hold.until]
        size = i18n.size(sum(one.size for one in theirs), i18n.ENGLISH)
        yield Line(
            "retention",
            WARNING,
            f"guest {vmid}: {hold.volid} is suspicious, and holds {len(theirs)} archives of {size} "
            "together, so that none of them is removed",
            f"see `backupsvc pra status`; if its data are right, `backupsvc archive acknowledge "
            f"{hold.volid} --reason TEXT`",
        )


def _ssh(service: DoctorServices) -> Iterator[Line]:
    from backupsvc.remote.connections import peer_of
    from backupsvc.remote.ssh import open_client

    ssh = service.settings.ssh
    if not ssh.nodes:
        yield Line(
            "ssh to the nodes",
            OK,
            "not configured: only archives that this service made, or once read, can be proven",
        )
    down = _down(service)
    for node, address in sorted(ssh.nodes.items()):
        if node in down:
            yield Line("ssh to the nodes", WARNING, f"{node} was not asked: it is {down[node]}")
            continue
        try:
            open_client(peer_of(ssh, node)).close()
        except BackupsvcError as error:
            yield Line("ssh to the nodes", FAILED, error.message, error.hint, error.exit_code)
        else:
            yield Line("ssh to the nodes", OK, f"{node} lets us in at {address}")


def _down(service: DoctorServices) -> dict[str, str]:
    """The nodes that cannot be asked; none is known where the cluster does not answer, which its
    own line says.
    """
    try:
        return reach.down(service.pve.cluster.nodes())
    except (BackupsvcError, PolicyError):
        return {}


def _broker(service: DoctorServices) -> Iterator[Line]:
    import redis

    if "broker" not in service.settings.model_fields_set:
        yield Line("broker", OK, "not configured: the command line needs none")
        return
    try:
        with redis.Redis.from_url(
            service.settings.broker.url, socket_connect_timeout=5, socket_timeout=5
        ) as broker:
            broker.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        why = str(error) or type(error).__name__
        yield Line(
            "broker",
            WARNING,
            f"does not answer: {why}",
            "start Redis, or correct BACKUPSVC_BROKER__URL; workers need it",
        )
    else:
        yield Line("broker", OK, "answers")
