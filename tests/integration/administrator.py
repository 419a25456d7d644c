"""What an administrator does in PVE before a test: over the lab's own API, as its root."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path


def disable_pve_job(state: Path, job: str = "backup-langeo") -> None:
    """Given a state directory with a lab that is up, disable a backup job of PVE's own.

    A scheduled backup stands back where such a job is due within half an hour: no test may depend
    on the time of day.
    """
    lab = state / "lab"
    saved = json.loads((lab / "settings.json").read_text(encoding="utf-8"))["pve"]
    token = json.loads((lab / "root.json").read_text(encoding="utf-8"))["token"]
    request = urllib.request.Request(
        f"https://{saved['host']}/api2/json/cluster/backup/{job}?enabled=0",
        method="PUT",
        headers={"Authorization": f"PVEAPIToken={token}"},
    )
    context = ssl.create_default_context(cafile=saved["ca_file"])
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        assert answer.status == 200
