"""Everything that ``backupsvc serve`` does, from the first look at the settings to the last child's
end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from backupsvc.bootstrap import NO_CLUSTER, Service, open_service
from backupsvc.errors import UsageError
from backupsvc.serve import healthz, lock, private_redis
from backupsvc.serve.queues import QUEUES
from backupsvc.serve.supervisor import Plan, Supervisor
from backupsvc.serve.systemd import Notifier
from backupsvc.serve.vitals import Observer, as_dict
from backupsvc.settings import Settings, load_settings
from policies.serving import Vitals, judge


def plan_for(settings: Settings, *, concurrency: int, log_level: str, grace: float) -> Plan:
    """Given the settings, return what to run: a private Redis only where the settings name none."""
    return Plan(
        settings.state_dir,
        "url" not in settings.broker.model_fields_set,
        concurrency,
        log_level,
        grace,
    )


def serve(
    service: Service,
    plan: Plan,
    listen: str,
    say: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. ``say`` is told what happens, ``warn`` what should not (without
    it ``say`` is).

    Raise UsageError or PolicyError (settings, policy, address), CatalogUnreachable, Refused
    (another one runs here) or Unreachable (no Redis) before anything is started.
    """
    # what is wrong fails here, with a sentence, rather than in every child
    _ = service.policy
    if not service.settings.pve.host:
        raise UsageError(*NO_CLUSTER)
    _ = service.catalog
    with lock.only_one(plan.state) as write_down:
        if plan.private_redis:
            # for the children; a URL may hold a password
            os.environ["BACKUPSVC_BROKER__URL"] = private_redis.url(plan.state)
        # for the children, who go by it before Celery's own option
        os.environ["BACKUPSVC_LOG__LEVEL"] = plan.log_level
        jobs = tuple(job.id for job in service.policy.jobs)
        observer = Observer(service.catalog, service.clock, service.settings.tick, QUEUES, jobs)
        supervisor = Supervisor(plan, service.clock, observer, Notifier(), say, warn or say)

        def report() -> tuple[bool, dict[str, Any]]:
            health, state = observer.report()
            return health.good, state

        with healthz.answering(listen, report) as address:
            write_down(address)
            observer.start()
            say(f"beat and workers for {' and '.join(QUEUES)} start; /healthz answers on {address}")
            try:
                supervisor.run()
            finally:
                observer.stop()


def check(listen: str | None) -> dict[str, Any]:
    """Ask the serve that runs in this state directory, or at ``listen``, how it does. Raise
    Unreachable if none answers.
    """
    settings = load_settings()
    found = lock.running(settings.state_dir) or {}
    return healthz.ask(listen or found.get("listen") or settings.listen)


def check_queue(queue: str) -> dict[str, Any]:
    """Judge one queue by the catalog alone, wherever its workers run. Raise UsageError for one that
    is none.

    No night counts here: the containers' health is asked so, and a container must not be replaced
    because backups failed.
    """
    if queue not in QUEUES:
        raise UsageError(f"there is no queue {queue!r}", f"the queues are {' and '.join(QUEUES)}")
    with open_service() as service:
        now = service.clock.now()
        count, due = service.catalog.operations.backlog(int(now))
        vitals = Vitals(
            0,
            service.settings.tick,
            (queue,),
            service.catalog.heartbeats.newest(),
            open=count,
            due=due,
        )
    return as_dict(vitals, judge(vitals, now), now)
