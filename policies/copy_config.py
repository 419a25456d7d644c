"""Judge each option of a restored copy's configuration by an allow-list, with a reason for each key
(law 2).

Keys are qemu-server's (PVE/QemuServer.pm, Drive.pm, Network.pm, USB.pm, PCI.pm; 9.0.23 and 9.2.6).
A key that is not in the
table, such as one of a later version, is refused by name: nobody here knows what it does. What a
token may not take out of a restored copy (only root@pam may) is either replaced in the restore
call, before the copy exists, or refused before anything is restored. Deleting a drive's key is no
remedy: PVE frees the volume that it names without asking whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from policies.model import PolicyError
from policies.pve import guest_config, property_string
from policies.pve.privileges import privileges

TAG = "backupsvc-scratch"  # by which tools that select guests by tag can leave copies alone
HARDWARE, MAPPING = "VM.Config.HWType", "Mapping.Use"

# reason -> the keys that it allows, whatever their value; # stands for a number
_FREE = {
    "it makes the machine what the guest is, and reaches nothing outside it": "acpi agent amd-sev arch audio0 autostart bios boot"
    " bootdisk cores cpu hotplug intel-tdx keyboard kvm localtime machine meta migrate_downtime "
    "migrate_speed numa numa# ostype"
    " reboot scsihw smp sockets spice_enhancements startdate tablet tdf vcpus vga vmstatestorage "
    "watchdog",
    "its share of the node, which PVE bounds": "affinity allow-ksm balloon cpulimit cpuunits "
    "memory shares",
    "the guest's identity, and the copy is alone on its bridge": "smbios1 vmgenid",
    "the restore call replaces it, and the NIC, marker and start assertions judge it": "description name net# onboot"
    " protection tags",
    "the disk assertion judges whose volume it is, and the medium assertion what is inserted": "cdrom unused#",
    "without start at boot it orders nothing, and deleting it needs Sys.Modify": "startup",
    "changing any of them makes the guest take itself for a new instance": "cipassword citype ciupgrade ciuser ipconfig#"
    " nameserver searchdomain sshkeys",
    "PVE's own book-keeping, which a restore drops": "digest parent snaptime",
}
_DRIVE = re.compile(r"(?:scsi|virtio|sata|ide)#|efidisk0|tpmstate0")
_DRIVE_WORDS = (
    "file size format backup media shared replicate discard detect_zeroes ssd iothread queues "
    "cache aio rerror werror ro serial model product vendor wwn snapshot scsiblock cyls heads secs "
    "trans efitype pre-enrolled-keys ms-cert version"
)
_DRIVE_OPTIONS = frozenset(_DRIVE_WORDS.split())
_THROTTLE = re.compile(r"(?:bps|mbps|iops)(?:_rd|_wr)?(?:_max)?(?:_length)?")
_CLOUD_INIT = re.compile(r"[^:/,]+:(?:\d+/)?vm-(\d+)-cloudinit(?:\.(?:raw|qcow2|vmdk))?")
_FREED = re.compile(r".*[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|cow|qcow|qcow2|qed|vmdk|cloop))?")
_RANDOM = frozenset({"/dev/urandom", "/dev/random"})
_DROPPED = frozenset({"lock"})  # a restore leaves it out, so that it matters in a copy alone
PASSTHROUGH = frozenset({"hostpci#", "usb#", "serial#", "parallel#", "virtiofs#", "ivshmem"})


# --- one key --------------------------------------------------------------------------------------


def family(key: str) -> str:
    """Given a key, return it as the table has it: ``net#`` for ``net3``, itself where its number
    belongs to its name.
    """
    return (
        key
        if key in _JUDGED or key in _ALLOWED or _DRIVE.fullmatch(key)
        else re.sub(r"\d+$", "#", key)
    )


def harm(key: str, value: str) -> str | None:
    """Given a key of a guest's config and its value, return what it would do in a copy, None if it
    may stay there.
    """
    name = family(key)
    if name in _ALLOWED:
        return None
    if _DRIVE.fullmatch(name):
        strange = sorted(
            option
            for option in guest_config.drive(value)
            if option not in _DRIVE_OPTIONS and not _THROTTLE.fullmatch(option)
        )
        return (
            f"its options {', '.join(strange)} are not known to this version" if strange else None
        )
    judge = _JUDGED.get(name)
    return (
        judge(value)
        if judge
        else "it is not known to this version, so nobody knows what it would do in a copy"
    )


def harms(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Given a guest's config, yield each key that may not stand in a copy, with the reason."""
    for key in sorted(config):
        if not key.startswith("#") and (why := harm(key, config[key])):
            yield key, why


def cloud_init(config: Mapping[str, str]) -> tuple[str, int] | None:
    """Given a guest's config, return its cloud-init drive, by key, and the VMID in the volume's
    name; None if it has none.

    Exactly the names that PVE gives such a volume: an ISO with ``cloudinit`` in its name is a
    medium like any other.
    """
    for key in sorted(config):
        if _DRIVE.fullmatch(family(key)) and (
            found := _CLOUD_INIT.fullmatch(guest_config.drive(config[key]).get("file", ""))
        ):
            return key, int(found[1])
    return None


def freed_when_deleted(volume: str) -> bool:
    """Given a drive's volume, return whether PVE frees it when the drive's key is deleted, whosever
    it is.

    PVE takes more names for a cloud-init volume than it gives (drive_is_cloudinit), so none of them
    may ever be deleted here.
    """
    return _FREED.fullmatch(volume) is not None


