"""A vzdump call's options: conflicts, rights, defaults, and the line that a job starts with
(pve-manager PVE/VZDump.pm).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pvelab.guests import notes
from pvelab.guests.access import check_root_parameter
from pvelab.guests.prune import parse_keep
from pvelab.kernel import Call, Lab, LabError, parameter_error

DEFAULT_STORAGE, KEEP_ALL = "local", "keep-all=1"
_ROOT_ONLY = ("tmpdir", "dumpdir", "script", "job-id")


@dataclass(frozen=True)
class Options:
    """What a job is to do, defaults filled in. ``lockwait`` and ``stopwait`` in minutes,
    ``bwlimit`` in KiB/s (0: none).

    ``keep`` is the retention in force, as a property string; ``may_protect_freely`` lifts the
    default limit on protected ones. ``exclude_paths`` and ``standard_excludes`` say what of a
    container's files stays out.
    """

    vmids: tuple[int, ...]
    storage: str
    mode: str
    compress: str
    keep: str
    remove: bool
    protected: bool
    notes_template: str
    bwlimit: int
    lockwait: int
    stopwait: int
    ionice: int
    may_protect_freely: bool
    all: bool
    command: str
    exclude_paths: tuple[str, ...] = ()
    standard_excludes: bool = True


def check(call: Call) -> None:
    """Raise LabError for options that exclude each other, that only root may give, or that the
    caller lacks a right for.
    """
    params = call.params
    if params.get("stdout"):
        raise parameter_error(stdout="option is only allowed on the command line interface.")
    check_root_parameter(call, *_ROOT_ONLY, text="Only root may set this option.")
    for name in ("all", "exclude", "pool"):
        if params.get("vmid") and params.get(name):
            raise parameter_error(**{name: "option conflicts with option 'vmid'"})
    if not any(params.get(name) for name in ("vmid", "all", "exclude", "pool", "stop")):
        raise parameter_error(vmid="property is missing")
    if params.get("pool"):
        raise LabError(500, f"pool '{params['pool']}' does not exist")
    if (wrong := notes.problem(params.get("notes-template", ""))) is not None:
        raise parameter_error(notes_template=wrong)
    # before the task these rights alone: VM.Backup is looked at in it (pve-facts 3.3)
    if params.get("storage"):
        call.check(f"/storage/{params['storage']}", "Datastore.AllocateSpace")
    # who overrules a storage's retention must be allowed to change that storage (pve-facts 3.2)
    if "prune-backups" in params:
        call.check(f"/storage/{params.get('storage', DEFAULT_STORAGE)}", "Datastore.Allocate")
    if any(params.get(name) is not None for name in ("bwlimit", "ionice", "performance")):
        call.check("/", "Sys.Modify")


def options(call: Call, vmids: tuple[int, ...]) -> Options:
    """Given a checked call and the guests it is about, return what the job is to do."""
    params, storage = call.params, call.params.get("storage", DEFAULT_STORAGE)
    keep = effective_keep(call.lab, storage, params.get("prune-backups"))
    return Options(
        vmids=vmids,
        storage=storage,
        mode=params.get("mode", "snapshot"),
        compress=params.get("compress", "0"),
        keep=keep,
        # without it a finite retention is a limit that refuses the dump (pve-facts 3.2)
        remove=bool(params.get("remove", 1)) and bool(parse_keep(keep)),
        protected=bool(params.get("protected")),
        notes_template=params.get("notes-template", ""),
        bwlimit=params.get("bwlimit", 0),
        lockwait=params.get("lockwait", 180),
        stopwait=params.get("stopwait", 10),
        ionice=params.get("ionice", 7),
        may_protect_freely=call.allowed(f"/storage/{storage}", "Datastore.Allocate"),
        all=bool(params.get("all") or params.get("exclude")),
        command=command(params),
        exclude_paths=tuple(params.get("exclude-path", ())),
        standard_excludes=bool(params.get("stdexcludes", 1)),
    )


def effective_keep(lab: Lab, storage: str, asked: str | None) -> str:
    """Return the retention in force: the request's, else the storage's, else keep-all; its keys
    sorted as PVE prints them.
    """
    own = lab.storages[storage].options.get("prune-backups") if storage in lab.storages else None
    chosen = asked if asked is not None else own or KEEP_ALL
    return ",".join(sorted(part for part in chosen.split(",") if part)) or KEEP_ALL


def command(params: Mapping[str, Any]) -> str:
    """Return the command line that the log's first line shows; called over the API it always ends
    up with ``--node``.
    """
    words = ["vzdump", *split_list(params.get("vmid", ""))]
    for name in sorted(params, key=lambda name: (name == "node", name)):
        value = params[name]
        if name == "vmid":
            continue
        if name == "prune-backups":
            value = ",".join(sorted(str(value).split(",")))
        words += [f"--{name}", shell_quoted(str(value))]
    return " ".join(words)


def shell_quoted(word: str) -> str:
    """Return a word as Perl's String::ShellQuote writes it: in quotes only where a shell would read
    it otherwise.

    Unlike Python's own it spares ``!`` and ``^`` and quotes ``=``, which a shell takes for an
    assignment in front of a command.
    """
    if word and not re.search(r"[^\w!%+,\-./:@^]", word, re.ASCII):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def split_list(text: str) -> list[str]:
    """Given one of PVE's list strings (comma, semicolon, blank), return its parts."""
    return text.replace(";", ",").replace(" ", ",").replace("\0", ",").split(",") if text else []


def defaults(call: Call, storage: str) -> dict[str, Any]:
    """Return what GET /vzdump/defaults answers."""
    return {
        "all": 0,
        "bwlimit": 0,
        "compress": "0",
        "dumpdir": str(call.lab.storage_dir(call.node, storage) / "dump"),
        "fleecing": {"enabled": 0},
        "ionice": 7,
        "lockwait": 180,
        "mailnotification": "always",
        "mode": "snapshot",
        "notification-mode": "auto",
        "performance": {"max-workers": 16, "pbs-entries-max": 1048576},
        "pigz": 0,
        "prune-backups": effective_keep(call.lab, storage, None),
        "quiet": 0,
        "remove": 1,
        "stdexcludes": 1,
        "stop": 0,
        "stopwait": 10,
        "storage": storage,
        "zstd": 1,
    }
