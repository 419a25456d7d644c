"""What ``backupsvc doctor`` says of the tokens: which privileges they lack for what they are to do,
path by path.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.operations.restore.rights import way_out
from backupsvc.services import Nodes
from policies import jobs, restore_rights, role
from policies.model import GuestType
from policies.pve.prune_backups import prunes

if TYPE_CHECKING:
    from backupsvc.pve import Pve


def major(release: str) -> int:
    """Given PVE's release, such as 9.2, return its first number, 0 if it does not begin with one."""
    first = release.partition(".")[0]
    return int(first) if first.isdigit() else 0


def everyday(service: Nodes) -> Iterator[Line]:
    """Given the service, yield what the everyday token lacks, and what is only good to have.

    Which bridge it may use where the policy names none is told by the line of the isolated bridge.
    """
    pve, policy = service.pve, service.policy
    release = major(pve.cluster.version().release)
    pruning = [storage.name for storage in pve.storage.seen().storages if prunes(storage.prune)]
    needs = role.everyday(policy, pruning=pruning)
    if policy.scratch.bridge is None:
        needs = tuple(need for need in needs if need.privilege != "SDN.Use")
    lacking = yield from _rights(pve, "token", role.on_release(needs, release))
    for path, privs, why in lacking:
        # a token that may use a bridge that leads out could put a copy on it (law 2)
        first = "once the line `isolated bridge` says that it leads nowhere, "
        wait = first if "SDN.Use" in privs else ""
        yield Line(
            "token",
            FAILED,
            f"{pve.token_id} lacks {privs} on {path}, to {why}",
            f"{wait}give user and token a role that holds them there: pveum acl modify {path} "
            f"--users '{pve.token_id.partition('!')[0]}' --tokens '{pve.token_id}' --roles ROLE "
            "(`backupsvc doctor --role` prints all that is needed)",
            4,
        )
    # without these a test still runs, and sees less
    for need in role.missing(
        role.on_release(role.optional(policy), release), pve.cluster.permissions()
    ):
        text = (
            f"{pve.token_id} lacks {need.privilege} on {need.path}, so that no test can {need.why}"
        )
        yield Line(
            "token",
            WARNING,
            text,
            "give it to user and token, or read in each verdict what was not seen",
        )


def restoring(service: Nodes) -> Iterator[Line]:
    """Given the service, yield what the restore token lacks to bring back each guest of the jobs
    that is there now, as it is.
    """
    pve = service.restore_pve
    release = major(pve.cluster.version().release)
    if pve.token_id == service.pve.token_id:
        text = (
            f"the restore token is the everyday token {pve.token_id}: whoever restores copies may "
            "then use production bridges"
        )
        yield Line(
            "restore token",
            WARNING,
            text,
            f"give each its own (law 2's second wall): {way_out(service, *_homes(service))}",
        )
        return
    bridges, disks = _homes(service)
    needs = role.on_release(role.restoring(service.policy, bridges=bridges, disks=disks), release)
    lacking = yield from _rights(pve, "restore token", needs)
    for path, privs, why in lacking:
        yield Line(
            "restore token",
            FAILED,
            f"{pve.token_id} lacks {privs} on {path}, to {why}",
            way_out(service, bridges, disks),
            4,
        )


def _rights(
    pve: Pve, name: str, wanted: tuple[role.Need, ...]
) -> Generator[Line, None, list[tuple[str, str, str]]]:
    """Yield that all is held, or return what is lacking: path, privileges and why."""
    lacking = role.missing(wanted, pve.cluster.permissions())
    if not lacking:
        yield Line(
            name,
            OK,
            f"{pve.token_id} holds all of {len({need.privilege for need in wanted})} privileges "
            "that are needed",
        )
    found = []
    for path in sorted({need.path for need in lacking}):
        here = [need for need in lacking if need.path == path]
        privs = " ".join(sorted({need.privilege for need in here}))
        # one line a path, as one command grants it
        found.append((path, privs, "; ".join(dict.fromkeys(need.why for need in here))))
    return found


def _homes(service: Nodes) -> tuple[list[str], list[str]]:
    """The networks and the storages of the guests that the jobs cover; those of a node that is off
    are not known now.
    """
    cluster = service.pve.cluster
    online, guests = {node.name for node in cluster.nodes() if node.online}, cluster.guests()
    covered = {
        item.guest.vmid: item.guest
        for job in service.policy.jobs
        for item in jobs.expected(job, service.policy, guests)
        if item.guest and item.guest.type is GuestType.QEMU and item.guest.node in online
    }
    configs = [service.pve.guests.config(guest.node, guest.vmid) for guest in covered.values()]
    networks = {network for config in configs for _, network in restore_rights.networks(config)}
    return sorted(networks), sorted(
        {name for config in configs for name in restore_rights.disk_storages(config)}
    )
