"""Law 2, decided: how a copy of a guest is made harmless, and what must be true before it may start.

Three steps, each a pure function. ``overrides`` goes with the restore call, so that the copy never exists with a production
NIC. ``strip`` says what to delete afterwards, for a restore cannot delete keys (pve-facts 7.1). ``assertions`` judges the
config that PVE then holds. A guest's config is a map of key to text, as PVE's API gives it or ``parse_config`` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from policies import copy_config, ownership, property_string
from policies.model import PolicyError, Scratch
from policies.property_string import drive, maybe_on

ISOLATED, LINK_DOWN = "isolated", "link-down"

# Of lines without their trailing blanks: a pattern that looks for those itself takes 17 s for one line of 64 KiB.
_LINE = re.compile(r"([a-z][a-z_-]*\d*):\s*(.*)")
_MAP_LINE = re.compile(r"#qmdump#(map:[^:]+):(.*)")
_NIC = re.compile(r"net\d+")
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]*")
_DISK = re.compile(r"(?:scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0")
_COMMENTED_DISK = re.compile(rf"#({_DISK.pattern}):\s*(\S.*)")
_VOLUME_HOLDER = re.compile(rf"{_DISK.pattern}|unused\d+|vmstate")
_NIC_OPTIONS = frozenset(
    {"bridge", "firewall", "link_down", "macaddr", "model", "mtu", "queues", "rate", "tag", "trunks", "host-tunnel"}
)
_KEPT = frozenset({"macaddr", "model", "bridge", "link_down"})
_DEFAULT_MEMORY = 512  # MiB, what PVE assumes of a config without the key (pve-facts 7.4)
_MAP_PREFIX = "#qmdump#map:"
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC line, taken apart. ``others`` are the options that a scratch copy does not keep (tag, firewall ...)."""

    model: str
    mac: str | None
    bridge: str | None
    link_down: bool
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Strip:
    """What a restored copy must lose: keys to ``delete``, a sentence each, and ``blockers`` that only root@pam may change."""

    delete: tuple[str, ...]
    stripped: tuple[str, ...]
    blockers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    """One condition of law 2, whether it holds, and what was seen."""

    name: str
    holds: bool
    detail: str


# --- reading ------------------------------------------------------------------------------------------------------------


