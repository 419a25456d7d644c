"""The cluster's configuration as it is kept: what the API tells, call by call, unshaped."""

from __future__ import annotations

from collections.abc import Mapping

from backupsvc.pve.client import Client


class Configuration:
    """Reads; nothing here changes anything."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """Given a path of the API and its parameters, return the answer's data as they came. Raise
        what PVE refuses, and PveUnreachable.
        """
        return self._client.get(path, dict(params or {})).data

    def propagated(self) -> dict[str, frozenset[str]]:
        """Return what the token may do, by ACL path, as far as it holds for what lies below."""
        found = self._client.get("access/permissions").row()
        held = {path: found.row(path) for path in found.names()}
        return {
            path: frozenset(name for name in row.names() if row.boolean(name))
            for path, row in held.items()
        }
