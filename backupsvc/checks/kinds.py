"""What every kind of check shares: whom it asks, what it answers, and which options it takes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from policies.model import CheckSpec, Outcome

Answer = tuple[Outcome, str]


class ExecResult(Protocol):
    """What a command inside the guest did; ``exitcode`` is None when a signal ended it."""

    @property
    def exitcode(self) -> int | None: ...
    @property
    def out(self) -> str: ...
    @property
    def err(self) -> str: ...


class AgentPort(Protocol):
    """One guest's agent."""

    def ping(self) -> bool:
        """Return whether it answers."""
        ...

    def osinfo(self) -> dict[str, Any]:
        """Return what it says of the operating system."""
        ...

    def exec(self, command: list[str], timeout: float) -> ExecResult:
        """Run a command inside, with a deadline in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A restored copy and the ways to it: None where there is none.

    ``connect`` takes address, port and timeout in seconds, and returns a connected socket on the
    isolated bridge.
    """

    vmid: int
    address: str | None = None
    connect: Callable[[str, int, float], socket.socket] | None = None
    agent: AgentPort | None = None


class CannotAsk(Exception):
    """The question cannot be put to the guest; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Option:
    """One word of a check: its type, and what is allowed, for the message."""

    type: type
    allowed: str
    required: bool = False
    fits: Callable[[Any], bool] = lambda value: True


PORT = Option(int, "a port from 1 to 65535", fits=lambda value: 0 < value < 65536)
NEEDED_PORT = Option(int, PORT.allowed, required=True, fits=PORT.fits)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of check asks: ``ask`` makes one attempt. What the policy says of it stands in
    ``policies/check_kinds.py``.
    """

    name: str
    ask: Callable[[CheckSpec, Target], Answer]
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))


def problems_with(kind: Kind, options: Mapping[str, object]) -> list[str]:
    """Given a kind and the options of a check, return what is wrong with them, one sentence
    each.
    """
    taken = f"it takes {', '.join(sorted(kind.options))}" if kind.options else "it takes none"
    found = [
        f"{kind.name} has no option {name!r}: {taken}"
        for name in options
        if name not in kind.options
    ]
    for name, option in kind.options.items():
        if name in options:
            value = options[name]
            # bool is an int to Python, but `port: yes` is a mistake
            right = isinstance(value, option.type) and (
                option.type is bool or not isinstance(value, bool)
            )
            if not right or not option.fits(value):
                found.append(f"{kind.name}: {name} is {value!r}, allowed is {option.allowed}")
        elif option.required:
            found.append(f"{kind.name} needs {name}: {option.allowed}")
    return found
