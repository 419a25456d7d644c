"""Where a lab lies when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def lab_dir() -> Path:
    """Return the directory of the lab that the command line is about.

    It is PVELAB_DIR, else the place below the service's state directory in which the service
    ``backupsvc`` looks for a lab (``lab`` in BACKUPSVC_STATE_DIR, or in ``backupsvc`` of the user's
    XDG state home), so that nobody need point it there.
    """
    if chosen := os.environ.get("PVELAB_DIR"):
        return Path(chosen)
    if state := os.environ.get("BACKUPSVC_STATE_DIR"):
        return Path(state) / "lab"
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "backupsvc" / "lab"
