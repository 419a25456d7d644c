"""A big cluster of modelled guests: tens of nodes, thousands of guests and years of nightly
archives from a small footprint.

What it is made of follows from three numbers (``Scale``) and the date of its first night; nothing
but the guests' configurations and small sparse disks is stored. The archives are
``pvelab.guests.history``'s: made when they are read. Everything is simulated and proves nothing, as
with any modelled guest.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pvelab import seed
from pvelab.errors import UsageError
from pvelab.guests.history import MIB, History, Past
from pvelab.guests.power import start_machine
from pvelab.images.site import NAMESPACE, GuestSeed, SeedNic
from pvelab.kernel import Bridge, Lab, StorageDef

# above the scratch range of every policy that comes with the lab, and five digits, so that names
# sort as numbers do
FIRST_VMID = 10001
SHARED = ("nas1", "nas2", "nas3", "nas4")
YEARS = 3
_MAX_NODES, _MAX_GUESTS, _MAX_YEARS = 200, 20_000, 10
_DAYS_A_YEAR = 365.25
_DISK = 16 * MIB
_NODE_MEMORY = 512 * 1024**3
# nights that retention lets go: a prune has something to do and stays far from law 3's share
_TO_PRUNE = 5
_ROLES = ("web", "db", "mail", "files", "build", "desk", "app", "dns")
_POLICY = """\
# The policy of a scaled lab: every guest every night, one tier for all, nights kept nearly as long as the past goes back.

site: {cluster}
timezone: {tz}

scratch:
  vmids: 9000-9099
  bridge: {bridge}
  storage: local-lvm

jobs:
  nightly:
    schedule: "21:00"
    storage: local
    guests: all
    keep: keep-daily={keep}

tiers:
  standard:
    rpo: 8d
    rto: 4h
    proof-age: 7d
    proof-rung: booted
