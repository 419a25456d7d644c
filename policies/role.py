"""List the least that a token needs in PVE: which privilege on which path, and why, from the policy
alone.

Two tokens of one user: the everyday one, which may use no production bridge, and optionally one
that brings lost guests back onto theirs (law 2's second wall). A token with privilege separation
has only what its user has too, so the user gets the union. What each is for: pve-facts 11.2, and
what fails when it is taken away (tests/integration/test_doctor_role.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from shlex import quote

from policies import bridges, freezing
from policies.ha import failovers
from policies.model import Policy
from policies.pve.privileges import LOCAL_ZONE, privileges

USER, EVERYDAY, RESTORE = "backupsvc@pve", "service", "restore"
SUPPORTED = (8, 9)
# PVE 9 dropped VM.Monitor, PVE 8 knows no VM.GuestAgent.* (pve-facts 11.1)
_ON_8 = {
    "VM.GuestAgent.Audit": "VM.Monitor",
    "VM.GuestAgent.FileRead": "VM.Monitor",
    "VM.GuestAgent.FileSystemMgmt": "VM.Monitor",
}
# the second covers the first (pve-facts 11.2)
_ALSO_IN = {"VM.GuestAgent.FileRead": "VM.GuestAgent.Unrestricted"}


@dataclass(frozen=True, slots=True)
class Need:
    """One privilege on one ACL path, and what fails without it."""

    path: str
    privilege: str
    why: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A user or a token with what it needs, all of it."""

    name: str
    needs: tuple[Need, ...]

    @property
    def grants(self) -> dict[str, tuple[str, ...]]:
        """The privileges by path, both sorted."""
        paths = sorted({need.path for need in self.needs})
        return {
            path: tuple(sorted({need.privilege for need in self.needs if need.path == path}))
            for path in paths
        }


def everyday(
    policy: Policy, *, pruning: Iterable[str] = (), bridge: str | None = None
) -> tuple[Need, ...]:
    """Given a policy, return what backing up, pruning, proving and reporting need.

    ``pruning`` are the storages with a retention of their own, which our backups overrule;
    ``bridge`` is the one that copies may use, links down, when the policy names no isolated bridge
    (None: the one that is proposed).
    """
    needs = [
        Need("/vms", "VM.Audit", "see the guests and their configurations"),
        Need("/vms", "VM.Backup", "back guests up, see their archives and read them"),
    ]
    if policy.jobs:
        why = "ask a guest after its dump whether its file systems are thawed"
        needs.append(Need("/vms", "VM.GuestAgent.Audit", why))
    if freezing.asks_for_thaw(policy):
        why = "thaw a guest that a dump left frozen"
        needs.append(Need("/vms", "VM.GuestAgent.FileSystemMgmt", why))
    needs += _copies(policy)
    needs += [
        Need(path, "Datastore.AllocateSpace", "write, list, read and prune archives")
        for path in _archive_paths(policy)
    ]
    needs += [
        # keep-all=1 in a backup's call needs it (pve-facts 3.2)
        Need(_storage(name), "Datastore.Allocate", "overrule the storage's own retention")
        for name in sorted(set(pruning) & {job.storage for job in policy.jobs})
    ]
    needs.append(
        Need(
            _storage(policy.scratch.storage), "Datastore.AllocateSpace", "make the disks of copies"
        )
    )
    # PVE asks for it for every bridge of the final configuration, links down or not (pve-facts 7.3)
    joined = policy.scratch.bridge or bridge or bridges.OWN
    needs.append(Need(f"{LOCAL_ZONE}/{joined}", "SDN.Use", "restore copies onto this bridge"))
    needs.append(
        Need("/", "Sys.Audit", "read quorum, clocks, PVE's own jobs and high availability")
    )
    if policy.ha.drill_window:
        needs.append(Need("/", "Sys.Console", "ask HA to move a guest for an exercise"))
    # PVE asks for it before the task already (pve-facts 3.3)
    if any(job.bandwidth for job in policy.jobs):
        needs.append(Need("/", "Sys.Modify", "limit the bandwidth of a backup"))
    return tuple(needs)


