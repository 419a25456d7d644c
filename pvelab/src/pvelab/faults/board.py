"""The faults that are set now. They are kept in a file, so that a lab that starts again is as
broken as it was.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pvelab.faults.model import KINDS, Fault, Value

FILE = "faults.json"


class Board:
    """All faults of one lab. Its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.Lock()
        self._faults: dict[int, Fault] = {fault.id: fault for fault in read(path)}

    def all(self) -> list[Fault]:
        """Return the faults, oldest first."""
        with self._mutex:
            return list(self._faults.values())

    def add(self, kind: str, options: Mapping[str, Value], uuid: str | None = None) -> Fault:
        """Set a fault and return it."""
        with self._mutex:
            fault = Fault(max(self._faults, default=0) + 1, kind, dict(options), uuid=uuid)
            self._put(fault)
            return fault

    def remove(self, number: int) -> Fault | None:
        """Take a fault away and return it, None if there is none of that number."""
        with self._mutex:
            fault = self._faults.pop(number, None)
            self._write()
            return fault

    def find(self, kind: str, *, uuid: str | None = None, **where: Value) -> Fault | None:
        """Return the fault of a kind that is set for a place, without counting it; its own options
        may hold ``*``.

        A guest's fault is found by its VMID or by its ``uuid``. One that struck as often as it may
        is not found any more.
        """
        # asked at every piece that a dump writes: no lock while nothing is set
        if not self._faults:
            return None
        for fault in self.all():
            times = KINDS[fault.kind].times
            if fault.kind != kind or (times and fault.struck >= times):
                continue
            if (uuid is not None and fault.uuid == uuid) or all(
                fnmatchcase(str(value), str(fault[name])) for name, value in where.items()
            ):
                return fault
        return None

    def strike(self, kind: str, *, uuid: str | None = None, **where: Value) -> Fault | None:
        """Return the fault that is set for a place and count that it strikes now."""
        fault = self.find(kind, uuid=uuid, **where)
        return self.count(fault) if fault else None

    def is_set(self, fault: Fault) -> bool:
        """Say whether a fault was not cleared yet."""
        return fault.id in self._faults

    def count(self, fault: Fault) -> Fault | None:
        """Count that a fault strikes; return it as it is then, None when it was cleared
        meanwhile.
        """
        return self._change(fault, struck=1)

    def see(self, fault: Fault) -> Fault | None:
        """Count a call that a fault fits; return it as it is then, None when it was cleared
        meanwhile.
        """
        return self._change(fault, seen=1)

    def _change(self, fault: Fault, *, seen: int = 0, struck: int = 0) -> Fault | None:
        with self._mutex:
            now = self._faults.get(fault.id)
            if now is None:
                return None
            fresh = replace(now, seen=now.seen + seen, struck=now.struck + struck)
            self._put(fresh)
            return fresh

    def _put(self, fault: Fault) -> None:
        self._faults[fault.id] = fault
        self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps([fault.as_json() for fault in self._faults.values()], indent=1))
        fresh.replace(self._path)


def read(path: Path) -> list[Fault]:
    """Return the faults that a file holds, none when there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return [Fault(**row) for row in rows]
