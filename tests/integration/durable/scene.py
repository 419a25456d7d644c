"""The stage: a lab whose guests are modelled, what it holds at a moment, and how it is set up again
after a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from backupsvc.copies import age
from policies.segments import END, MANIFEST_END, Unreadable, read_manifest
from pvelab.accident import delete_guest
from tests.commands import Shell, briefly
from tests.disks import hash_disk
from tests.integration.durable.around import Around
from tests.integration.durable.kinds import (
    COPIED,
    PRUNED,
    REPLACED,
    REPLACING,
    RESTORED,
    TESTED,
)
from tests.integration.test_modelled_isolation import as_root
from tests.unit.copies.encrypted import RECIPIENTS, opened

ROOT = Path(__file__).parents[3]
NODE, ELSEWHERE = "clovis", "lge-pve02"
OLD_NIGHTS = ("2026_03_08-21_00_00", "2026_03_09-21_00_00", "2026_03_10-21_00_00")
PAIRED = ("replace", "replace-undo")  # kinds that are about two guests
WORK = re.compile(r"vzdump|qmrestore|qmstart|qmstop|qmshutdown|qmdestroy|imgdel")


@dataclass(frozen=True)
class Run:
    """What one run came to: what the operation told, which tasks PVE ran for it, and what it left
    that it must not leave.
    """

    killed: bool
    said: list[str]
    errors: list[str]
    operations: list[Any]
    tasks: dict[str, int]
    made: dict[str, Any]
    left: list[str]

    def differs(self, undisturbed: Run) -> list[str]:
        """Say in what this run differs from the undisturbed one."""
        pairs = (
            ("operations", self.operations, undisturbed.operations),
            ("tasks", self.tasks, undisturbed.tasks),
        )
        found = [f"{name}: {mine} instead of {theirs}" for name, mine, theirs in (*pairs, ("made", self.made, undisturbed.made))
                 if mine != theirs]  # fmt: skip
        return self.errors + found + self.left


class Scene:
    """One lab with one catalog. ``run`` drives an operation on it, looks at what came of it, and
    sets the stage again.
    """

    def __init__(self, shell: Shell, conductor: subprocess.Popen[str]) -> None:
        self.shell, self._conductor = shell, conductor
        self.lab = shell.state / "lab"
        self.dump = self.lab / "nodes" / NODE / "var" / "lib" / "vz" / "dump"
        self.targets = {target: Path(folder) for target, folder in target_folders(shell).items()}
        self.around = Around(shell, self.ask)
        self._kept, self._kept_copies = shell.state / "kept", shell.state / "kept-copies"

    # --- setting up -------------------------------------------------------------------------------

    configs: dict[int, str]
    hashes: dict[str, str]
    older: dict[str, str]

    def prepare(self) -> None:
        """Back up the guests that are tested, restored, pruned and copied; delete the one that is
        restored; age the one's archives. At the target that keeps one copy lies an older one.
        """
        for words in (("backup", "run"), ("copy", "run", "--to", "usb")):
            made = self.shell(*words, "--vmid", COPIED, "--json")
            assert made.code == 0, made.out + made.err
        for path in self.archives(COPIED):
            path.unlink()
        for node in self.nodes():
            iso = node / "var" / "lib" / "vz" / "template" / "iso" / "tools.iso"
            iso.parent.mkdir(parents=True, exist_ok=True)
            iso.write_bytes(b"iso")
        as_root(
            self.shell,
            "PUT",
            f"/nodes/{NODE}/qemu/{TESTED}/config",
            ide2="local:iso/tools.iso,media=cdrom",
        )
        done = self.shell(
            "backup",
            "run",
            *(word for vmid in (TESTED, RESTORED, PRUNED, COPIED) for word in ("--vmid", vmid)),
            "--json",
        )
        assert done.code == 0, done.out + done.err
        self.lost = self.disks(RESTORED)
        delete_guest(self.lab, NODE, RESTORED)
        for path in self.archives(PRUNED):
            for night in OLD_NIGHTS:
                shutil.copy(
                    path,
                    path.with_name(re.sub(r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d", night, path.name)),
                )
        # its archives are older than its catalog
        assert self.shell("catalog", "sync", "--accept", "--json").code == 0
        shutil.copytree(self.dump, self._kept)
        shutil.copytree(self.targets["usb"], self._kept_copies)
        with closing(sqlite3.connect(self.lab / "catalog.db", timeout=15)) as catalog:
            self._copy_rows = catalog.execute("SELECT * FROM copy").fetchall()
        assert len(self._copy_rows) == 1
        self.older = self.copies()
        self.around.set_up()
        self.configs, self.hashes = self.guests(), self.hash_disks()

    def reset(self) -> None:
        """Set the stage again: the archives that were there, and no others; the lost guest lost, the
        replaced one in its place.
        """
        self._put_back()
        if RESTORED in self.guests():
            delete_guest(self.lab, NODE, RESTORED)
        for path in self.dump.iterdir():
            if not (self._kept / path.name).exists():
                path.unlink()
        for path in self._kept.iterdir():
            if not (self.dump / path.name).exists():
                shutil.copy2(path, self.dump)
        for folder in self.targets.values():
            for path in folder.iterdir():
                path.unlink()
        shutil.copytree(self._kept_copies, self.targets["usb"], dirs_exist_ok=True)
        self.around.take_away()
        self._forget_new_archives()

    def _put_back(self) -> None:
        guests = self.guests()
        for row in self.ask("/cluster/ha/resources"):
            if row["sid"] in (f"vm:{REPLACED}", f"vm:{REPLACING}"):
                self.ask(f"/cluster/ha/resources/{row['sid']}", "DELETE")
        if REPLACING in guests:
            delete_guest(self.lab, NODE, REPLACING)
        if guests[REPLACED] != self.configs[REPLACED]:
            # as its users do: what is written into the file alone the lab does not read anew
            lines = [line.split(": ", 1) for line in self.configs[REPLACED].splitlines()]
            wiring = {key: value for key, value in lines if key.startswith(("net", "onboot"))}
            self.ask(f"/nodes/{NODE}/qemu/{REPLACED}/config", "PUT", **wiring)
        where = f"/nodes/{NODE}/qemu/{REPLACED}/status"
        if self.ask(f"{where}/current")["status"] == "stopped":
            as_root(self.shell, "POST", f"{where}/start")
            end = time.monotonic() + 30
            while self.ask(f"{where}/current")["status"] == "stopped":
                assert time.monotonic() < end, "the guest that was replaced does not start again"
                time.sleep(0.02)

    def _forget_new_archives(self) -> None:
        """Let the catalog know that the archives which the stage does not have were taken away on
        purpose.
        """
        with sqlite3.connect(self.lab / "catalog.db", timeout=15) as catalog:
            known = [
                row[0] for row in catalog.execute("SELECT volid FROM archive WHERE gone_at IS NULL")
            ]
            gone = [
                (volid,) for volid in known if not (self._kept / volid.partition("/")[2]).exists()
            ]
            catalog.executemany("UPDATE archive SET gone_at = 1 WHERE volid = ?", gone)
            catalog.execute("UPDATE archive SET gone_at = 1 WHERE node = ?", (ELSEWHERE,))
            catalog.execute("DELETE FROM copy")
            marks = ", ".join("?" for _ in self._copy_rows[0])
            catalog.executemany(f"INSERT INTO copy VALUES ({marks})", self._copy_rows)
            # long ago: a listing of the second in which an archive went would be taken for the
            # older news
            catalog.execute("UPDATE archive SET gone_at = 1 WHERE gone_at IS NOT NULL")
        catalog.close()

    # --- running ----------------------------------------------------------------------------------

    def run(
        self,
        kind: str,
        at: int = 0,
        *,
        way: str = "command",
        fault: str | None = None,
        cancel: bool = False,
    ) -> Run:
        """Drive one operation of a kind: killed at point ``at``, or its call ``at`` broken by
        ``fault``; 0 is undisturbed.

        With ``cancel`` somebody cancels what was killed, before another process finds it.
        """
        self._before(kind)
        tasks, archives = self.tasks(), set(self.dump.glob("*.vma.zst"))
        told = self.conduct(
            kind=kind, at=at, way=way, cancel=cancel, **({"fault": fault} if fault else {})
        )
        fresh = {path.name[:15] for path in set(self.dump.glob("*.vma.zst")) - archives}
        made = {
            "archives": sorted(fresh),
            "disks": self.disks(RESTORED),
            "config": self.restored_config(),
            "copies": self.copies(),
        }
        if kind == "put-back":
            made["around"] = self.around.seen()
        if kind in PAIRED:
            made |= self.pair()
        tasks = self.tasks() - tasks
        run = Run(
            **told,
            tasks=dict(sorted(tasks.items())),
            made=made,
            left=self.left_overs() + self.harmed((REPLACED, REPLACING) if kind in PAIRED else ()),
        )
        self.reset()
        return run

    def warm_up(self, kind: str, way: str) -> None:
        """Let the warm process drive one operation of a kind itself, for all the later runs."""
        self._before(kind)
        told = self.conduct(kind=kind, way=way, warm=True)
        assert not told["errors"], told
        self.reset()

    def _before(self, kind: str) -> None:
        """Let HA manage the guest that is replaced; where a replacement is taken back, make it."""
        if kind in PAIRED:
            self.ask("/cluster/ha/resources", "POST", sid=f"vm:{REPLACED}", state="started")
        if kind == "replace-undo":
            told = self.conduct(kind="replace", way="command", at=0)
            assert not told["errors"], told

    def conduct(self, **asked: Any) -> dict[str, Any]:
        """Let the warm process drive one operation as asked, and return what it tells of it."""
        assert self._conductor.stdin and self._conductor.stdout
        self._conductor.stdin.write(json.dumps(asked) + "\n")
        self._conductor.stdin.flush()
        told: dict[str, Any] = json.loads(self._conductor.stdout.readline())
        return told

    def ask(self, path: str, method: str = "GET", /, **params: Any) -> Any:
        """Ask the lab as its root."""
        session, api = self._as_root
        form, query = (params, None) if method in ("PUT", "POST") else (None, params)
        answer = session.request(method, f"{api}{path}", query, form, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    @cached_property
    def _as_root(self) -> tuple[requests.Session, str]:
        """One connection for all runs: one for each question costs more than the question."""
        saved, root = (
            json.loads((self.lab / name).read_text(encoding="utf-8"))
            for name in ("settings.json", "root.json")
        )
        session = requests.Session()
        session.trust_env, session.verify = False, saved["pve"]["ca_file"]
        session.headers["Authorization"] = f"PVEAPIToken={root['token']}"
        return session, f"https://{saved['pve']['host']}/api2/json"

    # --- looking ----------------------------------------------------------------------------------

    def nodes(self) -> list[Path]:
        """The directories of the lab's nodes."""
        return sorted((self.lab / "nodes").iterdir())

    def archives(self, vmid: int) -> list[Path]:
        """A guest's archives with what lies next to them."""
        return sorted(self.dump.glob(f"vzdump-qemu-{vmid}-*"))

    def guests(self) -> dict[int, str]:
        """Every guest's configuration file, as text."""
        found = (self.lab / "etc" / "pve" / "nodes").glob("*/qemu-server/*.conf")
        return {int(path.stem): path.read_text(encoding="utf-8") for path in found}

    def tasks(self) -> Counter[str]:
        """How many tasks of each type and guest PVE ran, or runs."""
        names = (
            path.name.split(":")
            for path in (self.lab / "nodes").glob("*/var/log/pve/tasks/?/UPID:*")
        )
        # HA moves guests as root
        return Counter(
            f"{name[5]} {name[6]}"
            for name in names
            if (WORK.fullmatch(name[5]) and "!" in name[7]) or name[5] == "qmigrate"
        )

    def disks(self, vmid: int) -> dict[str, str]:
        """The hashes of a guest's disks."""
        paths = (
            path
            for node in self.nodes()
            for path in (node / "dev" / "pve").glob(f"vm-{vmid}-disk-*")
        )
        return {path.name: hash_disk(path) for path in sorted(paths)}

    def hash_disks(self) -> dict[str, str]:
        """The hashes of all production guests' disks."""
        return {name: value for vmid in self.guests() for name, value in self.disks(vmid).items()}

    def restored_config(self) -> str:
        """The restored guest's configuration, without what PVE makes new at each restore."""
        lines = self.guests().get(RESTORED, "").splitlines()
        return "\n".join(line for line in lines if not line.startswith(("vmgenid:", "meta:")))

    def pair(self) -> dict[str, Any]:
        """The guest that is replaced and its successor: the configurations without what PVE makes new
        at each restore, the disks, whether they run, what HA makes of them, and their backup jobs.
        """
        configs, rows = self.guests(), self.ask("/cluster/resources?type=vm")
        managed = {row["sid"]: row["state"] for row in self.ask("/cluster/ha/resources")}
        states = {row["vmid"]: row["status"] for row in rows}
        assert self.disks(REPLACED) == {
            name: value for name, value in self.hashes.items() if f"vm-{REPLACED}-" in name
        }, "the disks of the guest that is replaced are as they were"
        return {
            str(vmid): (
                [
                    line
                    for line in configs.get(vmid, "").splitlines()
                    if not line.startswith(("vmgenid:", "meta:"))
                ],
                states.get(vmid),
                managed.get(f"vm:{vmid}"),
                [
                    row["id"]
                    for row in self.ask("/cluster/backup")
                    if str(vmid) in str(row.get("vmid", "")).split(",")
                ],
            )
            for vmid in (REPLACED, REPLACING)
        }

    def copies(self) -> dict[str, str]:
        """The hashes of what lies at the targets, by target and name: of a part its name alone, of
        what is encrypted what comes out of it, of its manifest what it says of the archive.
        """
        return {
            f"{target}/{path.name}": _content(path)
            for target, folder in self.targets.items()
            for path in sorted(folder.iterdir())
        }

    def left_overs(self) -> list[str]:
        """What an operation must not leave behind, as sentences."""
        found = [f"scratch guest {vmid} is left" for vmid in self.guests() if 9000 <= vmid < 9100]
        found += [
            f"volume {path.name} is left"
            for node in self.nodes()
            for path in (node / "dev" / "pve").glob("vm-90??-*")
        ]
        found += [
            f"guest {vmid} is locked"
            for vmid, text in self.guests().items()
            if re.search("^lock:", text, re.MULTILINE)
        ]
        found += [
            f"{path.name} is left"
            for path in self.dump.iterdir()
            if not re.search(r"\.(vma\.zst|notes|log)$", path.name)
        ]
        catalog = sqlite3.connect(self.lab / "catalog.db", timeout=15)
        for query, what in (
            ("SELECT id FROM operation WHERE state = 'open'", "open operation"),
            ("SELECT vmid FROM vmid_lease", "lease on VMID"),
            ("SELECT name FROM lane", "lane"),
            ("SELECT volid FROM archive_pin", "pin on"),
            ("SELECT file FROM copy WHERE removing_at IS NOT NULL", "half of"),
            ("SELECT id FROM operation WHERE kind = 'reap'", "reap"),
            (
                "SELECT id FROM operation WHERE lane IS NOT NULL AND state != 'open'",
                "place in a lane of operation",
            ),
        ):
            found += [f"{what} {row[0]} is left" for row in catalog.execute(query)]
        catalog.close()
        rows = self.ask("/cluster/tasks")
        return found + [f"task {row['upid']} still runs" for row in rows if not row.get("status")]

    def harmed(self, but: tuple[int, ...] = ()) -> list[str]:
        """What has changed of the production guests, as sentences: configurations, and whether they
        run; ``but`` these.
        """
        now = self.guests()
        changed = [
            f"guest {vmid} has changed"
            for vmid, text in self.configs.items()
            if now.get(vmid) != text and vmid not in but
        ]
        rows = self.ask("/cluster/resources?type=vm")
        return changed + [
            f"guest {row['vmid']} is {row['status']}"
            for row in rows
            if row["status"] != "running" and row["vmid"] not in but
        ]


