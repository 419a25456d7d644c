"""A guest's configuration as PVE writes it: its lines, NICs, disks, memory and agent, read one way
for everybody.

A configuration is a map of key to text, as PVE's API gives it or ``parse_config`` reads it from a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from policies.model import PolicyError
from policies.pve import property_string, volid
from policies.pve.property_string import boolean, maybe_on, parse

# Of lines without their trailing blanks: a pattern that looks for those itself takes 17 s for one
# line of 64 KiB.
_LINE = re.compile(r"([a-z][a-z_-]*\d*):\s*(.*)")
_MAP_LINE = re.compile(r"#qmdump#(map:[^:]+):(.*)")
_NIC = re.compile(r"net\d+")
_MAC = re.compile(r"=((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})(?=,|$)")
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]*")
_DISK = re.compile(r"(?:scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0")
_COMMENTED_DISK = re.compile(rf"#({_DISK.pattern}):\s*(\S.*)")
_VOLUME_HOLDER = re.compile(rf"{_DISK.pattern}|unused\d+|vmstate")
_NIC_OPTIONS = frozenset(
    {
        "bridge",
        "firewall",
        "link_down",
        "macaddr",
        "model",
        "mtu",
        "queues",
        "rate",
        "tag",
        "trunks",
        "host-tunnel",
    }
)
_KEPT = frozenset({"macaddr", "model", "bridge", "link_down"})
_DEFAULT_MEMORY = 512  # MiB, what PVE assumes of a config without the key (pve-facts 7.4)
# vzdump's line for each disk that it dumped (qemu-server, PVE/VZDump/QemuServer.pm)
DUMPED = "#qmdump#map:"
_DEFAULT_STORAGE = "local"  # of a dumped disk that names none
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)")


@dataclass(frozen=True, slots=True)
class DumpedDisk:
    """A disk that an archive holds: the device in it, and the storage that the disk lay on."""

    device: str
    storage: str


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC line, taken apart. ``others`` are the options that a scratch copy does not keep (tag,
    firewall ...).
    """

    model: str
    mac: str | None
    bridge: str | None
    link_down: bool
    others: Mapping[str, str]


def parse_config(text: str) -> dict[str, str]:
    """Given a PVE guest config file (or what extractconfig answers), return its current section as
    a map.

    Snapshots and pending changes (everything from the first ``[`` line) are left out. Leading ``#``
    lines are the description, %-decoded (pve-facts 8.1). Two kinds of comment are kept apart, under
    keys that no PVE option can have: a disk that a restore commented out as ``#scsi1``, and
    vzdump's list of the dumped disks as ``#qmdump#map:scsi0``.
    """
    config: dict[str, str] = {}
    comments: list[str] = []
    for written in text.splitlines():
        line = written.rstrip()
        if line.startswith("["):
            break
        if found := _MAP_LINE.fullmatch(line):
            config["#qmdump#" + found[1]] = found[2].removesuffix(":")
        elif found := _COMMENTED_DISK.fullmatch(line):
            config["#" + found[1]] = found[2]
        elif line.startswith("#"):
            # not stripped: a blank at a line's end is the description's own
            comments.append(unquote(written[1:]) + "\n")
        elif found := _LINE.fullmatch(line):
            config[found[1]] = unquote(found[2]) if found[1] == "description" else found[2]
    if comments:
        config["description"] = config.get("description", "") + "".join(comments)
    return config


# --- NICs -----------------------------------------------------------------------------------------


def parse_nic(value: str) -> Nic:
    """Given a NIC line such as ``virtio=BC:24:11:00:00:08,bridge=vmbr0``, return its parts. Raise
    PolicyError if it is none.
    """
    named: list[str] = []
    try:
        for key, text in property_string.parts(value):
            # `virtio=MAC` is short for model=virtio,macaddr=MAC, wherever it stands and only once
            short = (
                key is not None
                and key not in _NIC_OPTIONS
                and not any(part.startswith("model=") for part in named)
            )
            named += [f"model={key}", f"macaddr={text}"] if short else [f"{key or 'model'}={text}"]
        options = property_string.parse(",".join(named))
    except PolicyError as error:
        raise PolicyError(f"the NIC line {value!r} cannot be understood: {error.message}") from None
    if not _MODEL.fullmatch(options.get("model", "")):
        raise PolicyError(f"the NIC line {value!r} names no model")
    others = {key: text for key, text in options.items() if key not in _KEPT}
    down = property_string.boolean(options.get("link_down", "0")) is True
    return Nic(options["model"], options.get("macaddr"), options.get("bridge"), down, others)


def without_link(value: str) -> str:
    """Given a NIC line, return it without a word about its link, which is up then; all else stays as
    it is written.
    """
    return ",".join(
        part for part in value.split(",") if part.strip().partition("=")[0] != "link_down"
    )


def pulled(value: str) -> str:
    """Given a NIC line, return it with its link down, and nothing else changed."""
    return f"{without_link(value)},link_down=1"


