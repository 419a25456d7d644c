"""A night by Celery: a real Redis, real workers in processes of their own, a lab with modelled
guests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.commands import Shell
from tests.postgres import ON_BOTH
from tests.waiting import HANGS, wait_until

pytestmark = [pytest.mark.slow, ON_BOTH]


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the test's own, on a unix socket; its URL for Celery."""
    home = tmp_path_factory.mktemp("r")
    socket = home / "s"
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", home, "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    wait_until(socket.exists)
    yield f"redis+socket://{socket}"
    server.terminate()
    server.wait(HANGS)


def worker(env: dict[str, str], name: str) -> subprocess.Popen[bytes]:
    """Start a worker process with two children."""
    command = [
        "-m",
        "celery",
        "-A",
        "workers.app",
        "worker",
        "-c",
        "2",
        "-n",
        f"{name}@test",
        "-l",
        "warning",
    ]
    return subprocess.Popen(
        [sys.executable, *command], env=os.environ | env, cwd=Path(__file__).parents[2]
    )


def test_law_9_two_beats_and_two_workers_live_through_one_night_once(
    site: Shell, redis: str, policy: Path
) -> None:
    env = site.env | {
        "BACKUPSVC_STATE_DIR": str(site.state),
        "BACKUPSVC_BROKER__URL": redis,
        "BACKUPSVC_POLICY": str(policy),
    }
    workers = [worker(env, "one"), worker(env, "two")]
    try:
        client = Celery(broker=redis)
        for _ in range(4):
            client.send_task("workers.tasks.tick", queue="polls")
        night = _ended_night(site, policy)
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            process.wait(HANGS)
    assert night["state"] == "done"
    operations = site("operations", "list", "--json", "--limit", 100).json["operations"]
    first = [row for row in operations if row["id"] in set(night["data"]["children"].values())]
    assert Counter(row["kind"] for row in first) == {"backup": 2, "prune": 1, "restore-test": 2}
    assert {row["state"] for row in first} == {"done"}
    assert {row["verdict"] for row in first if row["kind"] == "restore-test"} == {"simulated"}
    summary = next(row["summary"] for row in operations if row["kind"] == "night")
    assert summary == "backups: 2 of 2 done; retention: done; restore tests: 2 simulated"
    assert sum(row["kind"] == "night" for row in operations) == 1


def _ended_night(site: Shell, policy: Path) -> Any:
    def ended() -> list[dict[str, Any]]:
        rows = site("operations", "list", "--json", BACKUPSVC_POLICY=str(policy)).json["operations"]
        return [row for row in rows if row["kind"] == "night" and row["state"] != "open"]

    return site(
        "operations", "show", wait_until(ended, "no night has ended", pause=1)[-1]["id"], "--json"
    ).json
