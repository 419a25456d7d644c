"""What ``backupsvc doctor`` looks at: whether everything that the service leans on is there, and
what to do where it is not.

Nothing here changes anything. A failed line carries an exit code: 1 wrong, 2 settings or policy, 3
unreachable, 4 refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from backupsvc.doctor import cluster, copy_targets, probe, scratch, storages, token
from backupsvc.doctor.lines import FAILED, OK, UNKNOWN, WARNING, Line
from backupsvc.errors import BackupsvcError
from backupsvc.services import DoctorServices
from policies.model import PolicyError

__all__ = ["FAILED", "OK", "UNKNOWN", "WARNING", "Line", "examine", "exit_code"]


def examine(service: DoctorServices) -> list[Line]:
    """Given the service, return one line or more for each thing it leans on, in the order in which
    to put them right.

    A node that does not answer comes first: much of the rest follows from it.
    """
    lines = _ask("policy", service, _policy)
    lines += _ask(
        "catalog",
        service,
        lambda one: [Line("catalog", OK, f"{len(one.catalog.archives.find())} archives known")],
    )
    lines += _ask("cluster", service, cluster.answers)
    # Where the policy is wrong or the cluster silent, each of these would fail with the same
    # sentence.
    if not any(line.status == FAILED for line in lines if line.name in ("policy", "cluster")):
        lines = [*_ask("nodes", service, cluster.nodes), *lines]
        for name, question in (
            ("quorum", cluster.quorum),
            ("token", token.everyday),
            ("storages", storages.look),
            ("isolated bridge", scratch.bridge),
            ("clocks", cluster.clocks),
            ("room", storages.room),
            ("retention", storages.retention),
            ("copies", scratch.copies),
        ):
            lines += _ask(name, service, question)
        if service.settings.pve.restore_token:
            lines += _ask("restore token", service, token.restoring)
        lines += _ask(copy_targets.NAME, service, copy_targets.look)
    # of these much is seen without the cluster
    for name, question in (
        ("ssh to the nodes", _ssh),
        ("probe", probe.probes),
        ("broker", _broker),
    ):
        lines += _ask(name, service, question)
    return lines


def exit_code(lines: Iterable[Line]) -> int:
    """Given the lines, return the exit code of the first that failed, 0 if none did."""
    return next((line.exit_code for line in lines if line.status == FAILED), 0)


def _ask(
    name: str, service: DoctorServices, question: Callable[[DoctorServices], Iterable[Line]]
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
    down = cluster.down(service)
    for node, address in sorted(ssh.nodes.items()):
        # to ask it would only take as long as its silence, and another line says what is wrong
        if node in down:
            yield Line("ssh to the nodes", WARNING, f"{node} was not asked: it is {down[node]}")
            continue
        try:
            open_client(peer_of(ssh, node)).close()
        except BackupsvcError as error:
            yield Line("ssh to the nodes", FAILED, error.message, error.hint, error.exit_code)
        else:
            yield Line("ssh to the nodes", OK, f"{node} lets us in at {address}")


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