default-tier: standard
"""


@dataclass(frozen=True)
class Scale:
    """How big: nodes, guests and years of nightly archives. ``first`` is the date of the oldest
    night.
    """

    nodes: int
    guests: int
    years: int
    first: str = ""

    @classmethod
    def parse(cls, text: str, years: int) -> Scale:
        """Given ``50x2000`` (nodes x guests), return the scale. Raise UsageError for what is none
        or too big.
        """
        found = re.fullmatch(r"(\d{1,4})x(\d{1,6})", text)
        nodes, guests = (int(found[1]), int(found[2])) if found else (0, 0)
        if not (
            1 <= nodes <= _MAX_NODES and 1 <= guests <= _MAX_GUESTS and 1 <= years <= _MAX_YEARS
        ):
            most = f"at most {_MAX_NODES}x{_MAX_GUESTS} and {_MAX_YEARS} years"
            raise UsageError(
                f"--scale {text} --years {years}: not a size of a lab",
                f"nodes x guests, as in 50x2000; {most}",
            )
        return cls(nodes, guests, years)

    def made(self, known: Mapping[str, Any] | None) -> bool:
        """Say whether a lab with this scale in its definition is of the same size."""
        return known is not None and all(
            known[name] == getattr(self, name) for name in ("nodes", "guests", "years")
        )

    @property
    def nights(self) -> int:
        """How many nights there are archives of."""
        return round(self.years * _DAYS_A_YEAR)

    def node(self, index: int) -> str:
        """Return the node of the guest with that number (from 0): guests next to each other live
        together.
        """
        return f"pve{index * self.nodes // self.guests + 1:02d}"

    def guest(self, index: int) -> GuestSeed:
        """Return the guest with that number (from 0)."""
        vmid, role = FIRST_VMID + index, _ROLES[index % len(_ROLES)]
        mac = f"BC:24:11:{0x40 + (index >> 16):02X}:{index >> 8 & 0xFF:02X}:{index & 0xFF:02X}"
        nic = SeedNic(
            mac, 10 + index % 4 * 10, f"10.{10 + index % 4 * 10}.{index >> 8}.{index & 0xFF}/8"
        )
        return GuestSeed(
            vmid,
            f"{role}-{index + 1:05d}",
            (nic,),
            1024 << index % 4,
            cores=1 + index % 4,
            boot_disk=_DISK,
        )

    def config(self, index: int) -> dict[str, str]:
        """Return a guest's configuration: the same at every call, so that its archives can be made
        at any time.
        """
        guest = self.guest(index)
        born = int(datetime.fromisoformat(self.first).timestamp()) - 86400
        fixed = {
            "meta": f"creation-qemu=10.1.2,ctime={born}",
            "vmgenid": str(uuid.uuid5(NAMESPACE, f"generation {guest.vmid}")),
        }
        return seed.guest_config(guest, guest.disks) | fixed


def cluster(scale: Scale) -> dict[str, Any]:
    """Return the definition of a scaled cluster (``lab.json``), its last night being the one before
    now.
    """
    base = seed.cluster()
    last = datetime.fromtimestamp(time.time(), ZoneInfo(base["tz"])).date() - timedelta(days=1)
    first = last - timedelta(days=scale.nights - 1)
    nodes = [
        {
            "name": f"pve{n:02d}",
            "id": n,
            "ip": f"10.0.{n >> 8}.{n & 0xFF}",
            "drift": 0,
            "memory": _NODE_MEMORY,
        }
        for n in range(1, scale.nodes + 1)
    ]
    shared = [
        StorageDef(name, "nfs", ("backup",), shared=True, path=f"/mnt/pve/{name}")
        for name in SHARED
    ]
    return base | {
        "cluster": f"scale-{scale.nodes}x{scale.guests}",
        "nodes": nodes,
        "storages": [*base["storages"], *map(asdict, shared)],
        "bridges": [
            asdict(Bridge(seed.PRODUCTION_BRIDGE, ("eno1",))),
            asdict(Bridge(seed.ISOLATED_BRIDGE)),
        ],
        "scale": {**asdict(scale), "first": first.isoformat()},
    }


def seed_lab(lab: Lab) -> None:
    """Give a new scaled lab its users, rights, job and guests with their disks."""
    scale = _scale(lab)
    seed.seed_access(lab, tuple(s.name for s in lab.storages.values()))
    seed.write_root(lab)
    lab.jobs.entries["backup-nightly"] = {
        "enabled": 1,
        "schedule": "21:00",
        "storage": "local",
        "mode": "snapshot",
        "compress": "zstd",
        "all": 1,
        "notes-template": "{{guestname}}",
    }
    lab.jobs.save()
    for index in range(scale.guests):
        guest = scale.guest(index)
        disk = lab.storage_dir(scale.node(index), "local-lvm") / f"vm-{guest.vmid}-disk-0"
        # sparse, with one line in it: thousands of them must cost next to nothing
        with disk.open("wb") as file:
            file.write(f"simulated disk of {guest.name}\n".encode())
            file.truncate(guest.boot_disk)
        lab.guests.create(scale.node(index), guest.vmid, scale.config(index))


def attach(lab: Lab) -> None:
    """Let a lab that was made with a scale show its past archives; any other lab is left as it
    is.
    """
    if "scale" not in lab.settings:
        return
    scale = _scale(lab)
    guests: dict[int, Past] = {}
    for index in range(scale.guests):
        node = scale.node(index)
        guests[FIRST_VMID + index] = Past(
            node, SHARED[index % len(SHARED)], scale.guest(index).name
        )

    def config(vmid: int) -> Mapping[str, str]:
        return scale.config(vmid - FIRST_VMID)

    lab.history = History(lab, guests, date.fromisoformat(scale.first), scale.nights, config)


def power_on(lab: Lab, progress: Callable[[str], None]) -> None:
    """Switch all guests on at once: the model needs no boot, and thousands of start tasks would
    tell nothing.
    """
    for vm in lab.guests.all():
        if vm.config.get("onboot") == "1" and "lock" not in vm.config and lab.nodes[vm.node].online:
            start_machine(lab, vm)
    progress(f"{len(lab.machines)} modelled guests on {len(lab.nodes)} nodes are on")


def write_policy(lab: Lab) -> Path:
    """Write the policy of a scaled lab, unless it is there, and return its file."""
    path = lab.dir / "policy.yaml"
    if not path.is_file():
        # of what lies on one storage: all nights but Sundays are on local
        keep = _scale(lab).nights * 6 // 7 - _TO_PRUNE
        values = {
            "cluster": lab.settings["cluster"],
            "tz": lab.tz,
            "bridge": seed.ISOLATED_BRIDGE,
            "keep": keep,
        }
        path.write_text(_POLICY.format(**values), encoding="utf-8")
    return path


def _scale(lab: Lab) -> Scale:
    return Scale(**lab.settings["scale"])
