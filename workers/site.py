"""The service as a worker keeps it: opened once a thread, so that a poll costs no connection; anew
when the policy changes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backupsvc.bootstrap import Service
from backupsvc.clock import SystemClock
from backupsvc.engine.step_log import log_step
from backupsvc.errors import CatalogUnreachable
from backupsvc.pve.breakers import Breakers
from backupsvc.requester import schedule
from backupsvc.settings import load_settings
from policies.breaker import LONG_LIVED

# one thread's wait for a dead node spares the others
_silence = Breakers(SystemClock(), LONG_LIVED)
_kept = threading.local()


@contextmanager
def open_site() -> Iterator[Service]:
    """Yield this thread's service for the settings and the policy in force, with an engine that
    works for workers.
    """
    settings = load_settings()
    # Most editors put a new file in the old one's place: its inode tells them apart, even within
    # one tick of the file system's clock.
    version = None
    if settings.policy is not None and settings.policy.exists():
        status = settings.policy.stat()
        version = (status.st_mtime_ns, status.st_ino)
    stamp = (settings.model_dump_json(), version)
    if getattr(_kept, "stamp", None) != stamp:
        forget()
        service = Service(
            settings, SystemClock(), foreground=False, breakers=_silence, asked_by=schedule()
        )
        service.observers.append(log_step)
        _kept.service, _kept.stamp = service, stamp
    try:
        yield _kept.service
    except CatalogUnreachable:
        forget()
        raise


def forget() -> None:
    """Close this thread's service, if it has one."""
    if service := getattr(_kept, "service", None):
        service.close()
    _kept.service = _kept.stamp = None
