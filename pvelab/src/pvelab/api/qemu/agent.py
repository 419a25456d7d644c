"""/nodes/{node}/qemu/{vmid}/agent: the guest agent's calls, in PVE's wrappings and words (pve-facts
8.5, 8.6).
"""

from __future__ import annotations

import base64
import functools
from typing import Any

from pvelab.guests import power
from pvelab.guests.devices import agent_enabled
from pvelab.kernel import Call, LabError, Machine, parameter_error, route
from pvelab.schema.endpoints import api
from pvelab.schema.validate import UNKNOWN
from pvelab.vmm.machine import AgentFailure, AgentSilent

_BASE = "/nodes/{node}/qemu/{vmid}/agent"
_READ_COMMANDS = (
    *(
        "get-fsinfo",
        "get-host-name",
        "get-memory-block-info",
        "get-memory-blocks",
        "get-osinfo",
        "get-time",
        "get-timezone",
    ),
    *("get-users", "get-vcpus", "info", "network-get-interfaces"),
)
_WRITE_COMMANDS = (
    "fsfreeze-freeze",
    "fsfreeze-status",
    "fsfreeze-thaw",
    "fstrim",
    "ping",
    "shutdown",
    "suspend-disk",
)
_OWN_FORM = ("exec", "exec-status", "file-read", "file-write", "set-user-password")
_LARGEST_READ = 16 * 1024 * 1024
_READ_CHUNK = 1024 * 1024
_ANSWER_TIMEOUT = 5.0
_READS_SINCE_915 = ("offset", "count", "decode")
_WIDE = "Wide character in subroutine entry at /usr/share/perl5/PVE/API2/Qemu/Agent.pm line 580."
_SLOW = {"guest-fsfreeze-freeze": 60.0, "guest-fsfreeze-thaw": 60.0, "guest-fstrim": 60.0}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent")
def index(call: Call) -> Any:
    """Return the directory of agent calls."""
    return [{"name": name} for name in sorted((*_READ_COMMANDS, *_WRITE_COMMANDS, *_OWN_FORM))]


@route("POST", "/nodes/{node}/qemu/{vmid}/agent")
def old_form(call: Call) -> Any:
    """Run a call by its name, the old way."""
    return _generic(call, call.params["command"])


@route("POST", "/nodes/{node}/qemu/{vmid}/agent/exec")
def execute(call: Call) -> Any:
    """Start a program in the guest; only its process id comes back."""
    machine = _machine(call)
    path, *arguments = call.params["command"]
    request: dict[str, Any] = {"path": path, "arg": arguments, "capture-output": True}
    if "input-data" in call.params:
        request["input-data"] = base64.b64encode(call.params["input-data"].encode()).decode()
    return {"pid": _ask(machine, "guest-exec", request)["pid"]}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status")
def execution(call: Call) -> Any:
    """Return a program's state; its result can be fetched once."""
    found = _ask(_machine(call), "guest-exec-status", {"pid": call.params["pid"]})
    row: dict[str, Any] = {"exited": int(found["exited"])}
    row |= {key: int(found[key]) for key in ("exitcode", "signal") if key in found}
    for stream in ("out", "err"):
        if f"{stream}-data" in found:
            # each byte becomes one character, as Perl lets it (pve-facts 8.6)
            row[f"{stream}-data"] = base64.b64decode(found[f"{stream}-data"]).decode("latin-1")
            row[f"{stream}-truncated"] = int(found.get(f"{stream}-truncated", 0))
    return row


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/file-read")
def read_file(call: Call) -> Any:
    """Return a file of the guest, at most 16 MiB of it: ``count`` bytes from ``offset``, as base64
    with ``decode=0`` (9.1.5).
    """
    if not call.lab.release.newer and (
        unknown := [name for name in _READS_SINCE_915 if name in call.params]
    ):
        raise parameter_error(**dict.fromkeys(unknown, UNKNOWN))
    machine, content, ended = _machine(call), b"", False
    offset, count = int(call.params.get("offset", 0)), int(call.params.get("count", _LARGEST_READ))
    handle = _ask(machine, "guest-file-open", {"path": call.params["file"], "mode": "r"})
    try:
        while not ended and len(content) < offset + count:
            part = _ask(machine, "guest-file-read", {"handle": handle, "count": _READ_CHUNK})
            content += base64.b64decode(part["buf-b64"])
            ended = bool(part["eof"])
    finally:
        _ask(machine, "guest-file-close", {"handle": handle})
    part = content[offset : offset + count]
    if call.params.get("decode", 1):
        text = part.decode("latin-1")  # each byte as one character
    else:
        # every piece that the agent handed over is encoded by itself
        pieces = [part[start : start + _READ_CHUNK] for start in range(0, len(part), _READ_CHUNK)]
        text = "".join(base64.b64encode(piece).decode() for piece in pieces)
    row = {"content": text, "bytes-read": len(part)}
    return row if ended and len(content) <= offset + count else {**row, "truncated": 1}


