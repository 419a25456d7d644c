"""Who asks for what is done: recorded with each operation, cancellation and acceptance, so that an
auditor can ask back.
"""

from __future__ import annotations

import getpass
import os
import socket

BEAT = "beat"  # what the schedule asks for, nobody asked for by hand


def person() -> str:
    """Return who runs this process and from where: ``alice@host``, or ``root@host (sudo by
    alice)``.

    The second name is what sudo says of whoever called it (sudo(8), SUDO_USER); root may say
    anything there.
    """
    caller = os.environ.get("SUDO_USER", "")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this number, as in many containers
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}" + (
        f" (sudo by {caller})" if caller and caller != user else ""
    )


def schedule() -> str:
    """Return who asks for what is due by itself: the beat of this host."""
    return f"{BEAT}@{socket.gethostname()}"
