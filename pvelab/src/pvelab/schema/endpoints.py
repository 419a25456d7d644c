"""PVE's own API schema (``schema.json``: pve-manager 9.2.11 and its libraries), and which endpoint
a path means.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

Schema = dict[str, Any]

# Calls that a real server answered (recorded in 01_auth and 02_inventory) but that the schema
# subset leaves out.
_NODE: Schema = {"type": "string", "format": "pve-node"}
_VMID: Schema = {"type": "integer", "format": "pve-vmid"}
_AUDIT_NODE = {"check": ["perm", "/nodes/{node}", ["Sys.Audit"]]}
_TEXT: Schema = {"type": "string", "optional": 1}
_COUNT: Schema = {"type": "integer", "optional": 1, "minimum": 0}
_LOG_TIME = r"^\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?$"
_POOL: Schema = {"type": "string", "format": "pve-poolid"}
_POOL_CHANGE: Schema = {
    "poolid": _POOL,
    "comment": _TEXT,
    "vms": {**_TEXT, "format": "pve-vmid-list"},
    "storage": _TEXT,
} | {name: {"type": "boolean", "optional": 1, "default": 0} for name in ("delete", "allow-move")}
_AUDIT_POOL = {"check": ["perm", "/pool/{poolid}", ["Pool.Audit"]]}
_ALLOCATE_POOL = {"check": ["perm", "/pool/{poolid}", ["Pool.Allocate"]]}
_ALLOCATE_GROUP = {"check": ["perm", "/access/groups", ["Group.Allocate"]]}
_EXTRA: tuple[tuple[str, str, Schema, Schema], ...] = (
    ("GET", "/", {}, {"user": "all"}),
    ("GET", "/cluster", {}, {"user": "all"}),
    ("GET", "/cluster/config", {}, {"user": "all"}),
    ("GET", "/cluster/jobs", {}, {"user": "all"}),
    ("GET", "/cluster/ha", {}, {"check": ["perm", "/", ["Sys.Audit"]]}),
    ("GET", "/cluster/ha/status", {}, {"user": "all"}),
    ("GET", "/access", {}, {"user": "all"}),
    ("GET", "/access/domains", {}, {"user": "world"}),
    (
        "GET",
        "/nodes/{node}/network",
        {"node": _NODE, "type": {"type": "string", "optional": 1}},
        {"user": "all"},
    ),
    ("GET", "/nodes/{node}/dns", {"node": _NODE}, _AUDIT_NODE),
    (
        "GET",
        "/nodes/{node}/replication",
        {"node": _NODE, "guest": {**_VMID, "optional": 1}},
        {"user": "all"},
    ),
    (
        "GET",
        "/nodes/{node}/syslog",
        {
            "node": _NODE,
            "start": _COUNT,
            "limit": _COUNT,
            "since": {**_TEXT, "pattern": _LOG_TIME},
            "until": {**_TEXT, "pattern": _LOG_TIME},
            "service": {**_TEXT, "maxLength": 128},
        },
        {"check": ["perm", "/nodes/{node}", ["Sys.Syslog"]]},
    ),
    (
        "GET",
        "/nodes/{node}/qemu/{vmid}/vncwebsocket",
        {
            "node": _NODE,
            "vmid": {"type": "integer", "format": "pve-vmid", "minimum": 100, "maximum": 999999999},
            "vncticket": {"type": "string", "maxLength": 512},
            "port": {"type": "integer", "minimum": 5900, "maximum": 5999},
        },
        {"check": ["perm", "/vms/{vmid}", ["VM.Console"]]},
    ),
    ("GET", "/nodes/{node}/qemu/{vmid}/status", {"node": _NODE, "vmid": _VMID}, {"user": "all"}),
    (
        "POST",
        "/cluster/ha/groups",
        {"group": {"type": "string"}, "nodes": {"type": "string"}},
        {"user": "all"},
    ),
    (
        "PUT",
        "/cluster/ha/groups/{group}",
        {"group": {"type": "string"}, "nodes": {"type": "string", "optional": 1}},
        {"user": "all"},
    ),
    ("DELETE", "/cluster/ha/groups/{group}", {"group": {"type": "string"}}, {"user": "all"}),
    # roles, users, groups and pools (libpve-access-control PVE/API2/{Role,User,Group}.pm,
    # pve-manager PVE/API2/Pool.pm)
    (
        "DELETE",
        "/access/roles/{roleid}",
        {"roleid": {"type": "string"}},
        {"check": ["perm", "/access", ["Sys.Modify"]]},
    ),
    (
        "DELETE",
        "/access/users/{userid}",
        {"userid": {"type": "string"}},
        {"check": ["userid-group", ["User.Modify"]]},
    ),
    ("GET", "/access/groups", {}, {"user": "all"}),
    ("POST", "/access/groups", {"groupid": {"type": "string"}, "comment": _TEXT}, _ALLOCATE_GROUP),
    ("DELETE", "/access/groups/{groupid}", {"groupid": {"type": "string"}}, _ALLOCATE_GROUP),
    ("GET", "/pools/{poolid}", {"poolid": _POOL}, _AUDIT_POOL),
    ("POST", "/pools", {"poolid": _POOL, "comment": _TEXT}, _ALLOCATE_POOL),
    ("PUT", "/pools", _POOL_CHANGE, _ALLOCATE_POOL),
    ("PUT", "/pools/{poolid}", _POOL_CHANGE, _ALLOCATE_POOL),
    ("DELETE", "/pools", {"poolid": _POOL}, _ALLOCATE_POOL),
    ("DELETE", "/pools/{poolid}", {"poolid": _POOL}, _ALLOCATE_POOL),
)


@dataclass(frozen=True)
class Endpoint:
    """One call: its parameters' schemas and who may make it."""

    method: str
    path: str
    parameters: Schema
    permissions: Schema
    allow_token: bool
    pattern: re.Pattern[str]

    @property
    def proxied(self) -> bool:
        """Say whether the path names the node that has to answer."""
        return self.path.startswith("/nodes/{node}")