def target_folders(shell: Shell) -> dict[str, str]:
    """Given a user whose lab is up, return the folders of the stage's copy targets."""
    dump = shell.state / "lab" / "nodes" / ELSEWHERE / "var" / "lib" / "vz" / "dump"
    return {name: str(shell.state / name) for name in ("usb", "sealed")} | {"pve02": str(dump)}


def copy_targets(shell: Shell) -> str:
    """Given a user whose lab is up, return the policy's section with those targets, and make their
    folders.
    """
    folders = target_folders(shell)
    for folder in folders.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    return f"""
copies:
  pve02:
    kind: pve-storage
    node: {ELSEWHERE}
    storage: local
    path: {folders["pve02"]}
    allow-root: true
  usb:
    kind: directory
    path: {folders["usb"]}
    keep: keep-last=1
  sealed:
    kind: directory
    path: {folders["sealed"]}
    encrypt: age
    recipients: {json.dumps(RECIPIENTS)}
"""


def _content(path: Path) -> str:
    if path.name.endswith(".part"):
        return ""
    if path.name.endswith(MANIFEST_END):
        return _said(path)
    if path.name.endswith(END):
        return _opened(path)
    return _hash(path)


def _opened(path: Path) -> str:
    """The hash of what an encrypted file holds: no two of them are alike."""
    try:
        return hashlib.sha256(opened(path.parent, path.name)).hexdigest()
    except age.NotAge:
        return "cut off"


