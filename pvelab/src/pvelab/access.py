"""Users, groups, tokens, roles, pools and access control lists of the lab, with PVE's rules of
inheritance.

``root@pam`` and its tokens without privilege separation hold everything. A token with privilege
separation holds what both it and its user hold. A deeper entry replaces what it inherits, a user's
own entry that of his groups on the same path, and NoAccess every other role beside it. A guest or a
storage in a pool adds what is held on the pool (libpve-access-control, roles() and RPCEnvironment's
compile_acl_path).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvelab.privileges import PRIVILEGES, ROLES


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
        self.users: dict[str, dict[str, Any]] = stored.get(
            "users", {"root@pam": {"enable": 1, "expire": 0}}
        )
        self.tokens: dict[str, dict[str, Any]] = stored.get("tokens", {})
        self.roles: dict[str, list[str]] = stored.get("roles", {})
        self.acl: list[dict[str, Any]] = stored.get("acl", [])
        self.key: str = stored.get("key", "")
        self.passwords: dict[str, str] = stored.get("passwords", {})
        self.groups: dict[str, dict[str, Any]] = stored.get("groups", {})
        self.pools: dict[str, dict[str, Any]] = stored.get("pools", {})

    def save(self) -> None:
        """Write everything to the file."""
        names = ("users", "tokens", "roles", "acl", "key", "passwords", "groups", "pools")
        with self._mutex:
            fresh = self._path.with_suffix(".tmp")
            # made with its mode first, and put in place whole: it holds the secrets
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
        own = (
            frozenset(PRIVILEGES)
            if identity.user == "root@pam"
            else self._held(identity.user, path)
        )
        token = self.tokens.get(identity.name) if identity.token else None
        # both must hold it: a token never has more than its user (pve-facts 11.2)
        if token and token.get("privsep", 1):
            return own & self._held(identity.name, path)
        return own

    def listed(
        self, identity: Identity, kind: str, members: Iterable[int | str]
    ) -> dict[int | str, frozenset[str]]:
        """Given ``vms`` or ``storage`` and its members, return the privileges that somebody holds
        on each.

        What stands in no entry and no pool inherits, and that is looked up once: a cluster may have
        thousands of guests.
        """
        own = {entry["path"] for entry in self.acl}.union(self.pooled_paths())
        # no member is called so: what holds there holds for all without entries of their own
        inherited = self.privileges(identity, f"/{kind}/\0")
        paths = {member: f"/{kind}/{member}" for member in members}
        return {
            member: self.privileges(identity, path) if path in own else inherited
            for member, path in paths.items()
        }

    def propagates(self, identity: Identity, path: str) -> dict[str, int]:
        """Return each privilege held on a path with 1 when it also holds below it."""
        below = self.privileges(identity, f"{path.rstrip('/')}/\0")
        return {priv: int(priv in below) for priv in sorted(self.privileges(identity, path))}

    def pool_of(self, kind: str, member: int | str) -> str | None:
        """Given ``vms`` or ``storage`` and a VMID or a storage's name, return the pool that it is
        in, if any.
        """
        return next(
            (name for name, pool in sorted(self.pools.items()) if member in pool[kind]), None
        )

    def pooled_paths(self) -> list[str]:
        """Return the ACL paths of all members of pools."""
        return [
            f"/{kind}/{member}"
            for pool in self.pools.values()
            for kind in ("vms", "storage")
            for member in pool[kind]
        ]

    def join_pool(self, name: str, vmid: int) -> None:
        """Make a guest a member of a pool, as a restore or a creation with ``pool`` does when it is
        done.
        """
        with self._mutex:
            if vmid not in self.pools[name]["vms"]:
                self.pools[name]["vms"].append(vmid)
        self.save()

    def forget_guest(self, vmid: int) -> None:
        """Drop a guest's own ACL entries and its pool membership: both are lost when it is
        destroyed (pve-facts 8.4).
        """
        with self._mutex:
            self.acl[:] = [entry for entry in self.acl if entry["path"] != f"/vms/{vmid}"]
            for pool in self.pools.values():
                pool["vms"] = [member for member in pool["vms"] if member != vmid]
        self.save()

    def _held(self, subject: str, path: str) -> frozenset[str]:
        roles = self._roles(subject, path)
        # what a member inherits from its pool holds on the member's own path only
        pooled: frozenset[str] = frozenset()
        kind, _, member = path.removeprefix("/").partition("/")
        if kind in ("vms", "storage") and member and "/" not in member:
            pool = self.pool_of(kind, int(member) if kind == "vms" and member.isdigit() else member)
            pooled = self._roles(subject, f"/pool/{pool}") if pool else pooled
        # this role takes away whatever stands beside it
        if "NoAccess" in roles or "NoAccess" in pooled:
            return frozenset()
        return frozenset().union(*(self.role(name) or frozenset() for name in roles | pooled))

    def _roles(self, subject: str, path: str) -> frozenset[str]:
        """The nearest path upward with an entry for the subject decides: deeper entries replace
        what they inherit.
        """
        groups = {name for name, group in self.groups.items() if subject in group["users"]}
        held: frozenset[str] = frozenset()
        for level in ancestry(path):
            here = [
                entry
                for entry in self.acl
                if entry["path"] == level and (entry["propagate"] or level == path)
            ]
            # on one path what the user himself was given outweighs his groups
            own = [entry for entry in here if entry["type"] != "group" and entry["ugid"] == subject]
            if found := own or [
                entry for entry in here if entry["type"] == "group" and entry["ugid"] in groups
            ]:
                held = frozenset(entry["roleid"] for entry in found)
        return held


def ancestry(path: str) -> list[str]:
    """Given an ACL path, return it and all above it, the root first."""
    parts = [part for part in path.split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
