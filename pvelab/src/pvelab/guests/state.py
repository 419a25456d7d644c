"""A guest's configuration as handlers and tasks change it: sorted like PVE's files, locked like
PVE's, refused while locked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pvelab.kernel import Lab, LabError, TaskDied, TaskLog, VmConfig
from pvelab.schema.endpoints import api
from pvelab.schema.validate import property_schema

_FLOCK_TIMEOUT = 10.0


def lock_timeout_s(lab: Lab, seconds: float) -> float:
    """Return how long a lock is really waited for: PVE's ``seconds``, unless the lab's definition
    makes that shorter.
    """
    return seconds * float(lab.settings.get("lock_patience", 1))


def save(lab: Lab, vm: VmConfig, config: Mapping[str, str]) -> None:
    """Replace a guest's current values and write its file, keys in PVE's order. Raise LabError 500
    without quorum.
    """
    lab.guests.check_writable(vm)
    vm.config = {key: config[key] for key in sorted(config)}
    lab.guests.save(vm)


def check_unlocked(vm: VmConfig, *but: str) -> None:
    """Raise LabError 500 with PVE's text if the guest bears a lock (other than ``but``)."""
    lock = vm.config.get("lock")
    if lock and lock not in but:
        raise LabError(500, f"{vm.word} is locked ({lock})")


@contextmanager
def task_lock(lab: Lab, vmid: int, log: TaskLog, timeout: float = _FLOCK_TIMEOUT) -> Iterator[None]:
    """Hold the guest's file lock in a task, which says so when it has to wait. Raise LabError when
    its time is up.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lab.guests.lock(vmid, 0))
        except LabError:
            log.line("trying to acquire lock...")
            stack.enter_context(lab.guests.lock(vmid, lock_timeout_s(lab, timeout)))
            log.line(" OK")
        yield


def need(lab: Lab, node: str, vmid: int, type: str = "qemu") -> VmConfig:
    """Return a guest in a task. Raise TaskDied with PVE's text if it is gone."""
    try:
        return lab.guests.need(node, vmid, type)
    except LabError as error:
        raise TaskDied(error.reason) from error


def typed(config: Mapping[str, str], type: str = "qemu") -> dict[str, Any]:
    """Return values as PVE's API answers them: numbers for options that are integers or booleans,
    strings for all others.
    """
    found = api().find("POST", f"/nodes/x/{type}")
    schema = found[0].parameters if found else {}
    answered: dict[str, Any] = {}
    for key, value in config.items():
        kind = (property_schema(schema, key) or {}).get("type")
        is_number = kind in ("integer", "boolean") and value.lstrip("-").isdigit()
        answered[key] = int(value) if is_number else value
    return answered
