"""What a lab of 50 nodes, 2,000 guests and three years of nightly archives costs: time to come up,
memory, listings.

    python -m pytest tests/bench/bench_lab_scale.py -s

The targets are less than 1 GB of memory (the server with its nodes' SSH endpoints), `lab up` under
20 s, /cluster/resources under
0.2 s and 10,000 volumes of a storage listed in less than 0.5 s. Times are medians of whole requests
over TLS; next to them stands what the server computed for one, which a busy machine changes less.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pvelab import control
from pvelab.control import LabAccess
from tests.commands import Shell

pytestmark = pytest.mark.bench
ROUNDS = 5
MIB = 1024 * 1024


class Client:
    """Asks the lab with the everyday token and keeps the connection, as the service does."""

    def __init__(self, access: LabAccess) -> None:
        pve = access.settings["pve"]
        self._base, self._session = f"https://{pve['host']}/api2/json", requests.Session()
        self._session.trust_env = False
        self._session.verify = pve["ca_file"]
        self._session.headers["Authorization"] = f"PVEAPIToken={pve['token']}"

    def timed(self, path: str, rounds: int = ROUNDS) -> tuple[float, int]:
        """Given a path, return the median of its wall time in seconds and how many rows it
        lists.
        """
        times, rows = [], list[Any]()
        for _ in range(rounds):
            began = time.monotonic()
            answer = self._session.get(self._base + path, timeout=60)
            times.append(time.monotonic() - began)
            answer.raise_for_status()
            rows = answer.json()["data"]
        return statistics.median(times), len(rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scale") / "lab"
    yield path
    control.down(path)


def proportional_memory(pid: int) -> int:
    """Return the memory of a process and its children in bytes, what they share counted once
    (proc_pid_smaps_rollup).
    """
    pids = [
        pid,
        *(
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _parent(stat) == pid
        ),
    ]
    lines = [
        line
        for each in pids
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _measured(client: Client, pid: int, path: str) -> tuple[str, float, int, float]:
    """Return a path with its wall time, its rows, and how many seconds of CPU the server spent on
    one request.
    """
    before = computed_by(pid)
    seconds, rows = client.timed(path)
    return path, seconds, rows, (computed_by(pid) - before) / ROUNDS


def computed_by(pid: int) -> float:
    """Return the seconds of CPU that a process has used (proc_pid_stat: utime and stime, in
    ticks).
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_two_million_archives(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    access = control.up(home, hypervisor="simulated", scale="50x2000", years=3)
    came_up = time.monotonic() - began
    pid = control.running(home)
    assert pid is not None
    client, memory = Client(access), proportional_memory(pid)
    paths = (
        "/cluster/resources?type=vm",
        "/cluster/resources",
        "/nodes/pve01/storage/local/content?content=backup",
        "/nodes/pve01/storage/local/content?content=backup&vmid=10001",
        "/nodes/pve01/storage/nas1/content?content=backup",
        "/nodes/pve01/storage/nas1/content?content=backup&vmid=10001",
    )
    figures = [_measured(client, pid, path) for path in paths]
    began = time.monotonic()
    listed = [
        client.timed(f"/nodes/pve{n:02d}/storage/local/content?content=backup", 1)[1]
        for n in range(1, 51)
    ]
    listed += [
        client.timed(f"/nodes/pve01/storage/nas{n}/content?content=backup", 1)[1]
        for n in range(1, 5)
    ]
    everything = time.monotonic() - began
    with capsys.disabled():
        print(
            f"\nlab up {came_up:.1f} s; memory {memory / MIB:.0f} MiB, "
            f"{proportional_memory(pid) / MIB:.0f} MiB after all this"
        )
        for path, seconds, rows, computed in figures:
            share = f"{seconds / rows * 10_000:.3f} s for 10,000"
            print(f"  {path:62} {rows:6} rows {seconds:.3f} s ({computed:.3f} s computed), {share}")
        print(f"  every archive once: {sum(listed)} in {everything:.1f} s")
    assert sum(listed) > 2_000_000


def test_one_guest_through_the_service(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(home.parent)
    for words in ("catalog list --vmid 10001 --json", "backup run --vmid 10001 --json"):
        began = time.monotonic()
        assert shell(*words.split()).code == 0
        with capsys.disabled():
            print(f"  backupsvc {words:40} {time.monotonic() - began:.1f} s")
