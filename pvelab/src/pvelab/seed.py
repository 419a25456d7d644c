"""The lab's first state: the reference site's cluster, its guests, job, HA resource, users, tokens
and rights.

What a cluster is made of stands in ``lab.json`` after that, and everything that changes in
PVE-style files: a lab that was stopped or killed is opened again by ``open_lab`` and goes on from
there.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pvelab import authentication
from pvelab.errors import UsageError
from pvelab.images.site import GUESTS, GuestSeed
from pvelab.kernel import Bridge, Hypervisor, Lab, LabNode, StorageDef

STATE_FILE = "lab.json"
SERVICE_TOKEN, RESTORE_TOKEN, ROOT_TOKEN = (
    "backupsvc@pve!service",
    "backupsvc@pve!restore",
    "root@pam!lab",
)
PRODUCTION_BRIDGE, ISOLATED_BRIDGE = "vmbr0", "vmbr9"
_HOME, _HIGHLY_AVAILABLE = "clovis", 108

# what the everyday token may do to guests, and no more: as `backupsvc doctor --role` says for the
# site's policy
VM_PRIVILEGES = (
    "VM.Audit",
    "VM.Backup",
    "VM.Allocate",
    "VM.PowerMgmt",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Config.Memory",
    "VM.Config.CDROM",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",  # optional there
)


def cluster() -> dict[str, Any]:
    """Return the cluster's definition as it is written to ``lab.json``: two nodes, local storages,
    two bridges.
    """
    return {
        "cluster": "langeo",
        "tz": "Europe/Paris",
        # as long as PVE keeps a refused caller waiting (pve-facts 1.4)
        "auth_delay": 3.0,
        "nodes": [
            {"name": _HOME, "id": 1, "ip": "192.168.3.221", "drift": 0, "memory": 64 * 1024**3},
            # its clock reads 22:41:46 when clovis reads 21:41:02
            {
                "name": "lge-pve02",
                "id": 2,
                "ip": "192.168.3.225",
                "drift": 3644,
                "memory": 64 * 1024**3,
            },
        ],
        "storages": [
            asdict(
                StorageDef(
                    "local",
                    "dir",
                    ("backup", "iso", "vztmpl", "snippets"),
                    options={"prune-backups": "keep-all=1"},
                )
            ),
            asdict(
                StorageDef(
                    "local-lvm",
                    "lvmthin",
                    ("images", "rootdir"),
                    options={"thinpool": "data", "vgname": "pve"},
                )
            ),
        ],
        "bridges": [asdict(Bridge(PRODUCTION_BRIDGE, ("eno1",))), asdict(Bridge(ISOLATED_BRIDGE))],
    }


def open_lab(
    directory: Path, hypervisor: Hypervisor, run_dir: Path, definition: Mapping[str, Any]
) -> Lab:
    """Given a definition (``cluster()`` or what ``lab.json`` holds), return the lab over the state
    in ``directory``.
    """
    nodes = {
        n["name"]: LabNode(**n, dir=directory / "nodes" / n["name"]) for n in definition["nodes"]
    }
    storages = [
        StorageDef(
            **{**s, "content": tuple(s["content"]), "nodes": s["nodes"] and tuple(s["nodes"])}
        )
        for s in definition["storages"]
    ]
    bridges = tuple(Bridge(**{**b, "ports": tuple(b["ports"])}) for b in definition["bridges"])
    for node in nodes.values():
        (node.dir / "var" / "lib" / "vz" / "dump").mkdir(parents=True, exist_ok=True)
        (node.dir / "dev" / "pve").mkdir(parents=True, exist_ok=True)
    return Lab(
        directory,
        nodes=nodes,
        storages={s.name: s for s in storages},
        bridges=bridges,
        tz=definition["tz"],
        run_dir=run_dir,
        hypervisor=hypervisor,
        settings={
            key: definition[key]
            for key in definition
            if key not in ("nodes", "storages", "bridges")
        },
    )


def read_definition(directory: Path) -> dict[str, Any] | None:
    """Return what ``lab.json`` holds, None when there is no lab in that directory."""
    path = directory / STATE_FILE
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def write_definition(directory: Path, definition: Mapping[str, Any]) -> None:
    """Write ``lab.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f"{STATE_FILE}.tmp"
    fresh.write_text(json.dumps(definition, indent=1))
    # whole or not at all: without it the lab counts as never seeded
    fresh.replace(directory / STATE_FILE)


def new_run_dir() -> Path:
    """Return a new private directory for sockets, short because a unix socket's path has at most
    107 characters.
    """
    return Path(tempfile.mkdtemp(prefix="pvl-"))


def chosen_guests(vmids: str) -> tuple[GuestSeed, ...]:
    """Given VMIDs of the reference site, with commas between them, return its guests of these
    VMIDs; "" means all eleven. Raise UsageError for what is none of them.
    """
    wanted = set(vmids.split(",")) if vmids else {str(guest.vmid) for guest in GUESTS}
    found = tuple(guest for guest in GUESTS if str(guest.vmid) in wanted)
    if unknown := wanted - {str(guest.vmid) for guest in found}:
        raise UsageError(
            f"--guests {vmids}: there is no guest {', '.join(sorted(unknown))} in the lab's site",
            f"some of {', '.join(str(guest.vmid) for guest in GUESTS)}, with commas between them",
        )
    return found