def parse_config(text: str) -> dict[str, str]:
    """Given a PVE guest config file (or what extractconfig answers), return its current section as a map.

    Snapshots and pending changes (everything from the first ``[`` line) are left out. Leading ``#`` lines are the description,
    %-decoded (pve-facts 8.1). Two kinds of comment are kept apart, under keys that no PVE option can have: a disk that a restore
    commented out as ``#scsi1``, and vzdump's list of the dumped disks as ``#qmdump#map:scsi0``.
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
            comments.append(unquote(written[1:]) + "\n")
        elif found := _LINE.fullmatch(line):
            config[found[1]] = unquote(found[2]) if found[1] == "description" else found[2]
    if comments:
        config["description"] = config.get("description", "") + "".join(comments)
    return config


def parse_nic(value: str) -> Nic:
    """Given a NIC line such as ``virtio=BC:24:11:00:00:08,bridge=vmbr0``, return its parts. Raise PolicyError if it is none."""
    named: list[str] = []
    try:
        for key, text in property_string.parts(value):
            short = key is not None and key not in _NIC_OPTIONS and not any(part.startswith("model=") for part in named)
            named += [f"model={key}", f"macaddr={text}"] if short else [f"{key or 'model'}={text}"]
        options = property_string.parse(",".join(named))
    except PolicyError as error:
        raise PolicyError(f"the NIC line {value!r} cannot be understood: {error.message}") from None
    if not _MODEL.fullmatch(options.get("model", "")):
        raise PolicyError(f"the NIC line {value!r} names no model")
    others = {key: text for key, text in options.items() if key not in _KEPT}
    down = property_string.boolean(options.get("link_down", "0")) is True
    return Nic(options["model"], options.get("macaddr"), options.get("bridge"), down, others)


def _keys(config: Mapping[str, str], pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    return ((key, config[key]) for key in sorted(config) if pattern.fullmatch(key))


# --- 1. what goes with the restore call ---------------------------------------------------------------------------------


def overrides(
    config: Mapping[str, str], *, scratch: Scratch, network: str, operation: str, memory: int | None, service: str = ""
) -> dict[str, str]:
    """Given an archived config, return the options to send with its restore, so that the copy is isolated from its first moment.

    Every NIC of the archive keeps model and MAC and loses everything else; ``network`` is ``isolated`` or ``link-down``;
    ``memory`` caps the copy's memory in MiB; ``service`` is the identity that marks the copy beside ``operation``.
    Raise PolicyError if the policy names no isolated bridge where one is needed.
    No drive and no NIC that the archive lacks is ever named: PVE refuses the first and would add the second (pve-facts 7.1).
    """
    sent = {key: _isolated_nic(key, value, scratch, network) for key, value in _keys(config, _NIC)}
    sent |= {"onboot": "0", "description": _description(operation, service)} | _name(config, operation)
    return sent | copy_config.replacements(config) | _memory(config, memory)


def _isolated_nic(key: str, value: str, scratch: Scratch, network: str) -> str:
    nic = parse_nic(value)
    if network not in (ISOLATED, LINK_DOWN):
        raise PolicyError(f"network {network!r} is not known: allowed are {ISOLATED} and {LINK_DOWN}")
    if network == ISOLATED and not scratch.bridge:
        raise PolicyError(f"network {ISOLATED} needs scratch.bridge, the isolated bridge, and the policy names none")
    bridge = scratch.bridge or nic.bridge
    if not bridge:  # without a bridge QEMU would give the copy a way out through the node itself
        raise PolicyError(f"{key} of the archive is on no bridge, so its copy needs scratch.bridge, and the policy names none")
    parts = [f"{nic.model}={nic.mac}" if nic.mac else nic.model, f"bridge={bridge}"]
    return ",".join(parts + (["link_down=1"] if network == LINK_DOWN else []))


def _name(config: Mapping[str, str], operation: str) -> dict[str, str]:
    """A valid DNS label, which PVE demands, that shows in PVE's own tree what this guest is.

    Not for a guest with a cloud-init drive: its name is in the data on it, and by another name it would take itself for a new
    instance, with new host keys, users and first-boot scripts. One without a name is called after its VMID there.
    """
    if drive_of := copy_config.cloud_init(config):
        return {} if config.get("name") else {"name": f"VM{drive_of[1]}"}
    original = re.sub(r"[^A-Za-z0-9-]+", "-", config.get("name", "") or operation)
    return {"name": f"restore-test-{original}"[:63].rstrip("-")}


def _description(operation: str, service: str) -> str:
    return f"{ownership.mark(operation, service)}\nCopy made by a restore test. It will be destroyed when the test ends."


def _memory(config: Mapping[str, str], cap: int | None) -> dict[str, str]:
    archived = memory_of(config)
    if cap is None or archived <= cap:
        return {}
    lowered = {"memory": str(cap)}
    if config.get("balloon", "").isdigit() and int(config["balloon"]) > cap:
        lowered["balloon"] = str(cap)  # PVE refuses a balloon above the memory
    return lowered


def memory_of(config: Mapping[str, str]) -> int:
    """Given a guest's config, return its memory in MiB; without the key PVE takes 512. Newer PVE may write ``current=N``."""
    try:
        digits = property_string.parse(config.get("memory", ""), default="current").get("current", "")
    except PolicyError:
        digits = ""  # PVE ignores the option
    return int(digits) if digits.isdecimal() and digits.isascii() else _DEFAULT_MEMORY


def changes(config: Mapping[str, str], sent: Mapping[str, str]) -> tuple[str, ...]:
    """Given an archived config and its overrides, return one sentence for each thing that the copy has otherwise: evidence."""
    said: list[str] = []
    for key in sorted(set(sent) - {"description"}):
        if _NIC.fullmatch(key):
            said += _nic_changes(key, parse_nic(config[key]), parse_nic(sent[key]))
        elif key != "onboot" or maybe_on(config.get(key, "0")):
            said.append(f"{key}: {config.get(key, 'not set')} became {sent[key]}")
    return tuple(said)


