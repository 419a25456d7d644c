"""PVE's own schema as the tests walk it: its endpoints, a valid value of every parameter, and
whether an answer fits.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pvelab.app  # noqa: F401 - importing registers the handlers
from pvelab.kernel import ROUTES

ROOT = Path(__file__).parents[4]
SCHEMA = json.loads((ROOT / "tests" / "golden" / "api_schema_subset.json").read_text())
SERVED = [
    endpoint for endpoint in SCHEMA["endpoints"] if (endpoint["method"], endpoint["path"]) in ROUTES
]
# what the client's helpers stand for
_HELPERS = {"_content": "nodes/x/storage/x/content/x", "_path": "nodes/x/tasks/x"}
_AGENT = "nodes/x/qemu/100/agent"
_BY_FORMAT = {
    "CIDR": "192.0.2.1/24",
    "address-list": "192.0.2.1",
    "backup-fleecing": "enabled=1,storage=local",
    "backup-performance": "max-workers=4",
    "dns-name": "guest",
    "dns-name-list": "guest.example",
    "email-opt": "a@example.org",
    "email-or-username-list": "a@example.org",
    "prune-backups": "keep-last=3",
    "pve-calendar-event": "21:00",
    "pve-configid": "some-id",
    "pve-configid-list": "some-id",
    "pve-cpuset": "0-1",
    "pve-ct-timezone": "host",
    "pve-day-of-week-list": "mon,tue",
    "pve-groupid-list": "group",
    "pve-ha-resource-or-vm-id": "vm:104",
    "pve-hotplug-features": "network,disk",
    "pve-node": "clovis",
    "pve-poolid": "pool",
    "pve-priv-list": "VM.Audit",
    "pve-qemu-sev-fmt": "std",
    "pve-qm-boot": "order=scsi0",
    "pve-qm-bootdisk": "scsi0",
    "pve-qm-cicustom": "user=local:snippets/user.yml",
    "pve-qm-hostpci": "0000:00:02.0",
    "pve-qm-ide": "local:104/vm-104-disk-0.raw",
    "pve-qm-ipconfig": "ip=dhcp",
    "pve-qm-rng": "/dev/urandom",
    "pve-qm-smbios1": "uuid=6278ae77-e1f5-4ca2-a626-c1a2152709cb",
    "pve-qm-watchdog": "i6300esb",
    "pve-realm": "pve",
    "pve-roleid": "Role",
    "pve-roleid-list": "Role",
    "pve-startup-order": "order=1",
    "pve-storage-content": "backup",
    "pve-storage-content-list": "backup",
    "pve-storage-id": "local",
    "pve-tag-list": "a;b",
    "pve-task-status-type-list": "ok",
    "pve-tokenid-list": "a@pve!token",
    "pve-userid": "a@pve",
    "pve-userid-list": "a@pve",
    "pve-vm-cpu-conf": "host",
    "pve-vmid": "104",
    "pve-vmid-list": "104,105",
    "pve-volume-id": "local:backup/vzdump-qemu-104-2026_11_23-21_00_00.vma.zst",
    "urlencoded": "a",
}
_BY_NAME = {
    "node": "clovis",
    "upid": "UPID:clovis:00000001:00000001:60000000:vzdump:104:root@pam:",
    "id": "some-id",
    "startdate": "now",
    "vmgenid": "1",
    "tokenid": "token",
    "userid": "a@pve",
    "bootdisk": "scsi0",
    "starttime": "21:00",
    "parallel[n]": "/dev/parport0",
    "serial[n]": "socket",
    "disk": "scsi0",
    "size": "+1M",
    "volume": "local:backup/vzdump-qemu-104-2026_11_23-21_00_00.vma.zst",
}


def valid(name: str, schema: dict[str, Any]) -> Any:
    """Return a value that a parameter's schema allows, None when the schema does not tell enough to
    make one.
    """
    if name in _BY_NAME and schema.get("type", "string") == "string":
        return _BY_NAME[name]
    if "enum" in schema:
        return schema["enum"][0]
    if (form := schema.get("format")) is not None:
        return _BY_FORMAT.get(form) if isinstance(form, str) else None
    kind = schema.get("type", "string")
    if kind == "array":
        return ["x"]
    if kind in ("integer", "number", "boolean"):
        return str(schema.get("minimum", 1))
    return "x" * max(1, int(schema.get("minLength", 1))) if "pattern" not in schema else None


def required(endpoint: dict[str, Any]) -> dict[str, Any]:
    """Return valid values of what an endpoint needs."""
    return {
        name: valid(name, schema)
        for name, schema in endpoint["parameters"].items()
        if not schema.get("optional")
    }


def path(endpoint: dict[str, Any], **values: str) -> str:
    """Return an endpoint's path with its placeholders filled."""
    given = {"node": "clovis", "vmid": "104", "storage": "local", **values}
    return re.sub(
        r"\{([a-z-]+)\}",
        lambda found: given.get(found[1]) or str(valid(found[1], {})),
        endpoint["path"],
    )