@dataclass(frozen=True)
class Api:
    """All endpoints and PVE's named formats."""

    endpoints: tuple[Endpoint, ...]
    formats: Schema

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """Given a method and a decoded path, return the endpoint and the path's parameters, None if
        there is no such call.
        """
        for endpoint in self.endpoints:
            if endpoint.method == method and (found := endpoint.pattern.fullmatch(path)):
                return endpoint, {
                    name.replace("__", "-"): value for name, value in found.groupdict().items()
                }
        return None


@functools.cache
def api() -> Api:
    """Return the API, read once."""
    raw = json.loads(files("pvelab.schema").joinpath("schema.json").read_text())
    listed = []
    for e in raw["endpoints"]:
        parameters = dict(e["parameters"])
        # HA rules have alternatives by type: the union, all optional but what each of them needs
        for part in e.get("parameters_composed", {}).get("allOf", ()):
            parameters.update(part.get("properties", {}))
            for choice in part.get("oneOf", ()):
                for name, schema in choice["properties"].items():
                    parameters.setdefault(name, {**schema, "optional": 1})
        if "parameters_composed" in e:
            parameters["type"] = {"type": "string", "enum": ["node-affinity", "resource-affinity"]}
        who, by_token = e.get("permissions") or {"user": "all"}, e.get("allow_token", True)
        listed.append(_endpoint(e["method"], e["path"], parameters, who, by_token))
    extra = [
        _endpoint(method, path, parameters, permissions, True)
        for method, path, parameters, permissions in _EXTRA
    ]
    # a fixed word wins over a placeholder: /cluster/ha/status before /cluster/{x}
    ordered = sorted(listed + extra, key=lambda e: (e.path.count("{"), e.path))
    return Api(tuple(ordered), raw["property_string_formats"])


def _endpoint(
    method: str, path: str, parameters: Schema, permissions: Schema, allow_token: bool
) -> Endpoint:
    """``{volume}`` takes the rest of the path, slashes and all; every other placeholder one part of
    it.
    """
    pattern = re.sub(r"\{volume\}", "(?P<volume>.+)", path)
    pattern = re.sub(r"\{([a-z-]+)\}", lambda m: f"(?P<{m[1].replace('-', '__')}>[^/]+)", pattern)
    return Endpoint(method, path, parameters, permissions, allow_token, re.compile(pattern))
