"""Copies of all disks of a running machine at one moment, by QEMU's block jobs.

All jobs start in one QMP ``transaction``: from then on QEMU saves what the guest overwrites, so
every copy shows that moment. The guest is frozen only while the transaction runs, not while the
copies are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvelab.vmm.agent import AgentFailure, AgentSilent
from pvelab.vmm.qmp import QemuError

EventHook = Callable[[str, int, int], None]
Monitor = Callable[..., object]

FREEZE_TIMEOUT = 10.0
POLL = 0.05


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``frozen``: the guest's file systems were quiesced at that moment. ``seconds``: how long the
    copies took.
    """

    frozen: bool
    seconds: float


def backup_disks(
    qmp: Monitor,
    agent: Callable[..., object] | None,
    targets: Mapping[str, tuple[Path, int]],
    on_event: EventHook | None = None,
    speed: int = 0,
) -> Snapshot:
    """Given a monitor, an agent or None, and (file, size) by disk, write the copies. See
    ``Machine.snapshot``.
    """
    tell: EventHook = on_event or (lambda event, done, total: None)
    started = time.monotonic()
    copy = {"sync": "full", "auto-dismiss": False, "speed": speed}
    actions = [
        {
            "type": "blockdev-backup",
            "data": {"job-id": _job(key), "device": key, "target": _node(key), **copy},
        }
        for key in targets
    ]
    try:
        for key, (path, size) in targets.items():
            _add_target(qmp, key, path, size)
        frozen = freeze(agent, tell)
        try:
            # one transaction, so that all copies begin at the same moment
            qmp("transaction", actions=actions)
        finally:
            if frozen is not None and agent is not None:
                thaw(agent, tell)
        tell("started", 0, 0)
        _wait(qmp, set(targets), tell)
    finally:
        _clean_up(qmp, targets)
        # A full target halts the guest, for QEMU saves old data there before each of its writes.
        # With the jobs gone, the write that failed is done as if nothing had been (command.py sets
        # werror=stop).
        with suppress(QemuError):
            state = qmp("query-status")
            if isinstance(state, dict) and state.get("status") == "io-error":
                qmp("cont")
    return Snapshot(bool(frozen), time.monotonic() - started)


def _add_target(qmp: Monitor, key: str, path: Path, size: int) -> None:
    try:
        with path.open("wb") as file:
            file.truncate(size)
    except OSError as error:
        raise QemuError(
            f"cannot write the copy of disk {key} to {path}: {error.strerror}"
        ) from error
    # Zeroes become holes: the copy of a half-empty disk is half as large.
    file_node = {
        "driver": "file",
        "filename": str(path),
        "cache": {"no-flush": True},
        "discard": "unmap",
    }
    qmp(
        "blockdev-add",
        driver="raw",
        node_name=_node(key),
        discard="unmap",
        detect_zeroes="unmap",
        file=file_node,
    )


def freeze(agent: Callable[..., object] | None, tell: EventHook) -> bool | None:
    """Have the agent freeze the guest's file systems; return whether it did, None if it was not
    even tried.

    Neither a silent agent nor one that refuses stops a backup, as in PVE. What a refusal said
    follows ``freeze-failed: ``.
    """
    if agent is None:
        return None
    try:
        agent("guest-ping", timeout=3.0)
    except (AgentFailure, AgentSilent):
        tell("freeze-skipped", 0, 0)
        return None
    tell("freeze", 0, 0)
    try:
        agent("guest-fsfreeze-freeze", timeout=FREEZE_TIMEOUT)
    except AgentFailure as error:
        tell(f"freeze-failed: {error.desc}", 0, 0)
        return False
    except AgentSilent:
        tell("freeze-late", 0, 0)
        return False
    return True


def thaw(agent: Callable[..., object], tell: EventHook) -> None:
    """Have the agent thaw them: after every try to freeze, also one that failed, since a freeze
    that comes late must not stay.
    """
    tell("thaw", 0, 0)
    try:
        agent("guest-fsfreeze-thaw", timeout=FREEZE_TIMEOUT)
    except AgentFailure as error:
        tell(f"thaw-failed: {error.desc}", 0, 0)
    except AgentSilent:
        tell("thaw-late", 0, 0)


def _wait(qmp: Monitor, keys: set[str], tell: EventHook) -> None:
    """Wait for all jobs, telling bytes done and in all. Raise QemuError with QEMU's words when one
    fails.
    """
    while True:
        jobs = _jobs(qmp, keys)
        for job in jobs:
            if job.get("error"):
                disk = job["id"].removeprefix(_job(""))
                raise QemuError(
                    f"the copy of disk {disk} failed: {job['error']}",
                    "check the space at the target",
                )
        tell(
            "progress",
            sum(job["current-progress"] for job in jobs),
            sum(job["total-progress"] for job in jobs),
        )
        if all(job["status"] == "concluded" for job in jobs):
            return
        time.sleep(POLL)


def _clean_up(qmp: Monitor, keys: Mapping[str, object]) -> None:
    """Cancel what still runs, forget the jobs, let go of the targets. A machine that is gone has
    nothing left to clean.
    """
    with suppress(QemuError):
        for job in _jobs(qmp, set(keys)):
            if job["status"] != "concluded":
                qmp("job-cancel", id=job["id"])
        while any(job["status"] != "concluded" for job in _jobs(qmp, set(keys))):
            time.sleep(POLL)
        for job in _jobs(qmp, set(keys)):
            qmp("job-dismiss", id=job["id"])
    for key in keys:
        with suppress(QemuError):
            qmp("blockdev-del", node_name=_node(key))


def _jobs(qmp: Monitor, keys: set[str]) -> list[dict[str, Any]]:
    wanted, answer = {_job(key) for key in keys}, qmp("query-jobs")
    return [job for job in answer if job["id"] in wanted] if isinstance(answer, list) else []


def _job(key: str) -> str:
    return f"backup-{key}"


def _node(key: str) -> str:
    return f"target-{key}"
