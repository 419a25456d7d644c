"""Make a copy of a guest harmless, and state what must hold before it may start (law 2).

Three steps, each a pure function. ``overrides`` goes with the restore call, so that the copy never
exists with a production NIC. ``strip`` says what to delete afterwards, for a restore cannot delete
keys (pve-facts 7.1). ``assertions`` judges the config that PVE then holds. A guest's config is a
map of key to text, as PVE's API gives it or ``parse_config`` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies import copy_config, ownership
from policies.model import PolicyError, Scratch
from policies.pve import guest_config
from policies.pve.property_string import maybe_on

ISOLATED, LINK_DOWN = "isolated", "link-down"

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Strip:
    """What a restored copy must lose: keys to ``delete``, a sentence each, and ``blockers`` that
    only root@pam may change.
    """

    delete: tuple[str, ...]
    stripped: tuple[str, ...]
    blockers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    """One condition of law 2, whether it holds, and what was seen."""

    name: str
    holds: bool
    detail: str


# --- 1. what goes with the restore call -----------------------------------------------------------


def overrides(
    config: Mapping[str, str],
    *,
    scratch: Scratch,
    network: str,
    operation: str,
    memory: int | None,
    service: str = "",
) -> dict[str, str]:
    """Given an archived config, return the options to send with its restore, so that the copy is
    isolated from its first moment.

    Every NIC of the archive keeps model and MAC and loses everything else; ``network`` is
    ``isolated`` or ``link-down``; ``memory`` caps the copy's memory in MiB; ``service`` is the
    identity that marks the copy beside ``operation``. Raise PolicyError if the policy names no
    isolated bridge where one is needed. No drive and no NIC that the archive lacks is ever named:
    PVE refuses the first and would add the second (pve-facts 7.1).
    """
    sent = {
        key: _isolated_nic(key, value, scratch, network) for key, value in guest_config.nics(config)
    }
    marker = ownership.mark(operation, service)
    description = f"{marker}\nCopy made by a restore test. It will be destroyed when the test ends."
    sent |= {"onboot": "0", "description": description}
    drive_of = copy_config.cloud_init(config)
    if drive_of is None:
        # a valid DNS label, which PVE demands, that shows in PVE's own tree what this guest is
        original = re.sub(r"[^A-Za-z0-9-]+", "-", config.get("name", "") or operation)
        sent["name"] = f"restore-test-{original}"[:63].rstrip("-")
    elif not config.get("name"):
        # The data on its cloud-init drive names it, if need be after its VMID. By another name it
        # would take itself for a new instance, with new host keys, users and first-boot scripts.
        sent["name"] = f"VM{drive_of[1]}"
    sent |= copy_config.replacements(config)
    if memory is not None and guest_config.memory_of(config) > memory:
        sent["memory"] = str(memory)
        if config.get("balloon", "").isdigit() and int(config["balloon"]) > memory:
            sent["balloon"] = str(memory)  # PVE refuses a balloon above the memory
    return sent


def _isolated_nic(key: str, value: str, scratch: Scratch, network: str) -> str:
    nic = guest_config.parse_nic(value)
    if network not in (ISOLATED, LINK_DOWN):
        raise PolicyError(
            f"network {network!r} is not known: allowed are {ISOLATED} and {LINK_DOWN}"
        )
    if network == ISOLATED and not scratch.bridge:
        raise PolicyError(
            f"network {ISOLATED} needs scratch.bridge, the isolated bridge, and the policy names "
            "none"
        )
    bridge = scratch.bridge or nic.bridge
    if not bridge:  # without a bridge QEMU would give the copy a way out through the node itself
        raise PolicyError(
            f"{key} of the archive is on no bridge, so its copy needs scratch.bridge, and the "
            "policy names none"
        )
    parts = [f"{nic.model}={nic.mac}" if nic.mac else nic.model, f"bridge={bridge}"]
    return ",".join(parts + (["link_down=1"] if network == LINK_DOWN else []))


def changes(config: Mapping[str, str], sent: Mapping[str, str]) -> tuple[str, ...]:
    """Given an archived config and its overrides, return one sentence for each thing that the copy
    has otherwise: evidence.
    """
    said: list[str] = []
    for key in sorted(set(sent) - {"description"}):
        if guest_config.is_nic(key):
            old, new = guest_config.parse_nic(config[key]), guest_config.parse_nic(sent[key])
            if old.bridge != new.bridge:
                said.append(f"{key}: bridge {old.bridge or 'not set'} became {new.bridge}")
            if new.link_down and not old.link_down:
                said.append(f"{key}: link taken down")
            if old.link_down and not new.link_down:
                said.append(f"{key}: link brought up, on the isolated bridge")
            said += (f"{key}: {name}={value} dropped" for name, value in sorted(old.others.items()))
        elif key != "onboot" or maybe_on(config.get(key, "0")):
            said.append(f"{key}: {config.get(key, 'not set')} became {sent[key]}")
    return tuple(said)


# --- 2. what the restored copy must lose ----------------------------------------------------------


def strip(config: Mapping[str, str], sent: Mapping[str, str] = _NOTHING) -> Strip:
    """Given a restored copy's config and the overrides of its restore, return the keys to delete
    before it may start.

    Each comes with its sentence. A blocker is what a token may not change, or what nobody knows
    (policies.copy_config), so the copy must not be started. A USB device that an override replaced
    goes too: a SPICE one does not start on every display.
    """
    devices = [(key, config[key]) for key in config if copy_config.mapped_pci(key, config[key])]
    devices += [
        (key, config[key])
        for key in sent
        if copy_config.family(key) == "usb#" and config.get(key) == sent[key]
    ]
    found = [
        *((key, f"{key}: host device {value} removed") for key, value in sorted(devices)),
        *((key, f"{key}: medium {value} removed") for key, value in _media(config)),
        *(
            (key, f"{key}: {config[key]} removed")
            for key in ("onboot", "protection")
            if maybe_on(config.get(key, "0"))
        ),
    ]
    delete = tuple(key for key, _ in found)
    blockers = [f"{key}: {why}" for key, why in copy_config.harms(config) if key not in delete]
    for key, value in guest_config.volumes(config):
        file = guest_config.drive(value).get("file", "")
        if file.startswith("/"):
            blockers.append(f"{key} is the node's own device {file}")
    return Strip(delete, tuple(sentence for _, sentence in found), tuple(blockers))


def _media(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """CD-ROM drives with a medium: an ISO of production, or the node's own drive. Never a
    cloud-init drive.
    """
    for key, value in guest_config.drives(config):
        file = guest_config.drive(value).get("file", "")
        if (
            guest_config.is_cdrom(value)
            and file != "none"
            and not copy_config.freed_when_deleted(file)
        ):
            yield key, value


# --- 3. what must hold before the copy may start --------------------------------------------------


def assertions(
    config: Mapping[str, str],
    *,
    scratch: Scratch,
    vmid: int,
    operation: str,
    network: str,
    ha_managed: bool,
) -> tuple[Assertion, ...]:
    """Given a restored copy's config as just read back from PVE, return every condition of law 2,
    held or not, in a fixed order.

    The copy may start only if all hold. ``network`` is what the guest's policy says, ``ha_managed``
    what PVE's HA says.
    """
    harms = [(key, copy_config.family(key), why) for key, why in copy_config.harms(config)]
    devices = ((key, config[key]) for key, family, _ in harms if family in copy_config.PASSTHROUGH)
    # What the allow-list refuses and no assertion of its own names.
    named = copy_config.PASSTHROUGH | {"template", "hookscript", "args", "lock"}
    others = ((key, why) for key, family, why in harms if family not in named)
    return (
        Assertion(
            "range", vmid in scratch, f"VMID {vmid}, scratch range {scratch.first}-{scratch.last}"
        ),
        Assertion(
            "marker",
            ownership.marked(config, operation),
            f"marker of operation {operation} in the description",
        ),
        _nics_hold(config, scratch, network),
        _absent("passthrough", devices, "no device of the node is passed through"),
        _absent("media", _media(config), "no CD-ROM medium is inserted"),
        _disks_hold(config, vmid),
        _off("onboot", config),
        _off("template", config),
        *(
            Assertion(key, not config.get(key), f"{key} is {config.get(key) or 'not set'}")
            for key in ("hookscript", "args", "lock")
        ),
        _absent("options", others, "every option is known and may stay in a copy"),
        Assertion("ha", not ha_managed, "managed by HA" if ha_managed else "not managed by HA"),
    )


def _absent(name: str, found: Iterator[tuple[str, str]], good: str) -> Assertion:
    seen = [f"{key}: {value}" for key, value in found]
    return Assertion(name, not seen, "; ".join(seen) or good)


def _off(key: str, config: Mapping[str, str]) -> Assertion:
    return Assertion(
        key, not maybe_on(config.get(key, "0")), f"{key} is {config.get(key, 'not set')}"
    )


def _nics_hold(config: Mapping[str, str], scratch: Scratch, network: str) -> Assertion:
    where, wanted = (
        (f"on the isolated bridge {scratch.bridge}", f"bridge {scratch.bridge or 'unnamed'}")
        if network == ISOLATED
        else ("with its link down", "link down")
    )
    bad: list[str] = []
    for key, value in guest_config.nics(config):
        try:
            nic = guest_config.parse_nic(value)
        except PolicyError as error:
            bad.append(f"{key}: {error.message}")
            continue
        # a network of any other name holds nothing: no NIC is right then
        isolated = network == ISOLATED and scratch.bridge and nic.bridge == scratch.bridge
        if not isolated and not (network == LINK_DOWN and nic.link_down):
            bad.append(
                f"{key} is on bridge {nic.bridge or 'none'} with its link "
                f"{'down' if nic.link_down else 'up'}, wanted {wanted}"
            )
    seen = ", ".join(key for key, _ in guest_config.nics(config))
    return Assertion(
        "nics",
        not bad,
        "; ".join(bad) or (f"every NIC is {where}: {seen}" if seen else "there is no NIC"),
    )


def _disks_hold(config: Mapping[str, str], vmid: int) -> Assertion:
    """Every volume must be named after the scratch VMID: ``storage:vm-9001-disk-0`` or
    ``storage:9001/vm-9001-disk-0.raw``.
    """
    own = re.compile(rf"[^:/,]+:(?:{vmid}/)?vm-{vmid}-[\w.+-]+")
    files = {
        key: guest_config.drive(value).get("file", "")
        for key, value in guest_config.volumes(config)
    }
    foreign = [
        f"{key}: {file}"
        for key, file in files.items()
        if file != "none" and not own.fullmatch(file)
    ]
    detail = f"every volume belongs to VM {vmid}: {', '.join(files) or 'there is none'}"
    return Assertion(
        "disks", not foreign, f"not of VM {vmid}: {'; '.join(foreign)}" if foreign else detail
    )
