"""The Celery application: ``celery -A workers.app worker`` and ``celery -A workers.app beat``.

Messages are acknowledged early and every task is short, so that neither Redis' visibility timeout
nor its loss can matter. A worker without ``--queues`` consumes both queues.
"""

from __future__ import annotations

from celery import Celery

from backupsvc.serve.queues import POLLS, QUEUES, TASK_SECONDS
from backupsvc.settings import load_settings
from workers import logs as _logs  # noqa: F401 (it connects to Celery's signal)
from workers.routing import route
from workers.schedule import beat_schedule, site_policy
from workers.transport import install

# A Redis that is stopped, restarted or behind a link that died is noticed within a minute and
# waited for, for ever. Without a socket_timeout a publish on a dead connection waits for ever, and
# kombu's own checks never run.
TRANSPORT = {
    "visibility_timeout": 6 * 3600,
    "socket_timeout": 20,
    "socket_connect_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


def build() -> Celery:
    """Return the application for the settings in force."""
    install()
    settings = load_settings()
    policy = site_policy(settings)
    made = Celery(
        "backupsvc", broker=settings.broker.url, include=["workers.tasks", "workers.heartbeat"]
    )
    made.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_queues={name: {} for name in QUEUES},
        task_default_queue=POLLS,
        task_routes=[route],
        worker_prefetch_multiplier=1,
        task_time_limit=TASK_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT,
        # The message is acknowledged already and the operation's step is in the catalog: a running
        # task needs no broker.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        timezone=policy.timezone if policy else "UTC",
        # In memory: a schedule file can be damaged or stale, and what beat missed is found by the
        # tick.
        beat_scheduler="celery.beat:Scheduler",
        beat_schedule=beat_schedule(policy, settings.tick),
    )
    return made


app = build()
