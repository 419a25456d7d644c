"""The kinds of faults and their options, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pvelab.errors import UsageError

Value = str | int | float
# options that say nothing of what a fault of the API does
_UNUSED = {
    "error": ("seconds",),
    "delay": ("status", "text"),
    **dict.fromkeys(("drop", "drop-after", "garbage"), ("status", "text", "seconds")),
}
BRIDGE_ACTIONS = ("port", "address", "guest")
API_ACTIONS = ("error", "delay", "drop", "drop-after", "garbage")
REFUSALS = ("freeze", "thaw", "stays-frozen")


@dataclass(frozen=True)
class Kind:
    """A kind of fault: the types of its options, the defaults of those that need not be given, and
    what it does.

    ``times`` is how often it strikes at most, 0 is no limit.
    """

    types: Mapping[str, type[Value]]
    says: str
    defaults: Mapping[str, Value] | None = None
    times: int = 0


_GUEST = {"vmid": int}
_STORAGE = {"node": str, "storage": str}
_ARCHIVE = {"volid": str, "node": str}

KINDS: Mapping[str, Kind] = {
    "api": Kind(
        {
            "method": str,
            "path": str,
            "do": str,
            "call": int,
            "status": int,
            "text": str,
            "seconds": float,
        },
        "calls of METHOD and PATH (with * for anything) fail, wait, are dropped or answer garbage",
        {"call": 0, "status": 500, "text": "the lab was told to fail here", "seconds": 5.0},
    ),
    "storage-full": Kind(_STORAGE, "nothing can be written to a storage"),
    "storage-slow": Kind(
        {**_STORAGE, "rate": int}, "dumps to and restores from a storage move RATE bytes a second"
    ),
    "archive-flip": Kind(
        {**_ARCHIVE, "at": int}, "one bit of an archive's file is flipped", {"node": "", "at": -1}
    ),
    "archive-truncate": Kind(
        {**_ARCHIVE, "at": int}, "an archive's file ends early", {"node": "", "at": -1}
    ),
    "archive-vanish": Kind(
        _ARCHIVE, "an archive's file is deleted behind the storage's back", {"node": ""}
    ),
    "listing-short": Kind(
        {**_STORAGE, "missing": int},
        "the last archives are missing from a storage's listings",
        {"missing": 1},
    ),
    "drift": Kind(
        {"node": str, "seconds": int}, "a node's clock is SECONDS ahead, or behind when negative"
    ),
    "bridge": Kind(
        {"node": str, "bridge": str, "do": str, "value": str},
        "a node's bridge gets a port, an address, or a foreign guest; clearing this takes it away",
        {"bridge": "vmbr9"},
    ),
    "status-unknown": Kind(
        {"node": str}, "a node's pvestatd has been silent for five minutes; the node itself goes on"
    ),
    "node-death": Kind({"node": str}, "a node's power is cut; clearing this switches it on again"),
    "agent-silent": Kind(_GUEST, "a guest's agent never answers"),
    "agent-refuses": Kind(
        {**_GUEST, "how": str},
        "a guest's agent answers, but does not freeze, does not thaw, or says that it thawed",
        {"how": "freeze"},
    ),
    "guest-panic": Kind(_GUEST, "a guest and its restored copies boot into a kernel panic"),
    "service-down": Kind(_GUEST, "a guest and its restored copies come up without their service"),
    "data-disk-gone": Kind(
        _GUEST, "a guest and its restored copies start without their second disk"
    ),
    "guest-dies": Kind(
        {**_GUEST, "after": float},
        "a guest and its restored copies go off AFTER seconds after they came up",
    ),
    "guest-resets": Kind(
        {**_GUEST, "every": float},
        "a guest and its restored copies are reset EVERY so many seconds once they came up",
        {"every": 5.0},
    ),
    "task-hang": Kind(
        {"type": str},
        "the next task of a type does not end until it is stopped or this is cleared",
        times=1,
    ),
    "vzdump-lock": Kind({"node": str}, "a node's vzdump lock is held by another"),
}


@dataclass(frozen=True)
class Fault:
    """One fault that is set: its number, its kind and its options, ``seen`` calls that it fits,
    ``struck`` times.

    ``uuid`` is the SMBIOS UUID of the guest that it is about: a restored copy bears it too.
    """

    id: int
    kind: str
    options: Mapping[str, Value]
    seen: int = 0
    struck: int = 0
    uuid: str | None = None

    def __getitem__(self, name: str) -> Any:
        """Return an option."""
        return self.options[name]

    @property
    def text(self) -> str:
        """The fault in one line."""
        unused = _UNUSED.get(str(self.options.get("do")), ())
        shown = " ".join(
            f"{name}={value}"
            for name, value in self.options.items()
            if value not in ("", -1) and name not in unused
        )
        return f"{self.id}: {self.kind} {shown} (struck: {self.struck})"

    def as_json(self) -> dict[str, Any]:
        """Return the fault as the API answers it."""
        return asdict(self)


def read_options(kind: str, given: Mapping[str, Any]) -> dict[str, Value]:
    """Given a kind and what was asked for, return all its options. Raise UsageError for what it
    does not know or lacks.
    """
    known = KINDS.get(kind)
    if known is None:
        raise UsageError(f"there is no fault {kind}", f"one of {', '.join(KINDS)}")
    if unknown := sorted(set(given) - set(known.types)):
        raise UsageError(
            f"fault {kind} has no option {unknown[0]}", f"it has {', '.join(known.types)}"
        )
    found = {**(known.defaults or {}), **given}
    if missing := [name for name in known.types if name not in found]:
        raise UsageError(
            f"fault {kind} needs {missing[0]}", f"its options are {', '.join(known.types)}"
        )
    options: dict[str, Value] = {}
    for name, wanted in known.types.items():
        try:
            options[name] = wanted(found[name])
        except (TypeError, ValueError):
            raise UsageError(
                f"fault {kind}: {name} {found[name]!r} is no {wanted.__name__}"
            ) from None
    if kind == "api" and options["do"] not in API_ACTIONS:
        raise UsageError(f"fault api cannot do {options['do']}", f"one of {', '.join(API_ACTIONS)}")
    if kind == "agent-refuses" and options["how"] not in REFUSALS:
        raise UsageError(
            f"fault agent-refuses knows no {options['how']}", f"one of {', '.join(REFUSALS)}"
        )
    if kind == "bridge" and options["do"] not in BRIDGE_ACTIONS:
        raise UsageError(
            f"fault bridge cannot do {options['do']}", f"one of {', '.join(BRIDGE_ACTIONS)}"
        )
    return options
