"""Operations that an older release left open, of each kind one in mid-step, are gone on with by
this one.
"""

from __future__ import annotations

import re
import sqlite3
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from backupsvc.bootstrap import Service
from backupsvc.operations import showing
from backupsvc.operations.kinds import KINDS
from backupsvc.settings import load_settings
from policies.model import Operation, OperationState
from tests.commands import Shell
from tests.integration.durable import conductor
from tests.integration.durable.kinds import RESTORED
from tests.integration.durable.scene import Scene, conducted
from tests.integration.test_modelled_isolation import as_root

GOLDEN = Path(__file__).parents[2] / "golden" / "left_open" / "lab.tar.xz"
STOOD = {  # where the one of each kind was killed
    "backup": "dump",
    "night": "back-up",
    "prune": "remove",
    "reap": "tear-down",
    "restore": "restore",
    "restore-test": "start",
}
SINCE = {
    "copy",
    "recheck",
    "copy-recheck",
    "recover",
    "ha-drill",
    "put-back",
    "replace",
    "replace-undo",
}  # the kinds that the older release did not have


class EarlierClock(conductor.HastyClock):
    """A clock that is as many seconds behind: operations have deadlines, and those of an older
    release are long over.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind

    def now(self) -> float:
        """Epoch seconds."""
        return super().now() - self._behind

    def monotonic(self) -> float:
        """Seconds that never jump; they too go on, if this is still the boot in which the older
        release ran.
        """
        return super().monotonic() - self._behind


def unpacked(state: Path) -> Path:
    """Given an empty state directory, put there what the older release left; return the catalog's
    file.
    """
    with tarfile.open(GOLDEN) as kept:
        kept.extractall(state, filter="data")
    for path in (state / "lab" / "etc").rglob("pve-*.*"):
        path.unlink()  # the lab makes new certificates: these would be too old one day
    return state / "lab" / "catalog.db"


def asked(file: Path, question: str) -> list[Any]:
    with sqlite3.connect(file) as catalog:
        rows = catalog.execute(question).fetchall()
    catalog.close()
    return rows


def brought_to_their_end(service: Service, ids: dict[str, str]) -> dict[str, Operation]:
    conductor.work_to_the_end(service)
    found = {kind: service.catalog.operations.get(id) for kind, id in ids.items()}
    return {kind: operation for kind, operation in found.items() if operation}


@pytest.mark.slow
@pytest.mark.long(600)
def test_one_of_each_kind_that_an_older_release_left_in_mid_step_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor.hurry(monkeypatch.setattr)
    file = unpacked(tmp_path)
    stood = asked(file, "SELECT kind, id, step FROM operation WHERE state = 'open'")
    ids = {kind: id for kind, id, step in stood if STOOD[kind] == step}
    assert ids.keys() == STOOD.keys() == KINDS.keys() - SINCE
    assert asked(file, "SELECT version_num FROM alembic_version") == [("0008",)]
    ((stopped,),) = asked(file, "SELECT max(updated) FROM operation")
    shell = Shell(tmp_path)
    assert (up := shell("lab", "up", "--json")).code == 0, up.err
    behind = int(time.time()) - stopped - 60
    try:
        for node in ("clovis", "lge-pve02"):
            assert (set_back := shell("lab", "fault", "drift", "--", node, -behind)).code == 0, (
                set_back.err
            )
        # a lab that comes up starts its guests
        as_root(shell, "POST", f"/nodes/clovis/qemu/{RESTORED}/status/stop")
        with conducted(shell) as scene:
            for name, value in {"BACKUPSVC_STATE_DIR": str(tmp_path), **scene.shell.env}.items():
                monkeypatch.setenv(name, value)
            policy = Path(scene.shell.env["BACKUPSVC_POLICY"])
            policy.write_text(
                re.sub("(?m)^ *window: .*$", "", policy.read_text(encoding="utf-8")),
                encoding="utf-8",
            )
            service = conductor.opened(load_settings(), foreground=False)
            service.clock = EarlierClock(behind)
            ended = brought_to_their_end(service, ids)
            service.close()
            look(scene, ended)
    finally:
        assert shell("lab", "down").code == 0


def look(scene: Scene, ended: dict[str, Operation]) -> None:
    told = {kind: showing.result(operation) for kind, operation in ended.items()}
    states = {kind: operation.state for kind, operation in ended.items()}
    assert states == dict.fromkeys(STOOD, OperationState.DONE), told
    # the dump that was asked for then
    assert told["backup"] == "local:backup/vzdump-qemu-110-2026_11_27-11_28_10.vma.zst"
    assert told["restore"].startswith("local:backup/vzdump-qemu-103-2026_11_27-")
    assert told["prune"] == "2 archives removed"
    # three of that release's archives were never read whole; what this night made or tested was
    assert told["night"] == (
        "backups: 11 of 11 done; retention: done; restore tests: 11 simulated; "
        "read anew: 3 of 3 archives"
    )
    assert told["restore-test"].startswith("simulated, rung ")
    ran = scene.tasks()
    # the night's own are in it
    assert (ran["qmrestore 103"], ran["vzdump 110"], ran["imgdel 105@local"]) == (1, 2, 3), ran
    # it is one of the six
    assert [said for said in scene.left_overs() if not said.startswith("reap ")] == []