def _said(path: Path) -> str:
    """What the manifest of an encrypted copy says, if all of it is true of what lies beside it."""
    found = read_manifest(path.read_bytes())
    if isinstance(found, Unreadable):
        return found.why
    files = (*found.segments, *(one for _, one in found.sidecars))
    for one in files:
        there = path.with_name(one.file)
        if not there.is_file() or (there.stat().st_size, _hash(there)) != (one.size, one.sha256):
            return f"lies of {one.file}"
    plain = b"".join(opened(path.parent, one.file) for one in found.segments)
    if (len(plain), hashlib.sha256(plain).hexdigest()) != (found.size, found.sha256):
        return "lies of the archive"
    return f"{found.file} {found.sha256} {[(one.file, one.start, one.length) for one in files]}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def stage(state: Path) -> Iterator[Scene]:
    """Given a directory, bring a lab with modelled guests up in it, ready for any number of
    runs.
    """
    shell = Shell(state)
    up = shell("lab", "up", "--hypervisor", "simulated", "--json")
    assert up.code == 0, up.err
    try:
        # rounds of HA that a replacement waits for
        assert shell("lab", "cluster", "--time-factor", "50").code == 0
        with conducted(shell, copy_targets(shell)) as scene:
            scene.prepare()
            yield scene
            assert scene.hash_disks() == scene.hashes
    finally:
        assert shell("lab", "down").code == 0


@contextmanager
def conducted(
    shell: Shell, sections: str = "", stage: type[Scene] | None = None
) -> Iterator[Scene]:
    """Given a user whose lab is up, start the warm process that drives operations on it, by a
    policy whose nights never come, with these ``sections``, on this ``stage``.
    """
    policy = (ROOT / "policies" / "sites" / "langeo.yaml").read_text(encoding="utf-8")
    policy = policy.replace('schedule: "21:00"', 'schedule: "2038-01-01 21:00"')
    # how many calls a watch makes hangs on the time, and these are counted
    policy = briefly(policy, "0s")
    path = shell.state / "durable.yaml"
    policy = re.sub("keep: keep-last.*", "keep: keep-last=2", policy)
    path.write_text(policy + sections, encoding="utf-8")
    shell = Shell(shell.state, shell.env | {"BACKUPSVC_POLICY": str(path)})
    env = {**os.environ, "BACKUPSVC_STATE_DIR": str(shell.state), **shell.env}
    command = [sys.executable, "-m", "tests.integration.durable.conductor"]
    with subprocess.Popen(
        command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as conductor:
        yield (stage or Scene)(shell, conductor)
        assert conductor.stdin
        conductor.stdin.close()
