"""/pools and /access/groups: what gathers guests and users, so that rights are given to many at
once (PVE/API2/{Pool,Group}.pm).

Pools matter to a restore: ``pool=`` needs VM.Allocate on the pool only, and the guest is a member
once it is there.
"""

from __future__ import annotations

from typing import Any

from pvelab import figures
from pvelab.kernel import Call, LabError, route
from pvelab.schema.formats import split_list


@route("GET", "/pools")
def pools(call: Call) -> Any:
    """List the pools that the caller may see; one alone, with its members, when it is named."""
    if wanted := call.params.get("poolid"):
        return [{**_with_members(call, wanted), "poolid": wanted}]
    seen = [
        name
        for name in sorted(call.lab.access.pools)
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]
    return [{"poolid": name, **_comment(call.lab.access.pools[name])} for name in seen]


@route("GET", "/pools/{poolid}")
def pool(call: Call) -> Any:
    """Return one pool with its members."""
    return {**_with_members(call, call.params["poolid"]), "poolid": call.params["poolid"]}


@route("POST", "/pools")
def create_pool(call: Call) -> Any:
    """Create an empty pool."""
    name, access = call.params["poolid"], call.lab.access
    if name in access.pools:
        raise LabError(500, f"create pool failed: pool '{name}' already exists")
    access.pools[name] = {"comment": call.params.get("comment", ""), "vms": [], "storage": []}
    access.save()


@route("PUT", "/pools")
@route("PUT", "/pools/{poolid}")
def update_pool(call: Call) -> Any:
    """Change the comment, add members or take them out. Members may be added only by who may change
    their rights.
    """
    name, params, access = call.params["poolid"], call.params, call.lab.access
    entry = _need(call, name, "update pools failed: ")
    if "comment" in params:
        entry["comment"] = params["comment"]
    for vmid in map(int, split_list(str(params.get("vms", "")))):
        # membership gives others rights on the guest
        call.check(f"/vms/{vmid}", "Permissions.Modify", "VM.Allocate", any=True)
        _change(call, entry, "vms", vmid, f"VM {vmid}")
    for storage in split_list(params.get("storage", "")):
        call.check(f"/storage/{storage}", "Permissions.Modify", "Datastore.Allocate", any=True)
        _change(call, entry, "storage", storage, f"Storage '{storage}'")
    access.save()


@route("DELETE", "/pools")
@route("DELETE", "/pools/{poolid}")
def delete_pool(call: Call) -> Any:
    """Delete a pool that is empty, with the rights on it."""
    name, access = call.params["poolid"], call.lab.access
    entry = _need(call, name, "delete pool failed: ")
    # a member that was destroyed otherwise does not keep the pool
    if here := [vmid for vmid in sorted(entry["vms"]) if call.lab.guests.get(vmid)]:
        raise LabError(
            500, f"delete pool failed: pool '{name}' is not empty (contains VM {here[0]})"
        )
    if entry["storage"]:
        raise LabError(
            500,
            f"delete pool failed: pool '{name}' is not empty (contains storage "
            f"'{sorted(entry['storage'])[0]}')",
        )
    del access.pools[name]
    # else a new pool of that name would have the rights of the old one
    access.acl[:] = [row for row in access.acl if row["path"] != f"/pool/{name}"]
    access.save()


@route("GET", "/access/groups")
def groups(call: Call) -> Any:
    """List the groups with their users."""
    found = sorted(call.lab.access.groups.items())
    seen = [
        (name, row)
        for name, row in found
        if call.allowed(f"/access/groups/{name}", "User.Modify", "Sys.Audit", any=True)
    ]
    return [
        {"groupid": name, **_comment(row), "users": ",".join(sorted(row["users"]))}
        for name, row in seen
    ]


@route("POST", "/access/groups")
def create_group(call: Call) -> Any:
    """Create a group."""
    name, access = call.params["groupid"], call.lab.access
    if name in access.groups:
        raise LabError(500, f"create group failed: group '{name}' already exists")
    access.groups[name] = {"comment": call.params.get("comment", ""), "users": []}
    access.save()


@route("DELETE", "/access/groups/{groupid}")
def delete_group(call: Call) -> Any:
    """Delete a group with the rights that it holds."""
    name, access = call.params["groupid"], call.lab.access
    if name not in access.groups:
        raise LabError(500, f"delete group failed: group '{name}' does not exist")
    del access.groups[name]
    access.acl[:] = [row for row in access.acl if (row["type"], row["ugid"]) != ("group", name)]
    access.save()


def _need(call: Call, name: str, prefix: str = "") -> dict[str, Any]:
    found = call.lab.access.pools.get(name)
    if found is None:
        raise LabError(
            500, f"{prefix}pool '{name}' does not exist" if prefix else f"no such pool '{name}'"
        )
    return found


def _comment(row: dict[str, Any]) -> dict[str, Any]:
    return {"comment": row["comment"]} if row["comment"] else {}


def _with_members(call: Call, name: str) -> dict[str, Any]:
    """A pool's members as /cluster/resources shows them, those that the caller may see."""
    call.check(f"/pool/{name}", "Pool.Audit")
    entry, lab = _need(call, name), call.lab
    guests = [
        vm
        for vm in map(lab.guests.get, sorted(entry["vms"]))
        if vm and call.allowed(f"/vms/{vm.vmid}", "VM.Audit")
    ]
    storages = [
        lab.storages[s]
        for s in sorted(entry["storage"])
        if call.allowed(f"/storage/{s}", "Datastore.Audit")
    ]
    rows = [figures.guest(lab, vm) for vm in guests]
    rows += [
        figures.storage(lab, s, node)
        for s in storages
        for node in lab.nodes
        if s.nodes is None or node in s.nodes
    ]
    return {**_comment(entry), "members": rows}


def _change(call: Call, entry: dict[str, Any], kind: str, member: int | str, words: str) -> None:
    access, prefix = call.lab.access, "update pools failed: "
    if call.params.get("delete"):
        if member not in entry[kind]:
            raise LabError(500, f"{prefix}{words} is not a pool member")
        entry[kind].remove(member)
        return
    if member in entry[kind]:
        raise LabError(500, f"{prefix}{words} is already a pool member")
    other = access.pool_of(kind, member)
    # a guest is in one pool at most, a storage may be in several
    if other and kind == "vms":
        if not call.params.get("allow-move"):
            raise LabError(
                500, f"{prefix}{words} is already in pool '{other}' and allow-move is not set"
            )
        access.pools[other][kind].remove(member)
    entry[kind].append(member)
