"""What the steps of one kind of operation remember: a frozen dataclass, written down with the
version of its form.

An operation may be opened by one version of the service and ended by the next: a form that was
written by an older version is brought to the present one, step by step, before it is read. What is
as it was at first is not written, so a field's default is a
part of the form: one that changes needs an upgrade as a field that changes does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from backupsvc.errors import OperationFailed
from policies.error_kinds import ErrorKind
from policies.model import Operation

M = TypeVar("M")
T = TypeVar("T")


class MemoryUnreadable(OperationFailed):
    """What an operation remembers cannot be read by this version."""

    kind = ErrorKind.MEMORY_UNREADABLE


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class MemoryForm(Generic[M]):
    """The form of one kind's memory.

    Args:
        type: the frozen dataclass.
        upgrades: for each older version, the first being 0, what brings its form (JSON values) to
        the next version's.
    """

    type: type[M]
    upgrades: tuple[Upgrade, ...] = (dict,)

    @property
    def version(self) -> int:
        """The version that is written."""
        return len(self.upgrades)

    @cached_property
    def _adapter(self) -> TypeAdapter[M]:
        return TypeAdapter(self.type)

    def read(self, stored: Mapping[str, Any]) -> M:
        """Given what is written down of a memory, by this version or an older one, return it.

        Raise MemoryUnreadable if a newer version wrote it, or if it is not that kind's.
        """
        values = dict(stored)
        # the first form of a kind was written without a version
        found = int(values.pop("version", 0))
        if found > self.version:
            raise MemoryUnreadable(
                f"what it remembers was written by a newer version of backupsvc (form {found}, "
                f"known is {self.version})",
                "upgrade backupsvc on this machine",
            )
        for upgrade in self.upgrades[found:]:
            values = upgrade(values)
        try:
            return self._adapter.validate_python(values)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise MemoryUnreadable(
                f"what it remembers cannot be read: {wrong}",
                "see what is known of it with `backupsvc operations show`, and start anew",
            ) from None

    def of(self, question: Callable[[M], T]) -> Callable[[Operation], T]:
        """Given a question to a memory, return the same question to the operation that has it,
        which raises what ``read`` raises.
        """
        return lambda operation: question(self.read(operation.memory))

    def write(self, memory: M) -> dict[str, Any]:
        """Given a memory, return it as it is written down: JSON values, without what is as it was
        at first.
        """
        values: dict[str, Any] = self._adapter.dump_python(
            memory, mode="json", exclude_defaults=True, warnings="error"
        )
        return {"version": self.version} | values