def optional(policy: Policy) -> tuple[Need, ...]:
    """Given a policy, return what a test is the better for and can be done without: its verdict
    then says what was not seen.
    """
    if not max(policy.scratch.settle, *(guest.settle or 0 for guest in policy.guests.values()), 0):
        return ()
    path = f"/pool/{policy.scratch.pool}" if policy.scratch.pool else "/vms"
    return (
        Need(
            path,
            "VM.GuestAgent.FileRead",
            "see by its boot id that a copy was not reset while it settled",
        ),
    )


def reporting() -> tuple[Need, ...]:
    """Return what a report is the better for and can be done without: it then says what is not
    known.
    """
    why = "read in the nodes' logs what HA took over without being asked, and when"
    # not on /nodes: rights there replace those that are inherited from /, Sys.Audit among them
    return (Need("/", failovers.PRIVILEGE, why),)


def restoring(
    policy: Policy, *, bridges: Iterable[str], disks: Iterable[str] = ()
) -> tuple[Need, ...]:
    """Given a policy and the production bridges, return what bringing a lost guest back needs.

    ``disks`` are the storages that production disks lie on.
    """
    whys = {
        "VM.Audit": "see that a guest is gone, and then that it is back",
        "VM.Backup": "read the archive and the configuration in it",
        "VM.Allocate": "create the guest",
        "VM.PowerMgmt": "start it",
    }
    needs = [Need("/vms", privilege, why) for privilege, why in whys.items()]
    needs += [
        Need(path, "Datastore.AllocateSpace", "read archives") for path in _archive_paths(policy)
    ]
    needs += [
        Need(_storage(name), "Datastore.AllocateSpace", "make the guest's disks") for name in disks
    ]
    return (
        *needs,
        *(
            Need(f"{LOCAL_ZONE}/{bridge}", "SDN.Use", "put guests back onto this bridge")
            for bridge in bridges
        ),
    )


def holders(service: tuple[Need, ...], restore: tuple[Need, ...] = ()) -> tuple[Holder, ...]:
    """Given what the tokens need, return their user with the union, the everyday token and, if any,
    the restore token.
    """
    tokens = [Holder(f"{USER}!{EVERYDAY}", service)] + (
        [Holder(f"{USER}!{RESTORE}", restore)] if restore else []
    )
    return (Holder(USER, (*service, *restore)), *tokens)


def on_release(needs: Iterable[Need], release: int) -> tuple[Need, ...]:
    """Given needs and PVE's major release, return them in that release's words."""
    words = _ON_8 if release < 9 else {}
    return tuple(
        Need(need.path, words.get(need.privilege, need.privilege), need.why) for need in needs
    )


def missing(needs: Iterable[Need], permissions: Mapping[str, frozenset[str]]) -> tuple[Need, ...]:
    """Given what is needed and what a token holds by path (as PVE lists it), return what it lacks.

    What is asked of a pool is also had by who holds it on all guests.
    """

    def held(path: str) -> frozenset[str]:
        return privileges(permissions, path) | (
            privileges(permissions, "/vms") if path.startswith("/pool/") else frozenset()
        )

    return tuple(
        need
        for need in needs
        if not held(need.path) & {need.privilege, _ALSO_IN.get(need.privilege)}
    )


def role_name(privs: Iterable[str]) -> str:
    """Given privileges, return the name of the role that holds just these: whatever run printed it,
    it means the same.
    """
    every = sorted(set(privs))
    if len(every) == 1:
        return f"Backupsvc-{every[0]}"
    return f"Backupsvc-{every[0].partition('.')[0]}-{hashlib.sha256(' '.join(every).encode()).hexdigest()[:8]}"


