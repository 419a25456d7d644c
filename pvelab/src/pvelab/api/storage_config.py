"""/storage: the storages' configuration (libpve-storage PVE/API2/Storage/Config.pm)."""

from __future__ import annotations

import hashlib
from typing import Any

from pvelab.kernel import Call, StorageDef, route


@route("GET", "/storage")
def storages(call: Call) -> Any:
    """List the storages that the caller may see."""
    wanted, privileges = call.params.get("type"), ("Datastore.Audit", "Datastore.AllocateSpace")
    seen = [s for s in call.lab.storages.values() if wanted in (None, s.type)]
    return [
        _row(call, s) for s in seen if call.allowed(f"/storage/{s.name}", *privileges, any=True)
    ]


@route("GET", "/storage/{storage}")
def storage(call: Call) -> Any:
    """Return one storage's configuration."""
    return _row(call, call.lab.storage(call.params["storage"]))


def _row(call: Call, definition: StorageDef) -> dict[str, Any]:
    every = ",".join(f"{s.name}:{s.type}:{s.options}" for s in call.lab.storages.values())
    row: dict[str, Any] = {
        "storage": definition.name,
        "type": definition.type,
        "content": ",".join(definition.content),
        "digest": hashlib.sha1(every.encode(), usedforsecurity=False).hexdigest(),
        **{
            name: int(value) if name == "max-protected-backups" else value
            for name, value in definition.options.items()
        },
    }
    if definition.type == "dir":
        row |= {"path": definition.path}
    if definition.shared:
        row["shared"] = 1
    if definition.nodes is not None:
        row["nodes"] = ",".join(definition.nodes)
    if definition.disabled:
        row["disable"] = 1
    return row