def nics(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Given a guest's config, return its NIC lines with their keys, in order."""
    return _keys(config, _NIC)


def macs(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a VM's or a container's config, return its NICs' MAC addresses in lower case, sorted.

    A VM names its NIC's after the model (``virtio=BC:24:...``), a container as ``hwaddr=``.
    """
    # by the look of a MAC: a line that cannot be parsed still tells whose guest it is
    found = {mac.lower() for _, value in nics(config) for mac in _MAC.findall(value)}
    return tuple(sorted(found))


def is_nic(key: str) -> bool:
    """Given a key, return whether a NIC stands under it."""
    return _NIC.fullmatch(key) is not None


def _keys(config: Mapping[str, str], pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    return ((key, config[key]) for key in sorted(config) if pattern.fullmatch(key))


# --- disks ----------------------------------------------------------------------------------------


def drive(text: str) -> dict[str, str]:
    """Given a drive line, return its options, the volume under ``file``; all of it if it is
    malformed, which no volume is.
    """
    try:
        return parse(text, default="file", aliases={"volume": "file"})
    except PolicyError:
        return {"file": text}


def drives(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Given a VM's config, return its drive lines with their keys, CD-ROMs too, in order."""
    return _keys(config, _DISK)


def volumes(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Given a VM's config, return the lines that name a volume, with their keys: drives, unused
    volumes and a saved state.
    """
    return _keys(config, _VOLUME_HOLDER)


def is_cdrom(value: str) -> bool:
    """Given a drive line, return whether it is a CD-ROM drive, with a medium or without."""
    return drive(value).get("media") == "cdrom"


def disks_total(config: Mapping[str, str]) -> int:
    """Given a guest's config, return the bytes that its backed-up disks take when restored in full
    (their ``size=``).
    """
    return sum(disk_size(config, key) or 0 for key in disks_to_dump(config))


def disk_size(config: Mapping[str, str], disk: str) -> int | None:
    """Given a guest's config and the key of a disk, return the bytes that its ``size=`` says, None
    if nothing does.
    """
    return size_of(drive(config.get(disk, "")))


def size_of(options: Mapping[str, str]) -> int | None:
    """Given the options of a drive or a mount point, return the bytes that ``size`` says, None if
    nothing does.
    """
    found = _SIZE.fullmatch(options.get("size", ""))
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


def disks_to_dump(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a guest's config, return its disks that a backup must hold, by key: all but those with
    ``backup=0``.
    """
    return tuple(key for key, value in _disks(config) if maybe_on(drive(value).get("backup", "1")))


def dumped_disks(config: Mapping[str, str]) -> dict[str, DumpedDisk]:
    """Given an archived config, return each disk that the archive holds, by key, as vzdump's lines
    in it say.
    """
    found: dict[str, DumpedDisk] = {}
    for key, value in config.items():
        if key.startswith(DUMPED):
            device, _, rest = value.partition(":")
            found[key.removeprefix(DUMPED)] = DumpedDisk(
                device, rest.partition(":")[0] or _DEFAULT_STORAGE
            )
    return found


def volids(config: Mapping[str, str]) -> set[str]:
    """Given a VM's config, return the volumes on storages that it names, CD-ROMs too."""
    files = (drive(value).get("file", "") for _, value in volumes(config))
    return {file for file in files if volid.is_volid(file)}


def missing_disks(archived: Mapping[str, str], restored: Mapping[str, str]) -> tuple[str, ...]:
    """Given the archived and the restored config, return the disks of the guest that the copy
    cannot have, by key.

    A disk is missing if it had ``backup=0`` (PVE comments it out on restore: pve-facts 7.2), if
    vzdump's map does not list it, or if the restored config lacks it. CD-ROMs, cloud-init drives
    and unused volumes are no disks of the guest.
    """
    dumped = dumped_disks(archived)
    return tuple(
        key
        for key, value in _disks(archived)
        if not maybe_on(drive(value).get("backup", "1"))
        or (dumped and key not in dumped)
        or key not in restored
    )


def _disks(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The guest's own disks: no CD-ROM, no cloud-init drive, no empty drive, no unused volume."""
    return (
        (key, value)
        for key, value in drives(config)
        if not is_cdrom(value) and drive(value).get("file") != "none"
    )


# --- memory, agent, identity ----------------------------------------------------------------------


def memory_of(config: Mapping[str, str]) -> int:
    """Given a guest's config, return its memory in MiB; without the key PVE takes 512. Newer PVE
    may write ``current=N``.
    """
    try:
        digits = property_string.parse(config.get("memory", ""), default="current").get(
            "current", ""
        )
    except PolicyError:
        digits = ""  # PVE ignores the option
    return int(digits) if digits.isdecimal() and digits.isascii() else _DEFAULT_MEMORY


def agent_configured(config: Mapping[str, str]) -> bool:
    """Given a VM's config, return whether its guest agent is switched on. PVE ignores an option
    that it cannot read.
    """
    try:
        return (
            boolean(parse(config.get("agent", ""), default="enabled").get("enabled", "0")) is True
        )
    except PolicyError:
        return False


def freeze_switched_off(config: Mapping[str, str]) -> bool:
    """Given a VM's config, return whether its agent is on but is not to freeze file systems; the
    option has had three names.
    """
    aliases = {"freeze-fs-on-backup": "freeze-fs", "guest-fsfreeze": "freeze-fs"}
    try:
        found = parse(config.get("agent", ""), default="enabled", aliases=aliases)
    except PolicyError:
        return False
    return agent_configured(config) and boolean(found.get("freeze-fs", "1")) is False


def tags(text: str) -> tuple[str, ...]:
    """Given a guest's ``tags``, return them sorted: PVE takes any of its separators."""
    return tuple(sorted(text.replace(";", ",").split(",")))


def snippets(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a VM's config, return the volumes that its cloud-init drive is made of, none where PVE
    ignores the option.
    """
    try:
        return tuple(value for _, value in property_string.parts(config.get("cicustom", "")))
    except PolicyError:
        return ()


def smbios_uuid(config: Mapping[str, str]) -> str | None:
    """Given a VM's config, return its SMBIOS UUID as written, None where it has none or PVE ignores
    the option.
    """
    try:
        return parse(config.get("smbios1", "")).get("uuid")
    except PolicyError:
        return None
