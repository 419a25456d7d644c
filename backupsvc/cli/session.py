"""The service, as commands open it: whoever works on modelled guests is told so on every screen
(law 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backupsvc.cli.output import tell

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

SIMULATED = "SIMULATED: the lab's guests are only modelled; nothing that is seen here is proven"


@contextmanager
def open_service(*, enqueue: bool = False) -> Iterator[Service]:
    """Yield the service for the settings in force. With ``enqueue`` it opens operations for the
    workers.
    """
    from backupsvc import bootstrap

    with bootstrap.open_service(foreground=not enqueue) as service:
        if service.settings.simulated:
            # on standard error: an answer in JSON stays one
            tell(SIMULATED)
        yield service
