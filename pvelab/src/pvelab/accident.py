"""What an administrator does in the demonstration, through the lab's API as its root: the accident,
a guest that is deleted, and a right that is given.

The service itself has no such calls (law 1).
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from pvelab.faults.client import direct


def delete_guest(lab_dir: Path, node: str, vmid: int, timeout: float = 60) -> None:
    """Given a lab's directory, stop and destroy one of its guests, disks included. Raise
    TimeoutError if that takes too long.
    """
    call = _Root(lab_dir)
    base = f"/nodes/{node}/qemu/{vmid}"
    for method, path, query in (
        ("POST", f"{base}/status/stop", {}),
        ("DELETE", base, {"purge": 1, "destroy-unreferenced-disks": 1}),
    ):
        call.wait(node, call(method, path, query), timeout)


def give(lab_dir: Path, path: str, privilege: str, token: str) -> None:
    """Given a lab's directory, an ACL path, a privilege and a token's name, give it to that token
    and its user.
    """
    call, role = _Root(lab_dir), f"Lab-{privilege}"
    call("POST", "/access/roles", {"roleid": role, "privs": privilege})
    for kind, who in (("users", token.partition("!")[0]), ("tokens", token)):
        call("PUT", "/access/acl", {"path": path, "roles": role, kind: who})


class _Root:
    """The lab's API as its root@pam token."""

    def __init__(self, lab_dir: Path) -> None:
        saved = json.loads((lab_dir / "settings.json").read_text(encoding="utf-8"))["pve"]
        self.url = f"https://{saved['host']}/api2/json"
        self.opener = direct(saved["ca_file"])
        self.header = {
            "Authorization": f"PVEAPIToken={json.loads((lab_dir / 'root.json').read_text(encoding='utf-8'))['token']}"
        }

    def __call__(self, method: str, path: str, query: dict[str, Any] | None = None) -> Any:
        suffix = f"?{urllib.parse.urlencode(query)}" if query else ""
        request = urllib.request.Request(
            self.url + path + suffix, method=method, headers=self.header
        )
        with self.opener.open(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def wait(self, node: str, upid: str, timeout: float) -> None:
        end = time.monotonic() + timeout
        path = f"/nodes/{node}/tasks/{urllib.parse.quote(upid, safe='')}/status"
        while self("GET", path)["status"] == "running":
            if time.monotonic() > end:
                raise TimeoutError(f"the lab's task {upid} did not end within {timeout:.0f} s")
            time.sleep(0.2)
