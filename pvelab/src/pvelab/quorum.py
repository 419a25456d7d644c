"""What PVE refuses without quorum: its cluster file system is read-only then (pve-facts 9.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pvelab.errors import LabError

if TYPE_CHECKING:
    from pvelab.kernel import Lab

TEXT = "cluster not ready - no quorum?"
# calls that write below /etc/pve; logging in, tasks, agents and archives need no quorum
_WRITES = re.compile(
    r"/(?:cluster|pools|storage|access(?!/ticket|/vncticket))(?:/.*)?"
    r"|/nodes/\{node\}/(?:qemu|lxc)(?:/\{vmid\}(?:/config|/migrate)?)?"
)


def check(lab: Lab, method: str, template: str) -> None:
    """Given a call's method and path template, raise LabError 500 if it changes the cluster's
    configuration without quorum.
    """
    if method != "GET" and not lab.quorate() and _WRITES.fullmatch(template):
        raise LabError(500, TEXT)
