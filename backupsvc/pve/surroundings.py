"""Puts back what a deleted guest had around it: the few calls that do so, and no other.

What is to be put back comes from a kept configuration, which may have come from anywhere. So each
call is held against its form here, whatever was decided before: it reaches nothing but the guest
itself and the cluster's lists, and carries no option that this is not about.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from backupsvc.errors import LawRefused
from backupsvc.pve.client import Client, Value
from policies.cluster_config import words
from policies.model import Scratch
from policies.surroundings import Call
from policies.surroundings.sections import split

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_CONFIG = rf"nodes/{_NAME}/(?:qemu|lxc)/(?P<vmid>\d+)/config"
_FIREWALL = rf"nodes/{_NAME}/(?:qemu|lxc)/(?P<vmid>\d+)/firewall"
_JOB = words(
    "bwlimit comment compress enabled fleecing id ionice lockwait mailnotification mailto mode node "
    "notes-template notification-mode pbs-change-detection-mode performance pigz protected "
    "prune-backups quiet remove repeat-missed schedule stdexcludes stop stopwait storage vmid zstd"
)
_RULE = words("action comment dest dport enable icmp-type iface log macro proto source sport type")
_RESOURCE = words("comment failback group max_relocate max_restart sid state")
_HA_RULE = words("affinity comment disable nodes resources rule strict type")
# options of a firewall are many, and new ones come with new releases
_ANY = None
_FORMS: tuple[tuple[str, re.Pattern[str], frozenset[str] | None], ...] = tuple(
    (method, re.compile(pattern), known)
    for method, pattern, known in (
        ("PUT", _CONFIG, words("onboot startup tags")),
        ("PUT", r"pools", words("poolid vms")),
        ("PUT", r"access/acl", words("groups path propagate roles tokens users")),
        ("POST", rf"{_FIREWALL}/aliases", words("cidr comment name")),
        ("POST", rf"{_FIREWALL}/ipset", words("comment name")),
        ("POST", rf"{_FIREWALL}/ipset/{_NAME}", words("cidr comment nomatch")),
        ("POST", rf"{_FIREWALL}/rules", _RULE),
        ("PUT", rf"{_FIREWALL}/options", _ANY),
        ("POST", r"cluster/replication", words("comment disable id rate schedule target type")),
        ("POST", r"cluster/backup", _JOB),
        ("PUT", rf"cluster/backup/{_NAME}", words("exclude vmid")),
        ("POST", r"cluster/ha/resources", _RESOURCE),
        ("POST", r"cluster/ha/rules", _HA_RULE),
        ("PUT", rf"cluster/ha/rules/{_NAME}", words("resources type")),
    )
)
# what would take something away, whatever call carries it
_TAKES_AWAY = words("delete revert")
_HINT = "type what is wanted by hand, as root on a node, if that is what you want"


@dataclass(frozen=True, slots=True)
class Running:
    """Whether a guest runs, and the word of its lock, "" if it has none."""

    running: bool
    lock: str


class Surroundings:
    """What is around a guest. ``scratch`` tells the range of the copies, if it is known: nothing is
    ever put around one of them.
    """

    def __init__(self, client: Client, scratch: Callable[[], Scratch | None]) -> None:
        self._client, self._scratch = client, scratch

    def running(self, node: str, type: str, vmid: int) -> Running:
        """Given a guest (``type``: qemu or lxc), return how it stands at this moment. Raise
        PveNotFound if that node has no such guest.
        """
        if type == "qemu":
            row = self._client.get(f"nodes/{node}/qemu/{vmid}/status/current").row()
        else:
            row = self._client.get(f"nodes/{node}/lxc/{vmid}/status/current").row()
        return Running(row.need_text("status") == "running", row.text("lock"))

    def digest(self, call: Call) -> str | None:
        """Given a call, return the digest of the file that it changes, as that is at this moment,
        where Proxmox VE is known to look at one (pve-facts 8.1); else None.
        """
        if not re.fullmatch(_CONFIG, call.path):
            return None
        return self._client.get(call.path).row().text("digest") or None

    def put_back(self, call: Call, vmid: int, digest: str | None = None) -> None:
        """Given a call and the guest that it is about, make it. ``digest``: only if the file that it
        changes is still that one.

        Raise LawRefused if it is none of those that put something back around that guest, PveError
        or PvePermissionDenied if PVE refuses it.
        """
        self._require_form(call, vmid)
        asked: dict[str, Value] = dict(call.params)
        if digest is not None:
            asked["digest"] = digest
        (self._client.put if call.method == "PUT" else self._client.post)(call.path, asked)

    def _require_form(self, call: Call, vmid: int) -> None:
        scratch, params = self._scratch(), dict(call.params)
        if scratch is not None and vmid in scratch:
            raise LawRefused(
                2, f"VMID {vmid} lies in the scratch range: nothing is put around a copy", _HINT
            )
        for method, pattern, known in _FORMS:
            found = pattern.fullmatch(call.path)
            if not found or method != call.method:
                continue
            strange = params.keys() & _TAKES_AWAY if known is None else params.keys() - known
            named = found.groupdict().get("vmid")
            mine = named in (None, str(vmid)) and _is_about(call.path, params, vmid)
            if mine and not strange and len(params) == len(call.params):
                return
        raise LawRefused(
            1, f"{call.method} {call.path} is no call that puts back guest {vmid}", _HINT
        )


def _is_about(path: str, params: dict[str, str], vmid: int) -> bool:
    """Whether a call on one of the cluster's lists is about the guest."""
    if path == "pools":
        return params.get("vms") == str(vmid)
    if path == "access/acl":
        return params.get("path") == f"/vms/{vmid}"
    if path == "cluster/replication":
        return params.get("id", "").partition("-")[0] == str(vmid)
    if path == "cluster/ha/resources":
        return params.get("sid") in (f"vm:{vmid}", f"ct:{vmid}")
    if path.startswith("cluster/ha/rules"):
        return not {f"vm:{vmid}", f"ct:{vmid}"}.isdisjoint(split(params.get("resources", "")))
    if path.startswith("cluster/backup"):
        listed = f"{params.get('vmid', '')},{params.get('exclude', '')}"
        return str(vmid) in split(listed)
    return True
