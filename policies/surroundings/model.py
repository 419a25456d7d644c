"""What is said of one thing that a guest had around it: whether it is missing, and the call or the
command that puts it back.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from policies.config_secrets import LEFT_OUT

# drawn as nothing, though they count as printable: a person could not see what is pasted
_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# what a kept text has in the place of a character that is none, and what may have been written so
_WRITTEN = re.compile("%(?:[01][0-9A-F]|7F|C2%[89][0-9A-F]|E2%80%A[89]|ED%[AB][0-9A-F])", re.ASCII)
# what stands in a path of the API, in which pvesh undoes no quoting
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)


class Action(StrEnum):
    """Who is to act: the service, as far as its token may, or a person by the same commands;
    nobody.
    """

    COMMAND = "command"
    NONE = "none"


class Kind(StrEnum):
    """What a guest may have around it, as people call it."""

    CONFIG = "start order and tags"
    POOL = "pool"
    ACL = "rights"
    FIREWALL = "firewall"
    ALIASES = "firewall aliases"
    IPSETS = "firewall IP sets"
    RULES = "firewall rules"
    OPTIONS = "firewall options"
    REPLICATION = "replication job"
    BACKUP = "backup job"
    HA_RESOURCE = "HA resource"
    HA_RULE = "HA rule"


@dataclass(frozen=True, slots=True)
class Call:
    """A change through PVE's API: PUT or POST, the path without its leading slash, the parameters
    in their order.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Right:
    """What a call needs at a path of PVE's access control list: any one of ``privileges``."""

    path: str
    privileges: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' or '.join(self.privileges)} on {self.path}"


def right(privilege: str, path: str, *others: str) -> Right:
    """Given a privilege, the path where it is needed, and others that do as well, return that."""
    return Right(path, (privilege, *others))


@dataclass(frozen=True, slots=True)
class Surrounding:
    """One thing that the guest had around it, or may have had. ``calls`` put it back, in their
    order, and need ``rights``; ``by_hand`` are fields that they leave out, because what was kept of
    them is not known or cannot stand in a command. ``known`` is False where nobody can tell whether
    anything is missing; ``for_hands``: something is, and no command puts it back.
    """

    kind: Kind
    name: str
    action: Action
    detail: str
    calls: tuple[Call, ...] = ()
    rights: tuple[Right, ...] = ()
    by_hand: tuple[str, ...] = ()
    known: bool = True
    for_hands: bool = False

    @property
    def what(self) -> str:
        """What it is, in words."""
        return f"{self.kind} {self.name}".rstrip()

    @property
    def privileges(self) -> tuple[str, ...]:
        """What the calls need, in words."""
        return tuple(map(str, self.rights))

    @property
    def open(self) -> bool:
        """Whether something is left to be done, or to be looked at."""
        return bool(self.calls) or self.for_hands or not self.known

    @property
    def commands(self) -> tuple[str, ...]:
        """The calls as root types them into a node's shell."""
        return tuple(command(call) for call in self.calls)


def unknown(kind: Kind, name: str, detail: str) -> Surrounding:
    """Given what cannot be told and why, return it as said."""
    return Surrounding(kind, name, Action.NONE, detail, known=False)


def said(kind: Kind, name: str, detail: str) -> Surrounding:
    """Given what is to be known and not to be done by a command, return it as said."""
    return Surrounding(kind, name, Action.NONE, detail)


def for_hands(kind: Kind, name: str, detail: str) -> Surrounding:
    """Given what is missing and no command puts back, return it as said."""
    return Surrounding(kind, name, Action.NONE, detail, for_hands=True)


def plain(value: str) -> bool:
    """Given a kept value, return whether it is whole and may stand in a command that a person reads
    and pastes: nothing was left out of it or written otherwise, and it is one line in which every
    character shows.
    """
    if LEFT_OUT in value or _WRITTEN.search(value):
        return False
    return value.isprintable() and not _HIDDEN.search(value)


def nameable(name: str) -> bool:
    """Given the name of a job, a rule or a set, return whether a command can address it."""
    return _NAME.fullmatch(name) is not None


def command(call: Call) -> str:
    """Given a call, return the command that does the same, quoted for a shell."""
    params = dict(call.params)
    match call.method, call.path.split("/"):
        case "POST", ["cluster", "ha", "resources"]:
            words = ["ha-manager", "add", params.pop("sid")]
        case "POST", ["cluster", "ha", "rules"]:
            words = ["ha-manager", "rules", "add", params.pop("type"), params.pop("rule")]
        case "PUT", ["cluster", "ha", "rules", rule]:
            words = ["ha-manager", "rules", "set", params.pop("type"), rule]
        case "PUT", ["access", "acl"]:
            words = ["pveum", "acl", "modify", params.pop("path")]
        case _:
            words = ["pvesh", "set" if call.method == "PUT" else "create", f"/{call.path}"]
    for key, value in params.items():
        # a value with a dash in front could pass for an option
        words += [f"--{key}={value}"] if value.startswith("-") else [f"--{key}", value]
    return shlex.join(words)
