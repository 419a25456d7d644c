"""What a node's own kernel says of a bridge, over SSH: the one answer in which no file and no
pending change stands between.
"""

from __future__ import annotations

import json
import shlex

from backupsvc.errors import BackupsvcError, SshRefused
from backupsvc.remote.connections import LINE_BROKE, NodeConnections
from policies.attached import Kernel

SECONDS = 15.0  # that a node may take to answer
_ABSENT = "does not exist"  # iproute2: Device "vmbr9" does not exist.


def ports(nodes: NodeConnections, node: str, bridge: str) -> Kernel | None:
    """Given a node and a bridge, return its ports there by ``ip -j link show master``; None if no
    SSH leads to the node.

    A node that cannot be asked, or that does not understand, is no answer: ``ports`` is None then,
    and ``said`` tells why. Raise SshRefused if the node's host key is not the known one, or it does
    not let us in.
    """
    if not nodes.reaches(node):
        return None
    command = f"ip -j link show master {shlex.quote(bridge)}"
    try:
        _, out, err = nodes.begin(
            node, lambda client: client.exec_command(command, timeout=SECONDS)
        )
        said, wrong = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        code = out.channel.recv_exit_status()
    except SshRefused:
        raise
    except (BackupsvcError, *LINE_BROKE) as error:
        nodes.drop(node)
        why = (
            error.message
            if isinstance(error, BackupsvcError)
            else str(error) or type(error).__name__
        )
        return Kernel(
            None,
            f"the kernel of {node} could not be asked, so PVE's word on bridge {bridge} stands: "
            f"{why}",
        )
    if code and _ABSENT in wrong:
        return Kernel((), missing=True)
    if code:
        return _dumb(node, bridge, wrong.strip())
    try:
        rows = json.loads(said or "[]")
        # iproute2 leaves {} for what a filter took out
        return Kernel(tuple(str(row["ifname"]) for row in rows if row))
    except (ValueError, TypeError, KeyError):
        return _dumb(node, bridge, "its answer is no list of interfaces")


def _dumb(node: str, bridge: str, why: str) -> Kernel:
    return Kernel(
        None,
        f"the kernel of {node} did not answer, so PVE's word on bridge {bridge} stands: "
        f"{why or 'it said nothing'}",
    )
