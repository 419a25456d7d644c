"""What only a person can do for a recovery: PVE's API has no call for it, or it is dangerous enough
that no program should do it. All of it as commands to copy.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace

from policies import restore_guard
from policies.model import GuestType
from policies.restore_guard import Confirmation, Doubt

_FOLDERS = {GuestType.QEMU: "qemu-server", GuestType.LXC: "lxc"}
_SIDS = {GuestType.QEMU: "vm", GuestType.LXC: "ct"}
_TOOLS = {GuestType.QEMU: "qm", GuestType.LXC: "pct"}


def confirms(words: str, wanted: str) -> bool:
    """Given what a person typed, return whether it says what is wanted: ``clovis is off``."""
    return " ".join(words.split()).casefold() == wanted.casefold()


def off(node: str) -> str:
    """Given a node, return the words by which a person confirms that it is off."""
    return f"{node} is off"


def gone(storage: str) -> str:
    """Given a storage, return the words by which a person confirms that it is lost."""
    return f"{storage} is lost"


def stop(guests: Iterable[tuple[int, GuestType]]) -> tuple[str, ...]:
    """Given guests whose disks are lost while their node lives, return the commands that end what is
    left of them: a guest may run on for long without its disks.
    """
    return tuple(f"{_TOOLS[type]} stop {vmid}" for vmid, type in sorted(guests))


def end_at_home(vmid: int, type: GuestType, home: str, *, managed: bool) -> tuple[str, ...]:
    """Given a guest whose node lives, and may run it still, return the commands that end it there:
    what is started elsewhere before would run twice (law 2). ``managed``: HA would start it again.
    """
    mine = [(vmid, type)]
    return (*(unmanage(mine) if managed else ()), f"# on {home}:", *stop(mine))


def set_aside(given: Confirmation, node: str, found: Iterable[Doubt]) -> Confirmation:
    """Given what somebody said of a lost node, and why the original of one of its guests may be alive,
    return it as said of that guest: that the node is off sets aside what its silence leaves open, and
    nothing else.
    """
    # that somebody answers at the guest's address is another doubt, and stays
    key = restore_guard.of_node(node)
    return replace(given, doubts=tuple(one for one in found if one.key == key))


def unmanage(guests: Iterable[tuple[int, GuestType]]) -> tuple[str, ...]:
    """Given guests under HA that are to be restored, return the commands that take them out of it:
    else it moves what is left of them, as soon as there is quorum (pve-facts 9.6).
    """
    return tuple(f"ha-manager remove {_SIDS[type]}:{vmid}" for vmid, type in guests)


def free(node: str, guests: Iterable[tuple[int, GuestType]]) -> tuple[str, ...]:
    """Given the lost node and guests whose configuration it left, return the commands that move
    these away, on a node that lives: under a VMID that is taken PVE restores nothing.
    """
    found = sorted(guests)
    commands = []
    for type, folder in _FOLDERS.items():
        if vmids := [str(vmid) for vmid, of in found if of is type]:
            # one brace expression, so that a person types one command for each kind of guest
            which = vmids[0] if len(vmids) == 1 else f"{{{','.join(vmids)}}}"
            commands.append(f"mv {_folder(node, folder)}/{which}.conf /root/")
    return tuple(commands)


def move_and_start(vmid: int, type: GuestType, node: str, target: str) -> tuple[str, ...]:
    """Given a guest whose disks are on another node, return the commands that bring it back there
    (pmxcfs(8): whose folder has the configuration, has the guest).
    """
    folder = _FOLDERS[type]
    return (
        f"mv {_folder(node, folder)}/{vmid}.conf {_folder(target, folder)}/",
        f"{_TOOLS[type]} start {vmid}",
    )


def out_of_error(vmid: int, type: GuestType, lost: str, here: str) -> tuple[str, ...]:
    """Given a guest that HA moved away from the lost node, and gave up ``here``, return the commands
    that bring it back: what they are depends on where its disks are, which nobody but a person sees.
    """
    sid = f"{_SIDS[type]}:{vmid}"
    restore = (
        f"backupsvc restore {vmid} --node {here}"
        if type is GuestType.QEMU
        else f"# then pct restore {vmid} from its newest archive"
    )
    return (
        f"ha-manager set {sid} --state disabled",
        f"# if its disks are on {here} ({_TOOLS[type]} config {vmid}): mend what keeps it from "
        "starting, then",
        f"ha-manager set {sid} --state started",
        f"# if they were lost with {lost}: move away what HA moved, and restore it",
        f"ha-manager remove {sid}",
        *free(here, [(vmid, type)]),
        restore,
    )


def restore_container(vmid: int, node: str, volid: str, storage: str | None) -> tuple[str, ...]:
    """Given a container and its archive, return the commands that restore it on the node that has
    the archive: this service restores VMs alone.
    """
    to = f" --storage {shlex.quote(storage)}" if storage else ""
    restore = f"pct restore {vmid} {shlex.quote(volid)}{to}"
    return (*free(node, [(vmid, GuestType.LXC)]), restore, f"pct start {vmid}")


def _folder(node: str, folder: str) -> str:
    return shlex.quote(f"/etc/pve/nodes/{node}/{folder}")