def _nic_changes(key: str, old: Nic, new: Nic) -> Iterator[str]:
    if old.bridge != new.bridge:
        yield f"{key}: bridge {old.bridge or 'not set'} became {new.bridge}"
    if new.link_down and not old.link_down:
        yield f"{key}: link taken down"
    if old.link_down and not new.link_down:
        yield f"{key}: link brought up, on the isolated bridge"
    yield from (f"{key}: {option}={value} dropped" for option, value in sorted(old.others.items()))


# --- 2. what the restored copy must lose --------------------------------------------------------------------------------


def strip(config: Mapping[str, str], sent: Mapping[str, str] = _NOTHING) -> Strip:
    """Given a restored copy's config and the overrides of its restore, return the keys to delete before it may start.

    Each comes with its sentence. A blocker is what a token may not change, or what nobody knows (policies.copy_config), so the
    copy must not be started. A USB device that an override replaced goes too: a SPICE one does not start on every display.
    """
    devices = [(key, config[key]) for key in config if copy_config.mapped_pci(key, config[key])]
    devices += [(key, config[key]) for key in sent if copy_config.family(key) == "usb#" and config.get(key) == sent[key]]
    found = [
        *((key, f"{key}: host device {value} removed") for key, value in sorted(devices)),
        *((key, f"{key}: medium {value} removed") for key, value in _media(config)),
        *((key, f"{key}: {config[key]} removed") for key in ("onboot", "protection") if maybe_on(config.get(key, "0"))),
    ]
    delete = tuple(key for key, _ in found)
    return Strip(delete, tuple(sentence for _, sentence in found), tuple(_blockers(config, delete)))


