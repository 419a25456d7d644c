"""A lab in this process, so that the world can change between any two calls of a restore test."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pvelab.faults import calls
from pvelab.guests.devices import disks
from pvelab.guests.power import switch_off
from pvelab.guests.volumes import find
from pvelab.kernel import Lab
from pvelab.server import LabServer
from pvelab.wire import Reply, Request
from tests import warm
from tests.commands import Answer, Shell
from tests.disks import hash_disk

VMIDS = (103, 104, 105, 108)
SCRATCH = range(9000, 9010)
_SETTLED_NS = 2_000_000_000  # nanoseconds; the kernel's clock for files ticks every few million
_digests: dict[tuple[Path, int, int, int], str] = {}
# no tick opens a night meanwhile, whatever time it is
FAR = time.strftime("%H:00", time.gmtime(time.time() + 12 * 3600))
POLICY = """
site: false-proof
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}
jobs:
  nightly: {schedule: "FAR", storage: local, guests: [104, 105, 108], compress: zstd}
guests:
  104:
    address: 192.168.10.4
    boot-timeout: 120s
    check-timeout: 5s
    checks: [{http: {port: 80, path: /, status: 200, contains: GLPI}}]
  105:
    address: 192.168.10.5
    boot-timeout: 120s
    check-timeout: 5s
    checks: [{http: {port: 80, path: /login, status: 200, contains: Kanboard}}]
  108:
    address: 192.168.10.8
    boot-timeout: 120s
    check-timeout: 5s
    checks: [ssh, {http: {port: 80, path: /, status: 200}}]
""".replace("FAR", FAR)
# The command line in a process whose wall clock somebody sets, by as many seconds as stand in a
# file; and in one that does not wait for two minutes until it leaves a cluster that is silent to
# the workers.
SET_CLOCK = """
import pathlib, sys, time
from backupsvc import clock
offset = pathlib.Path(sys.argv.pop(1))
clock.SystemClock.now = lambda self: time.time() + float(offset.read_text() if offset.exists() else 0)
from backupsvc.cli import main
main()
"""
IMPATIENT = """
import sys
from backupsvc.engine import executor
executor.FOREGROUND_RETRY_FOR_S = float(sys.argv.pop(1))
from backupsvc.cli import main
main()
"""


@dataclass
class Moment:
    """What happens once, at the first call that fits ``when`` it may: before it is carried out, or
    ``after`` it has gone well.
    """

    method: str
    path: str
    act: Callable[[], object]
    after: bool = False
    passed: bool = False
    when: Callable[[], bool] = lambda: True


@dataclass
class Stage:
    """The running lab, a user of the service, and what is to happen meanwhile."""

    lab: Lab
    server: LabServer
    shell: Shell
    moments: list[Moment] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self, request: Request, go: Callable[[], Reply]) -> Reply:
        """Carry a call out, with what is to happen at it."""
        for moment in self._due(request, after=False):
            moment.act()
        reply = go()
        if reply.status == 200:
            for moment in self._due(request, after=True):
                moment.act()
        return reply

    def _due(self, request: Request, *, after: bool) -> list[Moment]:
        return [
            moment
            for moment in self.moments
            if moment.after == after and self._take(moment, request)
        ]

    def _take(self, moment: Moment, request: Request) -> bool:
        with self._mutex:
            if (
                moment.passed
                or not fnmatchcase(request.method, moment.method)
                or not fnmatchcase(request.call, moment.path)
            ):
                return False
            if not moment.when():
                return False
            moment.passed = True
            return True

    def archive(self, vmid: int) -> dict[str, Any]:
        """Return a guest's newest archive as the catalog has it."""
        rows = self.shell("catalog", "list", "--vmid", vmid, "--json").json["archives"]
        return dict(max(rows, key=lambda row: row["ctime"]))

    def dump(self, volid: str) -> Path:
        """Return an archive's file, on whichever node it lies."""
        return next(self.lab.dir.glob(f"nodes/*/var/lib/vz/dump/{volid.rpartition('/')[2]}"))

    def production(self) -> dict[int, tuple[Any, ...]]:
        """Return each production guest: where it is, its config, whether it runs, and its disks'
        SHA-256.
        """
        found: dict[int, tuple[Any, ...]] = {}
        for vm in self.lab.guests.all():
            if vm.vmid in VMIDS:
                paths = [find(self.lab, vm.node, drive.volume).path for drive in disks(vm.config)]
                found[vm.vmid] = (
                    vm.node,
                    vm.text(),
                    self.lab.machine_status(vm.vmid),
                    *map(_digest, paths),
                )
        return found

    def starts(self) -> int:
        """Return how many tasks have started a copy so far."""
        return sum(
            upid.type == "qmstart" and int(upid.id) in SCRATCH
            for upid, _, _ in self.lab.tasks.finished()
        )

    def settles(self) -> bool:
        """Return whether a copy settles, which only the service's own catalog tells."""
        with closing(
            sqlite3.connect(f"file:{self.shell.state}/lab/catalog.db?mode=ro", uri=True)
        ) as catalog:
            return bool(
                catalog.execute(
                    "SELECT 1 FROM operation WHERE state = 'open' AND step = 'settle'"
                ).fetchall()
            )

    def left_behind(self) -> list[str]:
        """Return every trace of a copy: guests, volumes, processes, leases and operations that are
        open.
        """
        found = [f"guest {vm.vmid}" for vm in self.lab.guests.all(None, None) if vm.vmid in SCRATCH]
        found += [f"volume {path.name}" for path in self.lab.dir.glob("nodes/*/dev/pve/vm-90*")]
        found += [
            f"machine {vmid}"
            for vmid in self.lab.machines
            if vmid in SCRATCH and self.lab.machine_status(vmid) != "stopped"
        ]
        listed = self.shell("operations", "list", "--json").json["operations"]
        return found + [
            f"operation {row['id']} ({row['state']})" for row in listed if not _ended(row)
        ]

    def in_process(self, code: str, given: object, *words: object) -> Answer:
        """Run a command in a process that begins with ``code``, which takes what is ``given`` from
        its arguments.
        """
        settings = {"BACKUPSVC_STATE_DIR": str(self.shell.state), "COLUMNS": "200"} | self.shell.env
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
        done = warm.python(["-c", code, str(given), *map(str, words)], kept | settings)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def _ended(row: dict[str, Any]) -> bool:
    return bool(row["state"] != "open")


