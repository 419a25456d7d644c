"""The containers' volumes in a storage's listing, content type ``rootdir``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pvelab.containers.trees import trees
from pvelab.guests.access import sees_volume
from pvelab.kernel import Call


def rootdirs(call: Call, storage: str, vmid: int | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a storage's container volumes (of one container) that the caller may
    see.
    """
    for tree in trees(call.lab, call.node, storage):
        if vmid in (None, tree.volume.owner) and sees_volume(call, tree.volume):
            yield {
                "volid": tree.volume.volid,
                "content": "rootdir",
                "format": "raw",
                "size": tree.size,
                "used": tree.used(),
                "ctime": int(tree.volume.path.stat().st_ctime),
                "vmid": tree.volume.owner,
                "parent": None,
            }