def in_path(endpoint: dict[str, Any]) -> set[str]:
    """Return the names of an endpoint's placeholders."""
    return set(re.findall(r"\{([a-z-]+)\}", endpoint["path"]))


def client_calls() -> Iterator[tuple[str, str]]:
    """Yield what ``backupsvc.pve`` asks for, read from its source: method and path."""
    for source in sorted((ROOT / "backupsvc" / "pve").glob("*.py")):
        tree = ast.parse(source.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                yield from _asked(node.func, node.args)


def _asked(function: ast.Attribute, arguments: list[ast.expr]) -> Iterator[tuple[str, str]]:
    """A call of the client itself, or of the agent's ``_ask(method, node, vmid, what)``."""
    if function.attr == "_ask" and len(arguments) == 4:
        yield str(_text(arguments[0])), f"/{_AGENT}/{_text(arguments[3])}"
    elif isinstance(function.value, ast.Attribute) and function.value.attr == "_client":
        found = _text(arguments[0])
        if found and function.attr in ("get", "post", "put", "delete"):
            yield function.attr.upper(), f"/{found}"


def _text(node: ast.expr) -> str | None:
    """Return the path that an expression builds, None for one that cannot be told from here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _HELPERS.get(node.func.id)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _filled(part)
            for part in node.values
        )
    return None


def _filled(part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Call):
        return _text(part.value) or "x"
    name = (
        part.value.id
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name)
        else ""
    )
    return {"path": _AGENT, "vmid": "100"}.get(name, "x")


def misfit(schema: dict[str, Any], value: Any, where: str = "data") -> Iterator[str]:
    """Yield where an answer does not fit ``returns``: PVE writes booleans as 0 and 1, and numbers
    as strings now and then.
    """
    kind = schema.get("type")
    if value is None:
        if not schema.get("optional") and kind not in (None, "null", "any"):
            yield f"{where} is null instead of {kind}"
        return
    fits: dict[str, Callable[[], bool]] = {
        "object": lambda: isinstance(value, dict),
        "array": lambda: isinstance(value, list),
        "string": lambda: isinstance(value, str | int | float) and not isinstance(value, bool),
        "boolean": lambda: value in (0, 1, "0", "1"),
        "integer": lambda: re.fullmatch(r"-?\d+", str(value)) is not None,
        "number": lambda: re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", str(value)) is not None,
        "null": lambda: False,
    }
    if kind in fits and not fits[kind]():
        yield f"{where} is {type(value).__name__} ({str(value)[:40]}) instead of {kind}"
    elif isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from misfit({**part, "optional": 1}, value[name], f"{where}.{name}")
            elif not part.get("optional"):
                yield f"{where}.{name} is missing"
    elif isinstance(value, list):
        for row in value:
            yield from misfit(schema.get("items", {}), row, f"{where}[]")