@route("POST", "/nodes/{node}/qemu/{vmid}/agent/file-write")
def write_file(call: Call) -> Any:
    """Write a file in the guest; characters are bytes, unless ``encode=0`` says that they are
    base64 already.
    """
    machine, content = _machine(call), call.params["content"]
    encoded = content
    if call.params.get("encode", 1):
        try:
            encoded = base64.b64encode(content.encode("latin-1")).decode()
        except UnicodeEncodeError:
            raise LabError(500, _WIDE) from None
    handle = _ask(machine, "guest-file-open", {"path": call.params["file"], "mode": "wb"})
    try:
        _ask(machine, "guest-file-write", {"handle": handle, "buf-b64": encoded})
    finally:
        _ask(machine, "guest-file-close", {"handle": handle})


def _generic(call: Call, name: str) -> Any:
    """Most calls pass the agent's answer on as ``result``, its errors included: those are no HTTP
    errors (pve-facts 8.5).
    """
    machine = _machine(call)
    command = f"guest-{name}"
    try:
        return {"result": machine.agent(command, timeout=_SLOW.get(command, _ANSWER_TIMEOUT))}
    except AgentFailure as error:
        return {"result": {"error": {"class": "GenericError", "desc": error.desc}}}
    except AgentSilent:
        if name == "shutdown":  # a guest that goes down does not answer
            return {"result": None}
        raise LabError(500, "QEMU guest agent is not running") from None


def _machine(call: Call) -> Machine:
    """The guest's machine, its agent answering. Raise LabError 500 with PVE's text, silent agents
    after three seconds.
    """
    vm = call.lab.guests.need(call.node, call.vmid)
    machine = power.machine_of(call.lab, vm.vmid)
    # a running machine keeps the agent that it was started with: the option is pending until its
    # next start
    if not agent_enabled(vm.config) or (machine is not None and not machine.spec.agent):
        raise LabError(500, "No QEMU guest agent configured")
    if machine is None:
        raise LabError(500, f"VM {vm.vmid} is not running")
    if not power.agent_answers(machine):
        raise LabError(500, "QEMU guest agent is not running")
    return machine


def _ask(machine: Machine, command: str, arguments: dict[str, Any]) -> Any:
    try:
        return machine.agent(command, arguments, timeout=_ANSWER_TIMEOUT)
    except AgentFailure as error:
        raise LabError(500, f"Agent error: {error.desc}") from error
    except AgentSilent as error:
        raise LabError(500, "QEMU guest agent is not running") from error


# every agent call of the schema that has no form of its own
for _endpoint in api().endpoints:
    _name = _endpoint.path.removeprefix(f"{_BASE}/")
    if _endpoint.path.startswith(f"{_BASE}/") and _name not in _OWN_FORM:
        route(_endpoint.method, _endpoint.path)(functools.partial(_generic, name=_name))
