"""What the fake cluster answers of its guests, and what it lets be done to them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.fakes.cluster_calls import Asked
from tests.fakes.recorded import data
from tests.fakes.state import INTERRUPTED, STUB, Guest, Refusal, State

# a real server's words on a guest that runs, and on one that does not
RUNS, STOPPED = (
    {
        key: value
        for key, value in data("02_inventory", place).items()
        if key not in ("tags", "agent")
    }
    for place in (22, 23)
)
# options that PVE tells as numbers; the others it tells as they stand in the file
_NUMBERS = frozenset({"cores", "kvm", "numa", "onboot", "protection", "sockets", "template"})
_MARKER = re.compile(r"operation-(\w+)")


class GuestCalls(State):
    """The calls about guests."""

    def digest(self, vmid: int) -> str:
        """PVE's name for the state of a config."""
        return hashlib.sha1(repr(sorted(self.guests[vmid].config.items())).encode()).hexdigest()

    def _restore(self, node: str, *, asked: Asked) -> Any:
        vmid, volid = int(asked["vmid"]), str(asked["archive"])
        if (there := self.guests.get(vmid)) is not None:
            raise Refusal(
                500,
                f"unable to restore VM {vmid} - VM {vmid} already exists on node '{there.node}'",
            )
        held = self.held_by(node, volid)
        guest = self.guests[vmid] = Guest(node, {"lock": "create"}, running=False)
        marked = _MARKER.search(str(asked.get("description", "")))

        def finish(exitstatus: str) -> None:
            if self.guests.get(vmid) is not guest:
                return
            if exitstatus != "OK":
                guest.config = dict(STUB) if exitstatus == INTERRUPTED else {"memory": "128"}
                return
            guest.config = held | {"scsi0": f"local:{vmid}/vm-{vmid}-disk-0.raw"} | _kept(asked)

        guest.made_by = self._start(node, "qmrestore", vmid, finish, marked[1] if marked else None)
        return guest.made_by

    def _config(self, node: str, vmid: str, *, asked: Asked) -> Any:
        self._guest(node, vmid)
        self.on_read(int(vmid))
        return {
            key: int(value) if key in _NUMBERS else value
            for key, value in self._guest(node, vmid).config.items()
        } | {"digest": self.digest(int(vmid))}

    def _pending(self, node: str, vmid: str, *, asked: Asked) -> Any:
        guest = self._guest(node, vmid)
        now = guest.config | {"digest": self.digest(int(vmid))}
        return [
            {"key": key}
            | ({"value": now[key]} if key in now else {})
            | ({"pending": guest.later[key]} if key in guest.later else {})
            for key in now | guest.later
        ]

    def _change(self, node: str, vmid: str, *, asked: Asked) -> Any:
        guest = self._guest(node, vmid)
        if asked.get("digest") not in (None, self.digest(int(vmid))):
            raise Refusal(500, "checksum mismatch (file change by other user?)")
        for name in [name for name in str(asked.get("delete", "")).split(",") if name]:
            guest.config.pop(name, None)
        guest.config.update(
            {name: str(value) for name, value in asked.items() if name not in ("delete", "digest")}
        )

    def _status(self, node: str, vmid: str, *, asked: Asked) -> Any:
        guest, number = self._guest(node, vmid), int(vmid)
        own = {
            "vmid": number,
            "name": guest.config.get("name", f"VM {vmid}"),
            "ha": {"managed": int(number in self.ha - self.ha_ignored)},
        }
        said = (RUNS if guest.running else STOPPED) | own
        if "description" not in guest.config:  # copies are not asked
            said["agent"] = 1
        if self._dumps(number):
            said["lock"] = "backup"
        if not self.tells_ha:
            del said["ha"]
        return said

    def _dumps(self, vmid: int) -> list[str]:
        return [
            task.upid
            for task in self.running.values()
            if task.vmid == vmid and task.type == "vzdump"
        ]

    def _fsfreeze_status(self, node: str, vmid: str, *, asked: Asked) -> Any:
        """Never while a dump of the guest runs: that is what whoever asks has to see to."""
        self._guest(node, vmid)
        dumps = self._dumps(int(vmid))
        assert not dumps, f"the agent of guest {vmid} is asked while {dumps} runs"
        return {"result": "thawed"}

    def _fsfreeze_thaw(self, node: str, vmid: str, *, asked: Asked) -> Any:
        self._guest(node, vmid)
        return {"result": 0}

    def _power(self, node: str, vmid: str, verb: str, *, asked: Asked) -> Any:
        guest = self._guest(node, vmid)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK":
                guest.running = verb == "start"

        return self._start(node, f"qm{verb}", int(vmid), finish)

    def _destroy(self, node: str, vmid: str, *, asked: Asked) -> Any:
        guest = self._guest(node, vmid)
        if guest.running:
            raise Refusal(500, f"VM {vmid} is running - destroy failed")
        self.on_destroy(self.operation(), int(vmid), guest.config)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK" and self.guests.get(int(vmid)) is guest:
                del self.guests[int(vmid)]

        return self._start(node, "qmdestroy", int(vmid), finish)

    def _guest(self, node: str, vmid: str) -> Guest:
        guest = self.guests.get(int(vmid))
        if guest is None or guest.node != node:
            raise Refusal(
                500, f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist"
            )
        return guest


def _kept(asked: Asked) -> dict[str, str]:
    """What a restore was told of the new guest's config."""
    return {
        key: str(value) for key, value in asked.items() if key not in ("vmid", "archive", "storage")
    }
