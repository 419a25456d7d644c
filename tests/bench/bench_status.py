"""What `pra status` of 200 guests on 4 nodes with a year of nightly archives, 73,000 of them, costs
the machine it runs on.

    python -m pytest tests/bench/bench_status.py -s

The yardstick is to ask the same storages for the same listings and to read the JSON, and nothing
else. Target: 2 s of CPU, of which what the command loads is told apart. As where it is installed,
its modules are compiled before.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from pvelab import control
from tests.commands import Shell

pytestmark = pytest.mark.bench
RUNS = 5
LOADED = (
    "backupsvc.cli.app, backupsvc.bootstrap, backupsvc.catalog, backupsvc.pve.client, "
    "backupsvc.report.facts, backupsvc.report.document"
)
READ_ALL = """
import json, sys, requests
host, token, ca = sys.argv[1:4]
session = requests.Session()
session.trust_env, session.verify, session.headers["Authorization"] = False, ca, f"PVEAPIToken={token}"
for node in range(1, 5):
    session.get(f"https://{host}/api2/json/nodes/pve{node:02d}/storage/local/content?content=backup").json()
for number in range(1, 5):
    session.get(f"https://{host}/api2/json/nodes/pve01/storage/nas{number}/content?content=backup").json()
"""


def computed(words: list[str], env: dict[str, str]) -> float:
    """Given a command, run it and return the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        words, env=kept | env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: the site is not compliant
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_status_next_to_reading_the_listings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "lab"
    access = control.up(home, hypervisor="simulated", scale="4x200", years=1)
    try:
        assert Shell(tmp_path)("catalog", "sync", "--json").code == 0
        pve = access.settings["pve"]
        reading = [sys.executable, "-c", READ_ALL, pve["host"], pve["token"], pve["ca_file"]]
        telling = [sys.executable, "-m", "backupsvc", "pra", "status"]
        loading = [sys.executable, "-c", f"import {LOADED}"]
        env = {"BACKUPSVC_STATE_DIR": str(tmp_path), "PYTHONPYCACHEPREFIX": f"{tmp_path}/compiled"}
        computed(telling, env)
        rows = [
            (computed(reading, env), computed(telling, env), computed(loading, env))
            for _ in range(RUNS)
        ]
    finally:
        control.down(home)
    read, told, loaded = (statistics.median(column) for column in zip(*rows, strict=True))
    with capsys.disabled():
        print(
            f"\npra status {told:.2f} s of CPU, of which it loads for {loaded:.2f} s; "
            f"{told / read:.2f} x reading the listings ({read:.2f} s), medians of {RUNS}"
        )
    assert told > 0
