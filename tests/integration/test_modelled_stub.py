"""What a failed restore leaves under a production VMID: never backed up, never taken for the guest,
never destroyed by us.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.commands import Shell

pytestmark = pytest.mark.slow

VMID = 110


def administrator(site: Shell, method: str, path: str, **asked: object) -> Any:
    """Ask the lab's API as its root."""
    lab = site.state / "lab"
    saved = json.loads((lab / "settings.json").read_text(encoding="utf-8"))["pve"]
    token = json.loads((lab / "root.json").read_text(encoding="utf-8"))["token"]
    query = urllib.parse.urlencode(asked)
    url = f"https://{saved['host']}/api2/json/{path}{'?' + query if query else ''}"
    request = urllib.request.Request(
        url, method=method, headers={"Authorization": f"PVEAPIToken={token}"}
    )
    context = ssl.create_default_context(cafile=saved["ca_file"])
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return json.load(answer)["data"]


def ended(site: Shell, node: str, upid: str) -> str:
    """Wait until a task has ended; return its exit status."""
    for _ in range(2400):
        status = administrator(site, "GET", f"nodes/{node}/tasks/{urllib.parse.quote(upid)}/status")
        if status["status"] == "stopped":
            return str(status["exitstatus"])
        time.sleep(0.1)
    raise AssertionError(f"{upid} still runs")


def where(site: Shell) -> str:
    return next(
        str(row["node"])
        for row in administrator(site, "GET", "cluster/resources", type="vm")
        if row["vmid"] == VMID
    )


def test_the_rest_of_a_failed_restore_costs_no_archive_and_is_no_machine(site: Shell) -> None:
    good = site("backup", "run", "--vmid", VMID, "--json").json["guests"][0]
    assert good["status"] == "ok"
    node = where(site)
    for method, path in (
        ("POST", f"nodes/{node}/qemu/{VMID}/status/stop"),
        ("DELETE", f"nodes/{node}/qemu/{VMID}"),
    ):
        assert ended(site, node, administrator(site, method, path)) == "OK"
    # fails once the config is there
    asked = {"vmid": VMID, "archive": good["archive"]["volid"], "live-restore": 1}
    assert "live-restore" in ended(
        site, node, administrator(site, "POST", f"nodes/{node}/qemu", **asked)
    )
    assert administrator(site, "GET", f"nodes/{node}/qemu/{VMID}/config").keys() <= {
        "memory",
        "digest",
        "lock",
    }

    again = site("restore", VMID, "--yes", "--json")
    assert again.code == 4
    assert f"qm destroy {VMID}" in again.json["error"]["hint"]

    refused = site("backup", "run", "--vmid", VMID, "--json")
    assert refused.code == 4
    assert "only the rest of a restore" in refused.json["guests"][0]["error"]
    listed = site("catalog", "list", "--vmid", VMID, "--json").json["archives"]
    assert [item["volid"] for item in listed] == [good["archive"]["volid"]]

    dumped = administrator(
        site,
        "POST",
        f"nodes/{node}/vzdump",
        vmid=VMID,
        storage=good["archive"]["storage"],
        compress="zstd",
    )
    assert ended(site, node, dumped) == "OK"  # PVE's own job does as it always did
    site("catalog", "sync")
    marks = {
        item["volid"]: item
        for item in site("prune", "--dry-run", "--vmid", VMID, "--json").json["archives"]
    }
    (stub,) = set(marks) - {good["archive"]["volid"]}
    assert "no longer exists" in marks[stub]["reasons"][0] and marks[stub]["mark"] == "keep"
    assert marks[good["archive"]["volid"]]["mark"] == "keep"

    assert ended(site, node, administrator(site, "DELETE", f"nodes/{node}/qemu/{VMID}")) == "OK"
    named = site("restore", VMID, "--archive", stub, "--yes", "--json")
    assert named.code == 4 and "0 disks" in named.json["error"]["message"]
    back = site("restore", VMID, "--yes", "--no-start", "--json")
    assert back.code == 0, back.out + back.err
    assert back.json["archive"]["volid"] == good["archive"]["volid"]