def mapped_pci(key: str, value: str) -> str | None:
    """Given a key and its value, return the mapping of a mapped PCI device; None of a raw one, or
    of anything else.
    """
    options = (_options(value, "host") or {}) if family(key) == "hostpci#" else {}
    return None if "host" in options else options.get("mapping")


def _always(why: str) -> Callable[[str], str | None]:
    return lambda value: f"{why} ({value})"


def _unless_off(why: str) -> Callable[[str], str | None]:
    return lambda value: why if property_string.maybe_on(value) else None


def _options(value: str, default: str | None = None) -> dict[str, str] | None:
    try:
        return property_string.parse(value, default=default)
    except PolicyError:
        return None


def _usb(value: str) -> str | None:
    options = _options(value, "host") or {}
    spice = options.get("host", "").lower() == "spice" and "mapping" not in options
    return None if spice else f"it is a USB device of the node ({value})"


def _shared_memory(value: str) -> str | None:
    """Without a name PVE takes the VMID, so that the memory is the copy's own."""
    options = _options(value)
    named = options is None or "name" in options
    return (
        f"it shares memory with production by name, and takes that away when it stops ({value})"
        if named
        else None
    )


_ALLOWED = frozenset(name for names in _FREE.values() for name in names.split())
_JUDGED: dict[str, Callable[[str], str | None]] = {
    "args": _always("raw QEMU arguments can reach anything on the node"),
    "hookscript": _always("it runs as root on the node"),
    "lock": _always("another task holds the guest"),
    "cicustom": _always(
        "the cloud-init drive is made from snippet files on a storage of production, whose steps "
        "the copy would carry out; without them it would take itself for a new instance"
    ),
    "hostpci#": _always("it is a PCI device of the node"),
    "parallel#": _always("it is a parallel port of the node"),
    "virtiofs#": _always(
        "it is a directory of the node, with production's files, which the copy could write"
    ),
    "vlan#": _always(
        "it is an old NIC line, which the restore puts onto a production bridge and no override "
        "names"
    ),
    "vmstate": _always("it resumes a saved state instead of booting"),
    "runningmachine": _always("it belongs to a saved state, which a copy must not resume"),
    "runningcpu": _always("it belongs to a saved state, which a copy must not resume"),
    "running-nets-host-mtu": _always("it belongs to a saved state, which a copy must not resume"),
    "hugepages": _always("it takes the node's huge pages, which are set aside for production"),
    "keephugepages": _unless_off("it leaves the node's huge pages taken when the copy is gone"),
    "ivshmem": _shared_memory,
    "rng0": lambda value: (
        None
        if (_options(value, "source") or {}).get("source") in _RANDOM
        else f"it is the node's own random number generator ({value})"
    ),
    "serial#": lambda value: (
        None if value == "socket" else f"it is a serial port of the node ({value})"
    ),
    "usb#": _usb,
    "freeze": _unless_off("the CPU would stay frozen, so that the copy never boots"),
    "template": _unless_off("PVE starts no template"),
}


# --- before the restore ---------------------------------------------------------------------------


def replacements(config: Mapping[str, str]) -> dict[str, str]:
    """Given an archived config, return what the restore call has to put in the place of what is
    harmful in it.

    A replaced USB device is a SPICE one only until it is deleted, which a token may do then.
    """
    sent = {
        key: "0"
        for key in ("freeze", "protection", "template")
        if property_string.maybe_on(config.get(key, "0"))
    }
    if not property_string.maybe_on(config.get("reboot", "1")):
        sent["reboot"] = "1"  # else the copy is gone at its first reboot, and looks dead
    if config.get("tags"):
        sent["tags"] = TAG
    for key, _ in harms(config):
        if other := {"usb#": "spice", "serial#": "socket", "rng0": "source=/dev/urandom"}.get(
            family(key)
        ):
            sent[key] = other
    return sent


# replaced with the privileges that every copy needs
_JUST_OPTIONS = frozenset({"freeze", "template"})


def blockers(
    config: Mapping[str, str], permissions: Mapping[str, frozenset[str]], pool: str | None
) -> tuple[str, ...]:
    """Given an archived config, what the token may do and the pool of copies, return why it must
    not be restored into one.

    One sentence for each key that no restore call and no later change of ours could make harmless.
    """
    held = privileges(permissions, "/vms") | (
        privileges(permissions, f"/pool/{pool}") if pool else frozenset()
    )
    replaced = replacements(config)
    found = []
    for key, why in harms(config):
        allowed = family(key) in _JUST_OPTIONS or HARDWARE in held
        if key in _DROPPED or (key in replaced and allowed):
            continue
        mapped = mapped_pci(key, config[key])
        # PVE asks for it when a mapped device is restored, and again when it is deleted
        may_map = mapped is not None and MAPPING in privileges(
            permissions, f"/mapping/pci/{mapped}"
        )
        if key in replaced:
            found.append(f"{key}: {why}, and replacing it needs {HARDWARE}, which the token lacks")
        elif not (HARDWARE in held and may_map):
            found.append(f"{key}: {why}")
    # drives that a restore does not make anew, so that the copy's line would name production's volume
    if (drive := cloud_init(config)) and not re.fullmatch(r"(?:ide|sata|scsi)\d+", drive[0]):
        found.append(
            f"{drive[0]}: a restore makes no new cloud-init drive there, so that the copy would "
            "hold production's"
        )
    efi, dumped = config.get("efidisk0", ""), guest_config.dumped_disks(config)
    lost = efi and dumped and "efidisk0" not in dumped
    if lost and property_string.maybe_on(guest_config.drive(efi).get("backup", "1")):
        found.append(
            "efidisk0: the archive does not hold it (bios is not ovmf), so that the copy would "
            "hold production's"
        )
    return tuple(found)