def seed_cluster(lab: Lab, guests: Sequence[GuestSeed] = GUESTS) -> None:
    """Give a new lab its users, rights, PVE job and HA resource, for the guests it will have."""
    seed_access(lab)
    lab.jobs.entries["backup-langeo"] = {
        "enabled": 1,
        "schedule": "21:00",
        "node": _HOME,
        "storage": "local",
        "mode": "snapshot",
        "compress": "zstd",
        "vmid": ",".join(str(guest.vmid) for guest in guests),
        "notes-template": "{{guestname}}",
        "mailnotification": "always",
    }
    lab.jobs.save()
    if any(guest.vmid == _HIGHLY_AVAILABLE for guest in guests):
        # HA knows no guest that does not exist (pve-facts 8.8)
        lab.ha.resources[f"vm:{_HIGHLY_AVAILABLE}"] = {"state": "started"}
    lab.ha.master = _HOME
    lab.ha.save()


def seed_guest(lab: Lab, guest: GuestSeed, sizes: Mapping[str, int]) -> None:
    """Given a guest and the sizes in bytes of its disks, which must lie in place, create its
    configuration.
    """
    lab.guests.create(_HOME, guest.vmid, guest_config(guest, sizes))


def disk_path(lab: Lab, guest: GuestSeed, key: str) -> Path:
    """Return where a seeded guest's disk lies: ``vm-<vmid>-disk-<n>`` on local-lvm of the home
    node.
    """
    return lab.storage_dir(_HOME, "local-lvm") / f"vm-{guest.vmid}-disk-{key.removeprefix('scsi')}"


def guest_config(guest: GuestSeed, sizes: Mapping[str, int]) -> dict[str, str]:
    """Return a seeded guest's configuration, key by key in PVE's order."""
    config = {"agent": "1"} if guest.agent else {}
    config |= {
        "boot": "order=scsi0",
        "cores": str(guest.cores),
        "cpu": "x86-64-v2-AES",
        "memory": str(guest.memory),
    }
    config |= {"meta": f"creation-qemu=10.1.2,ctime={int(time.time())}", "name": guest.name}
    for index, nic in enumerate(guest.nics):
        tag = f",tag={nic.tag}" if nic.tag is not None else ""
        config[f"net{index}"] = f"virtio={nic.mac},bridge={PRODUCTION_BRIDGE},firewall=1{tag}"
    config |= {
        "numa": "0",
        "onboot": "1",
        "ostype": {"mswindows": "win10", "freebsd": "other"}.get(guest.system, "l26"),
    }
    for key, size in sizes.items():
        config[key] = (
            f"local-lvm:vm-{guest.vmid}-disk-{key.removeprefix('scsi')},iothread=1,size={pve_size(size)}"
        )
    config |= {
        "scsihw": "virtio-scsi-single",
        "smbios1": f"uuid={guest.uuid}",
        "sockets": "1",
        "vmgenid": str(uuid.uuid4()),
    }
    return config


def pve_size(size: int) -> str:
    """Given bytes, return PVE's size: the largest unit that divides it."""
    for unit, factor in (("G", 1024**3), ("M", 1024**2), ("K", 1024)):
        # PVE writes no fractions
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def seed_access(lab: Lab, storages: Sequence[str] = ("local", "local-lvm")) -> None:
    """Give a new lab its users and tokens, with rights on the storages.

    One user holds the union of what its two tokens hold: a token with privilege separation never
    has more than its user.
    """
    access = lab.access
    access.key = secrets.token_hex(32)
    access.passwords["root@pam"] = authentication.password_digest(
        access, "root@pam", root_password(lab)
    )
    access.users["backupsvc@pve"] = {
        "enable": 1,
        "expire": 0,
        "comment": "backup lifecycle and restore verification",
    }
    access.roles |= {
        "BackupsvcVms": list(VM_PRIVILEGES),
        "BackupsvcStore": ["Datastore.AllocateSpace"],
        "BackupsvcNet": ["SDN.Use"],
        "BackupsvcSys": ["Sys.Audit"],
    }
    for name, privsep in ((ROOT_TOKEN, 0), (SERVICE_TOKEN, 1), (RESTORE_TOKEN, 1)):
        access.tokens[name] = {"expire": 0, "privsep": privsep, "secret": str(uuid.uuid4())}
    everyday = [("/", "BackupsvcSys"), ("/vms", "BackupsvcVms")]
    everyday += [(f"/storage/{storage}", "BackupsvcStore") for storage in storages]
    everyday += [(f"/sdn/zones/localnetwork/{ISOLATED_BRIDGE}", "BackupsvcNet")]
    # what only a restore back into production needs: the everyday token cannot reach it
    production = [(f"/sdn/zones/localnetwork/{PRODUCTION_BRIDGE}", "BackupsvcNet")]
    granted = {
        SERVICE_TOKEN: everyday,
        RESTORE_TOKEN: everyday + production,
        "backupsvc@pve": everyday + production,
    }
    for ugid, entries in granted.items():
        kind = "token" if "!" in ugid else "user"
        access.acl += [
            {"path": path, "type": kind, "ugid": ugid, "roleid": role, "propagate": 1}
            for path, role in entries
        ]
    access.save()


def root_password(lab: Lab) -> str:
    """Return root's password, generated once and kept in ``root.json`` (mode 0600)."""
    return str(_root(lab)["password"])


def _root(lab: Lab) -> dict[str, Any]:
    path = lab.dir / "root.json"
    if not path.is_file():
        # made with its mode first, so that the password is never readable by others
        path.touch(mode=0o600)
        path.write_text(json.dumps({"user": "root@pam", "password": secrets.token_urlsafe(12)}))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def write_root(lab: Lab) -> None:
    """Add root's token to ``root.json``."""
    (lab.dir / "root.json").write_text(json.dumps({**_root(lab), "token": token(lab, ROOT_TOKEN)}))


def token(lab: Lab, name: str) -> str:
    """Return a token with its secret, as settings want it: ``user@realm!name=secret``."""
    return f"{name}={lab.access.tokens[name]['secret']}"
