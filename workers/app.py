"""The Celery application: ``celery -A workers.app worker`` and ``celery -A workers.app beat``.

Messages are acknowledged early and every task is short, so that neither Redis' visibility timeout nor its loss can matter.
"""

from __future__ import annotations

from celery import Celery

from backupsvc.settings import load_settings
from workers.schedule import beat_schedule, site_policy


def build() -> Celery:
    """Return the application for the settings in force."""
    settings = load_settings()
    policy = site_policy(settings)
    made = Celery("backupsvc", broker=settings.broker.url, include=["workers.tasks"])
    made.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_time_limit=600,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": 6 * 3600},
        worker_hijack_root_logger=False,
        timezone=policy.timezone if policy else "UTC",
        beat_schedule=beat_schedule(policy),
    )
    return made


app = build()
