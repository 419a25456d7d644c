"""Users, tokens, roles and access control lists of the lab, with PVE's rules of inheritance (PVE_FACTS 1).

``root@pam`` and its tokens without privilege separation hold everything. A token with privilege separation holds what both it
and its user hold.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupsvc.lab.privileges import PRIVILEGES, ROLES


@dataclass(frozen=True)
class Identity:
    """Who asks: ``user@realm``, and the token's id when it is one."""

    user: str
    token: str | None = None

    @property
    def name(self) -> str:
        """``user@realm`` or ``user@realm!token``."""
        return f"{self.user}!{self.token}" if self.token else self.user


class Access:
    """The access control of the cluster, kept in one file (mode 0600: it holds the secrets)."""

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.RLock()
        stored: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        self.users: dict[str, dict[str, Any]] = stored.get("users", {"root@pam": {"enable": 1, "expire": 0}})
        self.tokens: dict[str, dict[str, Any]] = stored.get("tokens", {})
        self.roles: dict[str, list[str]] = stored.get("roles", {})
        self.acl: list[dict[str, Any]] = stored.get("acl", [])
        self.key: str = stored.get("key", "")
        self.passwords: dict[str, str] = stored.get("passwords", {})

    def save(self) -> None:
        """Write everything to the file."""
        names = ("users", "tokens", "roles", "acl", "key", "passwords")
        with self._mutex:
            fresh = self._path.with_suffix(".tmp")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps({name: getattr(self, name) for name in names}, indent=1))
            fresh.replace(self._path)

    def role(self, name: str) -> frozenset[str] | None:
        """Return a role's privileges, None if there is no such role."""
        if name in ROLES:
            return ROLES[name]
        return frozenset(self.roles[name]) if name in self.roles else None

    def privileges(self, identity: Identity, path: str) -> frozenset[str]:
        """Return the privileges that somebody holds on an ACL path."""
        own = frozenset(PRIVILEGES) if identity.user == "root@pam" else self._granted(identity.user, path)
        token = self.tokens.get(identity.name) if identity.token else None
        if token and token.get("privsep", 1):
            return own & self._granted(identity.name, path)
        return own

    def propagates(self, identity: Identity, path: str) -> dict[str, int]:
        """Return each privilege held on a path with 1 when it also holds below it."""
        below = self.privileges(identity, f"{path.rstrip('/')}/\0")
        return {priv: int(priv in below) for priv in sorted(self.privileges(identity, path))}

    def _granted(self, subject: str, path: str) -> frozenset[str]:
        """The nearest path upward with an entry for the subject decides: deeper entries replace what they inherit."""
        held: frozenset[str] = frozenset()
        for level in ancestry(path):
            here = [e for e in self.acl if e["path"] == level and e["ugid"] == subject and (e["propagate"] or level == path)]
            if here:
                held = frozenset().union(*(self.role(e["roleid"]) or frozenset() for e in here))
        return held


def ancestry(path: str) -> list[str]:
    """Given an ACL path, return it and all above it, the root first."""
    parts = [part for part in path.split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
