"""The one place that turns PVE's answers into typed values. What is none is one error that names
the call and the key.

Numbers may be text, false booleans absent, lists one text, numbers in property strings text or not
(pve-facts 1.1, 4.1): all that is read. A value of another type is never guessed at: an archive that
seemed to be of 1970 would be pruned first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from backupsvc.errors import PveAnswerUnreadable

UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?):[0-9A-Fa-f]{8}:(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<start>[0-9A-Fa-f]{8}):(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)
LARGEST = 2**63 - 1  # bytes of a storage, seconds: no number that PVE means is larger

_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]*)?")
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})
# places whose values no message repeats (law 7)
_SECRET = re.compile(r"pass|secret|token|ticket|key|cloud|cicustom", re.IGNORECASE)
_SHOWN = 40  # characters of a value that a message repeats
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Answer:
    """What PVE answered: ``data`` as it came, and ``beside`` it what else the envelope holds
    (``changes``, ``total``).
    """

    host: str
    call: str
    data: Any
    beside: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """Return the rows of a list of objects. Raise PveAnswerUnreadable if it is none."""
        if not isinstance(self.data, list):
            self.refuse("", "a list", self.data)
        return [self._row(f"[{number}]", item) for number, item in enumerate(self.data)]

    def row(self) -> Row:
        """Return the object. Raise PveAnswerUnreadable if it is none."""
        return self._row("", self.data)

    def string(self) -> str:
        """Return the text. Raise PveAnswerUnreadable if it is none."""
        if not isinstance(self.data, str):
            self.refuse("", "a text", self.data)
        return self.data

    def upid(self) -> str:
        """Return the task that was begun. Raise PveAnswerUnreadable if it names none: whether one
        was begun is not known.
        """
        if not isinstance(self.data, str) or not UPID.fullmatch(self.data):
            self.refuse("", "the name of a task", self.data)
        return self.data

    def upid_if_any(self) -> str | None:
        """Return the task that was begun, None if PVE needed none."""
        return self.upid() if self.data is not None and self.data != "" else None

    def refuse(self, place: str, wanted: str, came: Any) -> NoReturn:
        """Given a place in the answer, what should stand there and what does, raise
        PveAnswerUnreadable.
        """
        what = f"{place.lstrip('.')} should be" if place else "it should be"
        path = self.call.partition(" ")[2].strip("/")
        # in a few words, without what may be secret, and nothing that a terminal would obey
        if came is _ABSENT:
            said = "missing"
        elif isinstance(came, list | dict):
            said = f"{'a list' if isinstance(came, list) else 'an object'} of {len(came)}"
        elif isinstance(came, float) and not math.isfinite(came):
            said = "no number at all"
        elif isinstance(came, int) and abs(came) > LARGEST:
            said = "a number beyond all bounds"
        elif isinstance(came, str) and _SECRET.search(place):
            said = f"a text of {len(came)} characters"
        else:
            whole = json.dumps(came)
            said = whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}..."
        raise PveAnswerUnreadable(
            f"{self.host} answered {self.call} with something that cannot be read: {what} "
            f"{wanted}, and is {said}",
            f"is that Proxmox VE itself, with no proxy in between? `pvesh get /{path}` on a node "
            "shows what it answers there",
        )

    def _row(self, place: str, item: Any) -> Row:
        if not isinstance(item, dict):
            self.refuse(place, "an object", item)
        return Row(self, place, item)


@dataclass(frozen=True, slots=True)
class Row:
    """One object of an answer. Every method raises PveAnswerUnreadable if what stands there is of
    no use.

    What is absent or null counts as empty, unless it is asked for by a ``need`` method.
    """

    answer: Answer
    place: str
    fields: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    def names(self) -> Iterable[str]:
        """Return the names of all that stands there."""
        return self.fields.keys()

    def text(self, key: str) -> str:
        """Return a text; a number is taken as PVE would write it."""
        value = self.fields.get(key)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(key, "a text")
        if not abs(value) <= LARGEST:  # so that NaN is caught too
            self._refuse(key, "a text")
        return str(value)

    def need_text(self, key: str) -> str:
        """Return a text that must be there."""
        return self.text(key) or self._refuse(key, "a text")

    def integer(self, key: str, default: int = 0) -> int:
        """Return a whole number."""
        found = self.integer_if_any(key)
        return default if found is None else found

    def integer_if_any(self, key: str) -> int | None:
        """Return a whole number, None if there is none."""
        value = self.fields.get(key)
        if type(value) is int and abs(value) <= LARGEST:  # nearly always, and no boolean
            return value
        if value is None or value == "":
            return None
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value.partition(".")[0])
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(key, "a number")
        if not abs(value) <= LARGEST:  # so that NaN is caught too
            self._refuse(key, "a number")
        return int(value)

    def need_integer(self, key: str) -> int:
        """Return a whole number that must be there: an id, a time, a size; none of them is
        negative.
        """
        came = self.fields.get(key)
        if type(came) is int and 0 <= came <= LARGEST:  # nearly always
            return came
        found = self.integer_if_any(key)
        fraction = isinstance(came, float) and not came.is_integer()
        return self._refuse(key, "a number") if found is None or found < 0 or fraction else found

    def boolean(self, key: str, default: bool = False) -> bool:
        """Return a boolean: 1, 0, true, false, or one of the words for them."""
        value = self.fields.get(key)
        if value is None:
            return default
        if isinstance(value, bool | int | float) and value in (0, 1):
            return bool(value)
        if not isinstance(value, str) or value.lower() not in _TRUE | _FALSE:
            self._refuse(key, "a boolean")
        return value.lower() in _TRUE

    def words(self, key: str) -> tuple[str, ...]:
        """Return the words of a list that PVE writes as one text (comma, semicolon, blank or NUL
        between them).
        """
        return tuple(word for word in re.split(r"[,;\s\0]+", self.text(key)) if word)

    def properties(self, key: str) -> str:
        """Return a property string; PVE 9 answers some as objects, older ones the string itself
        (pve-facts 4.1).
        """
        value = self.fields.get(key)
        if not isinstance(value, Mapping):
            return self.text(key)
        inner = self.row(key)
        return ",".join(f"{name}={inner.text(name)}" for name in sorted(value))

    def upid(self, key: str) -> str:
        """Return the name of a task, which must be there."""
        found = self.text(key)
        return found if UPID.fullmatch(found) else self._refuse(key, "the name of a task")

    def row(self, key: str) -> Row:
        """Return an object inside, which must be there."""
        value = self.fields.get(key)
        return (
            Row(self.answer, f"{self.place}.{key}", value)
            if isinstance(value, dict)
            else self._refuse(key, "an object")
        )

    def row_if_any(self, key: str) -> Row | None:
        """Return an object inside, None if there is none."""
        return None if self.fields.get(key) is None else self.row(key)

    def _refuse(self, key: str, wanted: str) -> NoReturn:
        self.answer.refuse(f"{self.place}.{key}", wanted, self.fields.get(key, _ABSENT))