def _digest(path: Path) -> str:
    """A disk's hash. What nothing has written to since it was hashed is not hashed again.

    Each write sets ctime, which nobody can set back; of a file written a moment ago the next write
    may get the same one, so that its hash is not kept.
    """
    now, state = time.time_ns(), path.stat()
    key = (path, state.st_ino, state.st_size, state.st_ctime_ns)
    if key not in _digests:
        found = hash_disk(path)
        if now - state.st_ctime_ns < _SETTLED_NS:
            return found
        _digests[key] = found
    return _digests[key]


@contextmanager
def built(state: Path) -> Iterator[Stage]:
    """Four guests of the reference site, real ones, three of them backed up."""
    (state / "lab").mkdir()
    policy = state / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        running = LabServer(
            state / "lab", "qemu", lambda text: None, guests=",".join(map(str, VMIDS))
        )
        try:
            running.start()
            stage = Stage(running.lab, running, Shell(state, {"BACKUPSVC_POLICY": str(policy)}))
            carry_out = calls.around
            patch.setattr(
                calls,
                "around",
                lambda board, request, go: stage.carry_out(
                    request, lambda: carry_out(board, request, go)
                ),
            )
            made = stage.shell("backup", "run", "--json")
            assert made.code == 0, made.out + made.err
            running.lab.ha.resources.clear()  # HA would start what is switched off
            for vmid in VMIDS:  # at rest nothing but a mistake of ours can change their disks
                switch_off(running.lab, vmid)
            yield stage
        finally:
            running.stop()
            shutil.rmtree(running.run_dir, ignore_errors=True)


def said(answer: Answer) -> str:
    """Return all that a restore test says of its outcome."""
    told = answer.json
    return json.dumps([told.get("reasons"), told.get("error"), told.get("checks")])
