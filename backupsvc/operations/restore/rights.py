"""Whether the token that brings guests back may do all that a restore is about to do, asked of PVE
path by path beforehand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from shlex import quote

from backupsvc.errors import PvePermissionDenied, Refused
from backupsvc.services import Nodes
from policies import restore_clone, restore_rights
from policies.pve.privileges import LOCAL_ZONE
from policies.restore_plan import Place
from policies.role import Need


def wanted(
    vmid: int,
    archive: str,
    place: Place,
    config: Mapping[str, str],
    *,
    start: bool,
    apart: bool,
) -> tuple[Need, ...]:
    """Given a restore as it is planned, return what it needs; ``apart``: its links are kept down, and
    it does not start at boot. Raise Refused if no token at all could
    carry it out.
    """
    if devices := restore_rights.real_devices(config):
        raise Refused(
            f"guest {vmid} had devices of its node ({', '.join(devices)}), and PVE lets no token "
            "give them back",
            f"restore it as root on {place.node} with `qmrestore {archive} {vmid}`",
        )
    needs = restore_rights.needed(
        vmid, config, storage=place.storage, start=start, bridges=place.bridges
    )
    return (*needs, *(restore_clone.rights(vmid) if apart else ()))


def require(service: Nodes, vmid: int, needs: Iterable[Need]) -> None:
    """Given what a restore needs, raise PvePermissionDenied unless the token holds all of it at
    this moment.
    """
    pve, all_of_it = service.restore_pve, tuple(needs)
    # at each path, for PVE alone knows what pools give and what does not propagate
    held = {
        path: pve.cluster.permissions_at(path)
        for path in dict.fromkeys(need.path for need in all_of_it)
    }
    if lacking := [need for need in all_of_it if need.privilege not in held[need.path]]:
        said = "; ".join(f"{need.privilege} on {need.path}, to {need.why}" for need in lacking)
        hint = way_out(service, _tails(all_of_it, f"{LOCAL_ZONE}/"), _tails(all_of_it, "/storage/"))
        if own := [need for need in lacking if need.privilege.startswith("VM.Config.")]:
            hint += (
                f"; this needs {' and '.join(need.privilege for need in own)} too: give it to "
                f"that token and its user on /vms/{vmid}, and nowhere else"
            )
        raise PvePermissionDenied(
            f"restoring guest {vmid} was not begun: {pve.token_id} lacks {said}", hint
        )


def way_out(service: Nodes, networks: Collection[str], storages: Collection[str]) -> str:
    """Given where guests are to come back to, return how the restore token gets the rights; the
    everyday one never does.
    """
    # quoted for a shell: an archive's config may be of anybody's making
    named = [word for network in networks for word in ("--restore", quote(network))] or [
        "--restore",
        "BRIDGE",
    ]
    named += [word for storage in storages for word in ("--disks", quote(storage))]
    printed = f"`backupsvc doctor --role {' '.join(named)}` prints all that the restore token needs"
    if service.settings.pve.restore_token:
        return f"{printed}; give it to the user and to that token"
    return (
        f"{printed}; name that token in BACKUPSVC_PVE__RESTORE_TOKEN, and leave the everyday "
        "token without it (law 2)"
    )


def _tails(needs: Iterable[Need], prefix: str) -> list[str]:
    return sorted(
        {need.path.removeprefix(prefix) for need in needs if need.path.startswith(prefix)}
    )
