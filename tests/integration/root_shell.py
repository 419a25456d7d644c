"""The lab's administrator, with the API in one hand and a root shell with ``pveum`` in the
other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.role import USER
from tests.commands import Shell
from tests.integration import pveum

NODE = "clovis"


@dataclass
class Root:
    """The lab's administrator. ``secrets`` are those of the tokens that were made by what was
    pasted.
    """

    state: Path
    policy: Path = Path()
    secrets: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, /, **params: Any) -> Any:
        """Ask the lab's API and return the data."""
        return pveum.ask(self.state / "lab", method, path, **params)

    def task(self, method: str, path: str, /, **params: Any) -> None:
        """Start a task on the node and wait until it has ended well."""
        upid = self(method, path, **params)
        where = f"/nodes/{NODE}/tasks/{urllib.parse.quote(upid, safe='')}/status"
        end = time.monotonic() + 60
        while (found := self("GET", where))["status"] == "running" and time.monotonic() < end:
            time.sleep(0.1)
        assert found["exitstatus"] == "OK", found

    def paste(self, text: str) -> str:
        """Run what was printed in a shell that has ``pveum``; return what it complained of."""
        place = self.state / "root-shell"
        (place / "bin").mkdir(parents=True, exist_ok=True)
        words = [
            sys.executable,
            "-I",
            "-S",
            pveum.__file__,
            self.state / "lab",
            place / "secrets.json",
        ]
        script = place / "bin" / "pveum"
        script.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n')
        script.chmod(0o755)
        path = f"{place / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        done = subprocess.run(
            ["bash", "-c", text], env={"PATH": path}, capture_output=True, text=True, timeout=240, check=False
        )  # fmt: skip
        if (place / "secrets.json").exists():
            self.secrets = json.loads((place / "secrets.json").read_text())
        return done.stderr

    def gone(self) -> None:
        """Remove the user with tokens and rights, every role that is not PVE's own, and what was
        kept of them.
        """
        if USER in {row["userid"] for row in self("GET", "/access/users")}:
            self("DELETE", f"/access/users/{USER}")
        for row in self("GET", "/access/roles"):
            if not row["special"]:
                self("DELETE", f"/access/roles/{row['roleid']}")
        (self.state / "root-shell" / "secrets.json").unlink(missing_ok=True)
        self.secrets = {}

    def granted(self) -> dict[str, dict[str, set[str]]]:
        """What the service's user and each of its tokens were given: the privileges by path, of all
        roles that stand there.
        """
        found: dict[str, dict[str, set[str]]] = {}
        for row in self("GET", "/access/acl"):
            if row["ugid"].partition("!")[0] == USER:
                held = found.setdefault(row["ugid"], {}).setdefault(row["path"], set())
                held |= set(self("GET", f"/access/roles/{row['roleid']}"))
        return found

    def guests(self) -> dict[int, Any]:
        """The guests by VMID."""
        return {row["vmid"]: row for row in self("GET", "/cluster/resources", type="vm")}

    def destroy(self, vmid: int) -> None:
        """Stop a guest and destroy it with its disks."""
        self.task("POST", f"/nodes/{NODE}/qemu/{vmid}/status/stop")
        self.task(
            "DELETE", f"/nodes/{NODE}/qemu/{vmid}", **{"purge": 1, "destroy-unreferenced-disks": 1}
        )


def printed(policy: Path, bridges: tuple[str, ...], *others: str) -> str:
    """What ``doctor --role`` prints for a policy, without a cluster, comments and all."""
    words = [word for bridge in bridges for word in ("--restore", bridge)]
    answer = Shell(policy.parent)("doctor", "--role", *words, *others, BACKUPSVC_POLICY=str(policy))
    assert answer.code == 0, answer.err
    return answer.out
