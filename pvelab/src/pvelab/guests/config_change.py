"""A change of a guest's configuration: whether it may be made, and making it.

It takes effect at once: a running guest has its cables changed, everything else from its next start
on.
"""

from __future__ import annotations

from pvelab.guests import power
from pvelab.guests.access import REQUEST_ONLY, check_bridges, check_options, check_root_parameter
from pvelab.guests.creating import new_disk
from pvelab.guests.devices import DRIVE, NET, net, with_mac
from pvelab.guests.state import check_unlocked, save
from pvelab.guests.vzdump_options import split_list
from pvelab.kernel import Call, LabError, VmConfig, parameter_error
from pvelab.schema.endpoints import api
from pvelab.schema.validate import property_schema


class Change:
    """What a call sets, and what it deletes."""

    def __init__(self, call: Call) -> None:
        self.call, self.lab = call, call.lab
        self.given = {
            key: str(value) for key, value in call.params.items() if key not in REQUEST_ONLY
        }
        self.deleted = split_list(str(call.params.get("delete", "")))
        self.reverted = split_list(str(call.params.get("revert", "")))

    def check(self, vm: VmConfig) -> None:
        """Raise LabError in PVE's words unless the caller may make this change to this guest as it
        is now.
        """
        call = self.call
        check_root_parameter(call, "skiplock")
        if not self.given and not self.deleted and not self.reverted:
            raise LabError(500, "no options specified")
        for key in self.deleted:
            if key in self.given:
                raise parameter_error(
                    delete=f"you can't use '-{key}' and -delete {key}' at the same time"
                )
            found = api().find("POST", "/nodes/x/qemu")
            if (
                found is None
                or key in REQUEST_ONLY
                or property_schema(found[0].parameters, key) is None
            ):
                raise parameter_error(delete=f"unknown option '{key}'")
        if self.given.get("hookscript"):
            raise parameter_error(
                hookscript=f"script '{self.given['hookscript']}' does not exist\n"
            )
        check_options(
            call, vm.vmid, [*self.given, *self.deleted], values={**vm.config, **self.given}
        )
        check_bridges(call, self.given)
        # a change that was made on an older reading is refused (pve-facts 8.1)
        digest = call.params.get("digest")
        if digest is not None and digest != vm.digest:
            raise LabError(500, "checksum mismatch (file change by other user?)")
        if not call.params.get("skiplock"):
            check_unlocked(vm)

    def apply(self) -> None:
        """Make the change, under the guest's file lock."""
        # who may not change it is told so first (10_permissions 168)
        if self.lab.guests.get(self.call.vmid) is None:
            check_options(self.call, self.call.vmid, [*self.given, *self.deleted])
        with self.lab.guests.lock(self.call.vmid):
            vm = self.lab.guests.need(self.call.node, self.call.vmid)
            self.check(vm)
            config = dict(vm.config)
            for key in self.deleted:
                old = config.pop(key, None)
                # a disk is not lost but becomes an unused one
                if old and DRIVE.fullmatch(key) and "media=cdrom" not in old:
                    number = next(n for n in range(len(config) + 1) if f"unused{n}" not in config)
                    config[f"unused{number}"] = old.split(",")[0]
            for key, value in self.given.items():
                config[key] = (
                    with_mac(value)
                    if NET.fullmatch(key)
                    else new_disk(self.lab, vm, key, value, [])
                )
            # an emptied description leaves no line (01b_encoding 19)
            if not config.get("description", "-"):
                del config["description"]
            before = vm.config
            save(self.lab, vm, config)
            machine = power.machine_of(self.lab, vm.vmid)
            if machine is None:
                return
            # a running guest's cables are plugged and pulled at once; a NIC that it was not started
            # with waits for its next start
            started_with = {nic.index for nic in machine.spec.nics}
            for key in {key for key in (*vm.config, *before) if NET.fullmatch(key)}:
                index, was, now = int(key[3:]), _link(before.get(key)), _link(vm.config.get(key))
                if index in started_with and was != now:
                    machine.set_link(index, now)


def _link(value: str | None) -> bool:
    return value is not None and net(value).get("link_down", "0") != "1"
