"""The catalog is lost in the middle of a test: the copy that it forgets is told of, and no other
service touches it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.lab.false_proof.cells import START_CALL
from tests.lab.false_proof.groups.platform import work_off
from tests.lab.false_proof.stage import Moment, Stage

pytestmark = pytest.mark.lab


def test_law_1_a_copy_that_a_lost_catalog_forgot_is_told_of_and_left_alone(stage: Stage) -> None:
    before, started = stage.production(), threading.Event()
    stage.moments.append(Moment("POST", START_CALL, started.set, after=True))
    catalog = stage.shell.state / "lab" / "catalog.db"
    kept = {path: path.read_bytes() for path in catalog.parent.glob("catalog.db*")}
    settings = {"BACKUPSVC_STATE_DIR": str(stage.shell.state), **stage.shell.env}
    test = subprocess.Popen(
        [sys.executable, "-m", "backupsvc", "restore-test", "108", "--json"],
        env={name: value for name, value in os.environ.items() if not name.startswith("BACKUPSVC_")} | settings,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert started.wait(120)
        test.send_signal(signal.SIGKILL)
        test.wait()
        for path in catalog.parent.glob("catalog.db*"):
            path.unlink()
        (line,) = [
            line
            for line in stage.shell("doctor", "--json").json["lines"]
            if line["name"] == "copies"
        ]
        assert "VM 9000" in line["detail"] and "qm destroy 9000" in line["action"]
        found = [
            item
            for item in stage.shell("pra", "status", "--json").json["findings"]
            if item["id"] == "orphan-copy"
        ]
        assert [item["severity"] for item in found] == ["critical"]
        assert stage.lab.guests.get(9000) is not None
        assert stage.production() == before
    finally:
        stage.moments.clear()
        for path in catalog.parent.glob("catalog.db*"):
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
    # the older catalog does not know the copy either, but it is the one that the copy was made with
    work_off(stage)
    assert stage.left_behind() == []
