"""What a token may do at a path of PVE's access control list, read from what
``/access/permissions`` answers.
"""

from __future__ import annotations

from collections.abc import Mapping

LOCAL_ZONE = "/sdn/zones/localnetwork"


def privileges(permissions: Mapping[str, frozenset[str]], path: str) -> frozenset[str]:
    """Given the token's permissions, return those that hold at an ACL path: the ones of the nearest
    path listed at or above it.

    PVE lists every path on which an ACL stands with what is effective there, so the nearest one
    speaks for all below it.
    """
    while True:
        if path in permissions:
            return permissions[path]
        if path == "/":
            return frozenset()
        path = path.rpartition("/")[0] or "/"