def _host_devices(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((key, config[key]) for key, _ in copy_config.harms(config) if copy_config.family(key) in copy_config.PASSTHROUGH)


def _media(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """CD-ROM drives with a medium: an ISO of production, or the node's own drive. Never a cloud-init drive."""
    for key, value in _keys(config, _DISK):
        file = drive(value).get("file", "")
        if _is_cdrom(value) and file != "none" and not copy_config.freed_when_deleted(file):
            yield key, value


def _is_cdrom(value: str) -> bool:
    return drive(value).get("media") == "cdrom"


def _blockers(config: Mapping[str, str], delete: Collection[str]) -> Iterator[str]:
    yield from (f"{key}: {why}" for key, why in copy_config.harms(config) if key not in delete)
    for key, value in _keys(config, _VOLUME_HOLDER):
        if drive(value).get("file", "").startswith("/"):
            yield f"{key} is the node's own device {drive(value)['file']}"


# --- 3. what must hold before the copy may start ------------------------------------------------------------------------


def assertions(
    config: Mapping[str, str], *, scratch: Scratch, vmid: int, operation: str, network: str, ha_managed: bool
) -> tuple[Assertion, ...]:
    """Given a restored copy's config as just read back from PVE, return every condition of law 2, held or not, in a fixed order.

    The copy may start only if all hold. ``network`` is what the guest's policy says, ``ha_managed`` what PVE's HA says.
    """
    return (
        Assertion("range", vmid in scratch, f"VMID {vmid}, scratch range {scratch.first}-{scratch.last}"),
        Assertion("marker", ownership.marked(config, operation), f"marker of operation {operation} in the description"),
        _nics_hold(config, scratch, network),
        _absent("passthrough", _host_devices(config), "no device of the node is passed through"),
        _absent("media", _media(config), "no CD-ROM medium is inserted"),
        _disks_hold(config, vmid),
        _off("onboot", config),
        _off("template", config),
        *(_unset(key, config) for key in ("hookscript", "args", "lock")),
        _absent("options", _other_harms(config), "every option is known and may stay in a copy"),
        Assertion("ha", not ha_managed, "managed by HA" if ha_managed else "not managed by HA"),
    )


def _absent(name: str, found: Iterator[tuple[str, str]], good: str) -> Assertion:
    seen = [f"{key}: {value}" for key, value in found]
    return Assertion(name, not seen, "; ".join(seen) or good)


def _other_harms(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the allow-list refuses and no assertion of its own names."""
    named = copy_config.PASSTHROUGH | {"template", "hookscript", "args", "lock"}
    return ((key, why) for key, why in copy_config.harms(config) if copy_config.family(key) not in named)


def _off(key: str, config: Mapping[str, str]) -> Assertion:
    return Assertion(key, not maybe_on(config.get(key, "0")), f"{key} is {config.get(key, 'not set')}")


def _unset(key: str, config: Mapping[str, str]) -> Assertion:
    return Assertion(key, not config.get(key), f"{key} is {config.get(key) or 'not set'}")


def _nics_hold(config: Mapping[str, str], scratch: Scratch, network: str) -> Assertion:
    bad = [problem for key, value in _keys(config, _NIC) if (problem := _nic_problem(key, value, scratch, network))]
    where = f"on the isolated bridge {scratch.bridge}" if network == ISOLATED else "with its link down"
    seen = ", ".join(key for key, _ in _keys(config, _NIC))
    return Assertion("nics", not bad, "; ".join(bad) or (f"every NIC is {where}: {seen}" if seen else "there is no NIC"))


def _nic_problem(key: str, value: str, scratch: Scratch, network: str) -> str | None:
    try:
        nic = parse_nic(value)
    except PolicyError as error:
        return f"{key}: {error.message}"
    if network == ISOLATED and scratch.bridge and nic.bridge == scratch.bridge:
        return None
    if network == LINK_DOWN and nic.link_down:
        return None
    wanted = f"bridge {scratch.bridge or 'unnamed'}" if network == ISOLATED else "link down"
    return f"{key} is on bridge {nic.bridge or 'none'} with its link {'down' if nic.link_down else 'up'}, wanted {wanted}"


def _disks_hold(config: Mapping[str, str], vmid: int) -> Assertion:
    """Every volume must be named after the scratch VMID: ``storage:vm-9001-disk-0`` or ``storage:9001/vm-9001-disk-0.raw``."""
    own = re.compile(rf"[^:/,]+:(?:{vmid}/)?vm-{vmid}-[\w.+-]+")
    files = {key: drive(value).get("file", "") for key, value in _keys(config, _VOLUME_HOLDER)}
    foreign = [f"{key}: {file}" for key, file in files.items() if file != "none" and not own.fullmatch(file)]
    detail = f"every volume belongs to VM {vmid}: {', '.join(files) or 'there is none'}"
    return Assertion("disks", not foreign, f"not of VM {vmid}: {'; '.join(foreign)}" if foreign else detail)


# --- disks --------------------------------------------------------------------------------------------------------------

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)")


def disks_total(config: Mapping[str, str]) -> int:
    """Given a guest's config, return the bytes that its backed-up disks take when restored in full (their ``size=``)."""
    return sum(disk_size(config, key) or 0 for key in disks_to_dump(config))


def disk_size(config: Mapping[str, str], disk: str) -> int | None:
    """Given a guest's config and the key of a disk, return the bytes that its ``size=`` says, None if nothing does."""
    found = _SIZE.fullmatch(drive(config.get(disk, "")).get("size", ""))
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


def disks_to_dump(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a guest's config, return its disks that a backup must hold, by key: all but those with ``backup=0``."""
    return tuple(key for key, value in _disks(config) if maybe_on(drive(value).get("backup", "1")))


def _disks(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The guest's own disks: no CD-ROM, no cloud-init drive, no empty drive, no unused volume."""
    return ((key, value) for key, value in _keys(config, _DISK) if not _is_cdrom(value) and drive(value).get("file") != "none")


def holds_volume(key: str) -> bool:
    """Given a key of a VM's config, return whether its value names a volume: a disk, or one that is unused."""
    return _VOLUME_HOLDER.fullmatch(key) is not None


def missing_disks(archived: Mapping[str, str], restored: Mapping[str, str]) -> tuple[str, ...]:
    """Given the archived and the restored config, return the disks of the guest that the copy cannot have, by key.

    A disk is missing if it had ``backup=0`` (PVE comments it out on restore: pve-facts 7.2), if vzdump's map does not list it, or
    if the restored config lacks it. CD-ROMs, cloud-init drives and unused volumes are no disks of the guest.
    """
    dumped = {key.removeprefix(_MAP_PREFIX) for key in archived if key.startswith(_MAP_PREFIX)}
    return tuple(
        key
        for key, value in _disks(archived)
        if not maybe_on(drive(value).get("backup", "1")) or (dumped and key not in dumped) or key not in restored
    )
