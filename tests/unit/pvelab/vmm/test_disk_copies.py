"""Copies of disks when something goes wrong, against a scripted QEMU: what it was told, in which
order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pvelab.vmm.agent import AgentFailure, AgentSilent
from pvelab.vmm.qmp import QemuError
from pvelab.vmm.snapshot import EventHook, backup_disks

SIZE = 1024 * 1024


class ScriptedQemu:
    """Keeps jobs and targets as QEMU does; the jobs named in ``failing`` end with an error and halt
    the guest.
    """

    def __init__(self, failing: str | None = None, refuse: str | None = None) -> None:
        self.told: list[str] = []
        self.jobs: dict[str, dict[str, object]] = {}
        self.nodes: set[object] = set()
        self.status, self._failing, self._refuse = "running", failing, refuse

    def __call__(self, command: str, **arguments: object) -> object:
        if not command.startswith("query-"):
            self.told.append(command)
        if command == self._refuse:
            raise QemuError(f"QEMU refused {command}: no")
        return getattr(self, command.replace("-", "_"))(**arguments)

    def blockdev_add(self, node_name: str, **options: object) -> None:
        self.nodes.add(node_name)

    def blockdev_del(self, node_name: str) -> None:
        if node_name not in self.nodes:
            raise QemuError("QEMU refused blockdev-del: Failed to find node")
        self.nodes.remove(node_name)

    def transaction(self, actions: list[dict[str, dict[str, str]]]) -> None:
        for action in actions:
            name = action["data"]["job-id"]
            self.jobs[name] = {
                "id": name,
                "status": "concluded",
                "current-progress": SIZE,
                "total-progress": SIZE,
            }
            if action["data"]["device"] == self._failing:
                self.jobs[name]["error"] = "No space left on device"
                self.status = "io-error"
            elif self._failing:
                self.jobs[name]["status"] = "running"

    def query_jobs(self) -> list[dict[str, object]]:
        return list(self.jobs.values())

    def query_status(self) -> dict[str, object]:
        return {"status": self.status, "running": self.status == "running"}

    def job_cancel(self, id: str) -> None:
        self.jobs[id]["status"] = "concluded"

    def job_dismiss(self, id: str) -> None:
        del self.jobs[id]

    def cont(self) -> None:
        assert not self.jobs, (
            "the guest must not go on while its writes still go through a broken copy"
        )
        self.status = "running"


class ScriptedAgent:
    """A guest agent of which some commands do not work."""

    def __init__(self, **broken: Exception) -> None:
        self.told: list[str] = []
        self._broken = broken

    def __call__(self, command: str, arguments: object = None, timeout: float = 3.0) -> object:
        self.told.append(command.removeprefix("guest-").removeprefix("fsfreeze-"))
        if error := self._broken.get(self.told[-1]):
            raise error
        return {}


def targets(folder: Path) -> dict[str, tuple[Path, int]]:
    return {key: (folder / f"{key}.raw", SIZE) for key in ("scsi0", "scsi1")}


def heard_by(events: list[str]) -> EventHook:
    return lambda event, done, total: events.append(event)


def test_all_disks_are_copied_from_one_moment_with_the_guest_frozen_only_for_it(
    tmp_path: Path,
) -> None:
    qemu, agent, events = ScriptedQemu(), ScriptedAgent(), list[str]()
    assert backup_disks(qemu, agent, targets(tmp_path), heard_by(events)).frozen
    assert qemu.told[:3] == ["blockdev-add", "blockdev-add", "transaction"]
    assert agent.told == ["ping", "freeze", "thaw"]
    assert events == ["freeze", "thaw", "started", "progress"]
    assert [path.stat().st_size for path, _ in targets(tmp_path).values()] == [SIZE, SIZE]


def test_a_full_target_fails_the_copy_with_qemus_words_and_the_guest_goes_on(
    tmp_path: Path,
) -> None:
    qemu = ScriptedQemu(failing="scsi1")
    with pytest.raises(QemuError, match="the copy of disk scsi1 failed: No space left on device"):
        backup_disks(qemu, None, targets(tmp_path))
    assert (qemu.jobs, qemu.nodes, qemu.status) == ({}, set(), "running")


def test_a_refused_start_thaws_the_guest_and_lets_go_of_the_targets(tmp_path: Path) -> None:
    qemu, agent = ScriptedQemu(refuse="transaction"), ScriptedAgent()
    with pytest.raises(QemuError, match="refused transaction"):
        backup_disks(qemu, agent, targets(tmp_path))
    assert agent.told[-1] == "thaw"
    assert qemu.nodes == set()


def test_a_silent_agent_is_left_out_and_the_copy_is_made(tmp_path: Path) -> None:
    agent, events = ScriptedAgent(ping=AgentSilent("no answer")), list[str]()
    assert not backup_disks(ScriptedQemu(), agent, targets(tmp_path), heard_by(events)).frozen
    assert "freeze-skipped" in events
    assert "freeze" not in agent.told


def test_a_freeze_that_did_not_answer_in_time_is_taken_back(tmp_path: Path) -> None:
    agent = ScriptedAgent(freeze=AgentSilent("no answer"))
    assert not backup_disks(ScriptedQemu(), agent, targets(tmp_path)).frozen
    assert agent.told == ["ping", "freeze", "thaw"]


def test_an_agent_that_refuses_to_freeze_does_not_stop_the_copy(tmp_path: Path) -> None:
    agent, events = ScriptedAgent(freeze=AgentFailure("failed to freeze /data")), list[str]()
    assert not backup_disks(ScriptedQemu(), agent, targets(tmp_path), heard_by(events)).frozen
    assert events[:3] == ["freeze", "freeze-failed: failed to freeze /data", "thaw"], (
        "a thaw follows every try, as in PVE"
    )


def test_a_thaw_that_fails_is_told_and_does_not_lose_the_copy(tmp_path: Path) -> None:
    events: list[str] = []
    agent = ScriptedAgent(thaw=AgentSilent("no answer"))
    assert backup_disks(ScriptedQemu(), agent, targets(tmp_path), heard_by(events)).frozen
    assert "thaw-late" in events
