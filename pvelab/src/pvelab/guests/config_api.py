"""/nodes/{node}/qemu/{vmid}/config: reading and changing a guest's configuration (qemu-server PVE/API2/Qemu.pm; OBSERVED 24).

Changes take effect at once here: a running guest has its cables changed, everything else from its next start on.
"""

from __future__ import annotations

from typing import Any

from pvelab.api.schema import api
from pvelab.api.validate import property_schema
from pvelab.guests import power
from pvelab.guests.access import REQUEST_ONLY, check_bridges, check_options, check_root_parameter
from pvelab.guests.create_api import new_disk
from pvelab.guests.devices import DRIVE, NET, net, with_mac
from pvelab.guests.state import check_unlocked, save, typed
from pvelab.guests.vzdump_options import split_list
from pvelab.kernel import Call, Lab, LabError, TaskLog, VmConfig, parameter_error, route

_BASE = "/nodes/{node}/qemu/{vmid}"


@route("GET", _BASE + "/config")
def read(call: Call) -> Any:
    """Return a guest's configuration with the digest of its file."""
    vm = call.lab.guests.need(call.node, call.vmid)
    return {**typed(vm.config), "digest": vm.digest}


@route("GET", _BASE + "/pending")
def pending(call: Call) -> Any:
    """Return every option with its value; nothing is ever pending here."""
    vm = call.lab.guests.need(call.node, call.vmid)
    return [{"key": key, "value": value} for key, value in {**typed(vm.config), "digest": vm.digest}.items()]


@route("GET", _BASE + "/snapshot")
def snapshots(call: Call) -> Any:
    """Return the guest's snapshots: the lab makes none, so only the present."""
    vm = call.lab.guests.need(call.node, call.vmid)
    running = int(power.machine_of(call.lab, vm.vmid) is not None)
    return [{"name": "current", "description": "You are here!", "digest": vm.digest, "running": running}]


@route("PUT", _BASE + "/config")
def update(call: Call) -> Any:
    """Change the configuration at once."""
    _Change(call).apply()


@route("POST", _BASE + "/config")
def update_in_task(call: Call) -> Any:
    """Change the configuration in a task; with ``background_delay`` wait for it."""
    change = _Change(call)
    change.check(call.lab.guests.need(call.node, call.vmid))
    shown = " ".join(f"-{key} {value}" for key, value in change.given.items())

    def work(log: TaskLog) -> None:
        log.line(f"update VM {call.vmid}: {shown}")
        change.apply()

    upid = call.spawn("qmconfig", call.vmid, work)
    if not call.params.get("background_delay"):
        return upid
    result = call.lab.tasks.wait(upid, float(call.params["background_delay"]))
    if result != "OK":
        raise LabError(500, result)
    return None


class _Change:
    """A change of a configuration: what is set, what is deleted."""

    def __init__(self, call: Call) -> None:
        self.call, self.lab = call, call.lab
        self.given = {key: str(value) for key, value in call.params.items() if key not in REQUEST_ONLY}
        self.deleted = split_list(str(call.params.get("delete", "")))
        self.reverted = split_list(str(call.params.get("revert", "")))

    def check(self, vm: VmConfig) -> None:
        """Raise LabError in PVE's words unless the caller may make this change to this guest as it is now."""
        call = self.call
        check_root_parameter(call, "skiplock")
        if not self.given and not self.deleted and not self.reverted:
            raise LabError(500, "no options specified")
        for key in self.deleted:
            if key in self.given:
                raise parameter_error(delete=f"you can't use '-{key}' and -delete {key}' at the same time")
            if not _known(key):
                raise parameter_error(delete=f"unknown option '{key}'")
        if self.given.get("hookscript"):
            raise parameter_error(hookscript=f"script '{self.given['hookscript']}' does not exist\n")
        check_options(call, vm.vmid, [*self.given, *self.deleted], values={**vm.config, **self.given})
        check_bridges(call, self.given)
        digest = call.params.get("digest")
        if digest is not None and digest != vm.digest:
            raise LabError(500, "checksum mismatch (file change by other user?)")
        if not call.params.get("skiplock"):
            check_unlocked(vm)

    def apply(self) -> None:
        """Make the change, under the guest's file lock."""
        if self.lab.guests.get(self.call.vmid) is None:  # who may not change it is told so first (10_permissions 168)
            check_options(self.call, self.call.vmid, [*self.given, *self.deleted])
        with self.lab.guests.lock(self.call.vmid):
            vm = self.lab.guests.need(self.call.node, self.call.vmid)
            self.check(vm)
            config = dict(vm.config)
            for key in self.deleted:
                _delete(config, key)
            for key, value in self.given.items():
                config[key] = with_mac(value) if NET.fullmatch(key) else new_disk(self.lab, vm, key, value, [])
            if not config.get("description", "-"):  # an emptied description leaves no line (01b_encoding 19)
                del config["description"]
            before = vm.config
            save(self.lab, vm, config)
            _replug(self.lab, vm, before)


def _known(key: str) -> bool:
    found = api().find("POST", "/nodes/x/qemu")
    return found is not None and key not in REQUEST_ONLY and property_schema(found[0].parameters, key) is not None


def _delete(config: dict[str, str], key: str) -> None:
    """Take an option away; a disk is not lost but becomes an unused one."""
    old = config.pop(key, None)
    if old and DRIVE.fullmatch(key) and "media=cdrom" not in old:
        number = next(n for n in range(len(config) + 1) if f"unused{n}" not in config)
        config[f"unused{number}"] = old.split(",")[0]


def _replug(lab: Lab, vm: VmConfig, before: dict[str, str]) -> None:
    """Plug and pull the cables of a running guest as its configuration says now."""
    machine = power.machine_of(lab, vm.vmid)
    if machine is None:
        return
    started_with = {nic.index for nic in machine.spec.nics}
    for key in {key for key in (*vm.config, *before) if NET.fullmatch(key)}:
        index, was, now = int(key[3:]), _link(before.get(key)), _link(vm.config.get(key))
        if index in started_with and was != now:
            machine.set_link(index, now)


def _link(value: str | None) -> bool:
    return value is not None and net(value).get("link_down", "0") != "1"
