"""Keep a guest that is restored under another VMID from meeting the machine that it was made of (law
2): where that machine is there, the other one is a clone, with MAC addresses of its own, all links
down, and not started at boot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from policies.lineage import Identity, another
from policies.model import PolicyError
from policies.pve import guest_config
from policies.pve.property_string import maybe_on
from policies.role import Need

_PREFIX = "BC:24:11"  # PVE's own, for a NIC that had no MAC address


def twin(archived: Identity, other: Identity) -> str:
    """Given whose an archive is and whose the config of a guest is, return in what the two are one
    machine to the network or to their software, "" if in nothing.
    """
    shared = sorted(set(archived.macs) & set(other.macs))
    said = [f"the MAC address {mac}" for mac in shared]
    if archived.uuid and archived.uuid == other.uuid and not another(archived, other):
        said.insert(0, f"the SMBIOS UUID {archived.uuid}")
    return " and ".join(said)


def overrides(config: Mapping[str, str], numbers: Iterable[int]) -> dict[str, str]:
    """Given the archived config and numbers below 2**24 that nobody can foresee, at least one a NIC,
    return the options to send with the restore of a clone, so that it never exists otherwise.

    A NIC keeps the maker's half of its MAC address, which may be a site's own. Raise PolicyError if
    a NIC cannot be read, or if there are too few numbers.
    """
    sent, left = {"onboot": "0"}, iter(numbers)
    for key, value in guest_config.nics(config):
        nic, number = guest_config.parse_nic(value), next(left, None)
        if number is None:
            raise PolicyError(f"there is no number for the MAC address of {key}")
        tail = ":".join(f"{number:06X}"[place : place + 2] for place in (0, 2, 4))
        mac = f"{nic.mac[:8] if nic.mac else _PREFIX}:{tail}"
        kept = [f"bridge={nic.bridge}"] if nic.bridge else []
        kept += [f"{name}={text}" for name, text in sorted(nic.others.items())]
        # its software still takes itself for the original, so until a person looked it meets nobody
        sent[key] = ",".join([f"{nic.model}={mac}", *kept, "link_down=1"])
    return sent


def rights(vmid: int) -> tuple[Need, ...]:
    """Given the VMID of a clone, return what sending its overrides needs beside a restore."""
    path = f"/vms/{vmid}"
    return (
        Need(path, "VM.Config.Network", "keep the clone's links down"),
        Need(path, "VM.Config.Options", "keep the clone from starting at boot"),
    )


def problems(
    restored: Mapping[str, str], sent: Mapping[str, str], uuid: str | None
) -> tuple[str, ...]:
    """Given the config of a clone as it was just read back, the overrides of its restore and the
    original's SMBIOS UUID (None: it has none), return what would let it meet the original.
    """
    found = []
    for key, value in guest_config.nics(restored):
        try:
            nic = guest_config.parse_nic(value)
            asked = guest_config.parse_nic(sent[key]) if key in sent else None
        except PolicyError as error:
            found.append(f"{key}: {error.message}")
            continue
        if not nic.link_down:
            found.append(f"the link of {key} is up")
        if asked is None or (nic.mac or "").lower() != (asked.mac or "").lower():
            found.append(f"{key} has another MAC address than the one that was sent")
    own = guest_config.smbios_uuid(restored)
    if uuid and own and own.lower() == uuid.lower():
        found.append("its SMBIOS UUID is the original's")
    if maybe_on(restored.get("onboot", "0")):
        found.append("it starts at boot")
    return tuple(found)


def differs(sent: Mapping[str, str]) -> tuple[str, ...]:
    """Given the overrides of a clone, return a sentence for each thing that it has otherwise."""
    return (
        *(
            f"{key} has the new MAC address {guest_config.parse_nic(value).mac}, and its link is "
            "down"
            for key, value in guest_config.nics(sent)
        ),
        "its SMBIOS UUID is a new one, so that it is another machine",
        "it is not started, nor at boot",
    )