def commands(found: Iterable[Holder]) -> Iterator[str]:
    """Given the holders, yield the commands that make roles, user, tokens and rights, in their
    order, for a node's root shell.

    They may be run again, also for other needs: what an earlier run gave the user and its tokens is
    taken back first, and a role that exists is set to what its name says. The tokens stay, with
    their secrets.
    """
    held = tuple(found)
    # every entry of the access control list that names the user or a token of its
    mine = USER.replace("@", "\\@")
    delete = (
        'system("pveum", "acl", "delete", $_->{path}, "--$_->{type}s", $_->{ugid}, "--roles", '
        "$_->{roleid})"
    )
    loop = (
        f'for (@{{decode_json(join "", <STDIN>)}}) {{ {delete} if $_->{{ugid}} =~ /^{mine}(!|$)/ }}'
    )
    yield f"pveum acl list --output-format json | perl -MJSON::PP -e '{loop}'"
    # a role must exist before it is granted, and the user before its tokens
    for privs in dict.fromkeys(privs for holder in held for privs in holder.grants.values()):
        name, listed = role_name(privs), " ".join(privs)
        yield (
            f'pveum role add {name} --privs "{listed}" 2>/dev/null || pveum role modify {name} '
            f'--privs "{listed}"'
        )
    for holder in held:
        user, _, token = holder.name.partition("!")
        yield (
            f"pveum user token add {user} {token} --privsep 1"
            if token
            else f"pveum user add {user}"
        )
    for holder in held:
        who = f"--tokens '{holder.name}'" if "!" in holder.name else f"--users {holder.name}"
        for path, privs in holder.grants.items():
            yield f"pveum acl modify {quote(path)} {who} --roles {role_name(privs)}"


def notes(policy: Policy, bridge: str | None = None) -> tuple[str, ...]:
    """Given a policy and the bridge that ``everyday`` was asked for, return what somebody who
    grants the role has to know.
    """
    said = [
        "the commands may be run again, also with other options: the first takes back what was "
        "given before, and the service is refused until the last has run; that user and token "
        "exist already is then no matter"
    ]
    if not policy.scratch.bridge:
        name = bridge or bridges.OWN
        other = (
            ""
            if bridge
            else "; if your nodes use that name for something else, choose another with --bridge"
        )
        said.append(
            f"the policy names no isolated bridge (scratch.bridge), so copies hang on {name} with "
            "their links down: a bridge for them alone, without port or address, that every node "
            f"must have: {bridges.to_make(name)}{other}"
        )
    if not policy.scratch.storage:
        said.append(
            "the policy names no scratch.storage, so the right holds on every storage: naming one "
            "narrows it"
        )
    if not policy.jobs:
        said.append(
            "the policy has no job, so nobody knows where archives lie, and the right holds on "
            "every storage"
        )
    if policy.scratch.pool:
        said.append(
            f"the pool {policy.scratch.pool} must exist (pveum pool add {policy.scratch.pool}); "
            "what a failed restore leaves is in no pool, so an administrator has to remove it"
        )
    return tuple(said)


def _copies(policy: Policy) -> Iterator[Need]:
    """What a copy needs: through the pool when there is one, so that no production guest can be
    changed with it.
    """
    path = f"/pool/{policy.scratch.pool}" if policy.scratch.pool else "/vms"
    yield Need(path, "VM.Allocate", "create copies, and destroy them")
    yield Need(path, "VM.PowerMgmt", "start and stop copies")
    yield Need(path, "VM.Config.Network", "move a copy's NICs off production before it exists")
    yield Need(path, "VM.Config.Options", "mark copies as ours, and switch off their start at boot")
    yield Need(path, "VM.Config.CDROM", "take production's ISO out of a copy's drive")
    # else it is held on all guests, which the copies are among
    if path == "/vms" or not policy.jobs:
        yield Need(path, "VM.GuestAgent.Audit", "ask a copy's guest agent whether it has booted")
    if policy.scratch.memory or any(guest.memory for guest in policy.guests.values()):
        yield Need(path, "VM.Config.Memory", "cap a copy's memory")


def _archive_paths(policy: Policy) -> list[str]:
    """Where archives lie: on the jobs' storages, and without any job on storages that only others
    know.
    """
    return sorted({_storage(job.storage) for job in policy.jobs}) or [_storage(None)]


def _storage(name: str | None) -> str:
    return f"/storage/{name}" if name else "/storage"
