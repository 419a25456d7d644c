"""The pool that a guest was in, and the rights that were given on it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.config_secrets import LEFT_OUT
from policies.surroundings.asked import NOTHING, Asked, missing
from policies.surroundings.model import Call, Kind, Surrounding, for_hands, plain, right, said
from policies.surroundings.sections import sections, take, values

ACL, POOLS, POOLS_FOLDER = "access/acl.cfg", "pools.cfg", "pools/"
WHOM = {"user": "users", "group": "groups", "token": "tokens"}


def pool(asked: Asked) -> Iterator[Surrounding]:
    """Say whether it is in its pool no longer. A guest is in one at most."""
    was = _pool_of(asked, now=False)
    if was is None:
        # PVE may tell of pools and not of the members of one
        unread = [one for one in asked.then.not_read if one.startswith(POOLS_FOLDER)]
        for file in (POOLS, *unread)[-1:]:
            yield from asked.untold(Kind.POOL, file, found=False)
        return
    now = _pool_of(asked, now=True)
    if now == was:
        return
    if now is not None:
        yield said(
            Kind.POOL, was, f"it was in {was} and is in {now} now; a guest is in one at most"
        )
        return
    for file in (POOLS, *(one for one in asked.now.not_read if one.startswith(POOLS_FOLDER))):
        if unseen := asked.unseen(Kind.POOL, was, file):
            yield unseen
            return
    # a pool that somebody removed is not made again: it may have been meant
    if was not in {row.name for row in asked.after(POOLS)}:
        yield said(Kind.POOL, was, f"it was in {was}, and there is no such pool any more")
    elif not plain(was):
        yield for_hands(Kind.POOL, was, "it is not in it any more; put it back by hand")
    else:
        call = Call("PUT", "pools", (("poolid", was), ("vms", str(asked.as_vmid))))
        rights = (
            right("Pool.Allocate", f"/pool/{was}"),
            right("VM.Allocate", f"/vms/{asked.as_vmid}", "Permissions.Modify"),
        )
        yield missing(Kind.POOL, was, "it is not in it any more", (call,), NOTHING, *rights)


def _pool_of(asked: Asked, *, now: bool) -> str | None:
    config, vmid = (asked.now, asked.as_vmid) if now else (asked.then, asked.vmid)
    member = f"{asked.type}/{vmid}"
    rows = (
        row
        for file, text in config.files.items()
        if file.startswith(POOLS_FOLDER)
        for row in sections(text)
    )
    return next((row.name for row in rows if member in row.fields.get("member", ())), None)


def acl(asked: Asked) -> Iterator[Surrounding]:
    """Say which rights on it are missing: they go with every deletion (pve-facts 8.4)."""
    old, new = f"/vms/{asked.vmid}", f"/vms/{asked.as_vmid}"
    found = [row for row in asked.before(ACL) if row.name.split(" ")[0] == old]
    yield from asked.untold(Kind.ACL, ACL, found=bool(found))
    there = {row.name for row in asked.after(ACL)}
    for row in found:
        wanted = " ".join((new, *row.name.split(" ")[1:]))
        if wanted in there:
            continue
        if unseen := asked.unseen(Kind.ACL, wanted, ACL):
            yield unseen
            continue
        parts = wanted.split(" ")
        if len(parts) != 4 or parts[1] not in WHOM or not plain(wanted):
            yield for_hands(Kind.ACL, wanted, "they are gone; give them back by hand")
            continue
        _, whom, who, role = parts
        # without it PVE gives the role on all below as well
        taken = take({"propagate": LEFT_OUT} | values(row), ("propagate",))
        params = (("path", new), ("roles", role), (WHOM[whom], who), *taken.params)
        detail = f"{whom} {who} had the role {role}; give it back only if that is still wanted"
        needed = right("Permissions.Modify", new)
        yield missing(Kind.ACL, wanted, detail, (Call("PUT", "access/acl", params),), taken, needed)
