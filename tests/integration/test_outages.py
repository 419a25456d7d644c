"""Redis burns, the catalog is locked or down, links break, in the middle of a night: nothing is
lost, and nothing is done twice.

The cluster is the lab with modelled guests, whose dumps are slowed down, so that the night lasts
longer than the outages. A tick is two seconds instead of thirty. Redis, PostgreSQL, Celery's
workers and beats are real.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis as redis_py
from sqlalchemy import make_url

from backupsvc.catalog import Catalog
from backupsvc.serve import private_redis
from policies.model import Operation, OperationState
from tests import served
from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.links import Link, link
from tests.postgres import Server, fresh_database, private_server
from tests.served import Served
from tests.waiting import HANGS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
ROOT = Path(__file__).parents[2]
GUESTS = (100, 101, 102, 103, 104, 105)
MINUTE = 60.0


def write_policy(path: Path, guests: tuple[int, ...] = GUESTS) -> Path:
    """A policy whose only job was due this very minute, once a day."""
    now = datetime.now(ZoneInfo("Europe/Paris"))
    path.write_text(
        f"""
site: outages
timezone: Europe/Paris
scratch: {{vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}}
jobs:
  nightly: {{schedule: "{now:%H:%M}", storage: local, guests: {list(guests)}, compress: zstd, window: 2h}}
guests:
  {guests[0]}: {{boot-timeout: 5s, check-timeout: 3s, checks: [agent]}}
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[Shell]:
    """A user whose lab dumps slowly: about eleven seconds a guest, one after the other."""
    policy = write_policy(tmp_path / "policy.yaml")
    shell = Shell(tmp_path / "site", {"BACKUPSVC_POLICY": str(policy)})
    (tmp_path / "site").mkdir()
    assert shell("lab", "up", "--hypervisor", "simulated").code == 0
    disable_pve_job(shell.state)  # backups of a test begun about 21:00 would stand back for it
    assert shell("lab", "fault", "storage-slow", "clovis/local", 28000).code == 0
    yield shell
    assert shell("lab", "down").code == 0


class Night:
    """The night, as its catalog tells it."""

    def __init__(self, url: str, log: Callable[[], str]) -> None:
        self._url, self._log = url, log

    def operations(self) -> list[Operation]:
        """All of them, newest first."""
        with Catalog.open(self._url) as catalog:
            return catalog.operations.find()

    def has_saved(self, guests: int) -> None:
        """Wait until so many guests are saved, and the next is at it."""

        def dumping() -> bool:
            states = Counter(item.state for item in self.operations() if item.kind == "backup")
            return states[OperationState.DONE] >= guests and states[OperationState.OPEN] > 0

        wait_until(dumping, self._said, pause=0.5)

    def ends_once(self, site: Shell) -> None:
        """Wait for its end: every guest has one archive, one dump and one operation, all is done,
        and nothing is left open.
        """
        wait_until(
            lambda: not any(item.state is OperationState.OPEN for item in self.operations()),
            self._said,
            pause=0.5,
            moves=lambda: [(item.id, item.step) for item in self.operations()],
        )
        found = self.operations()
        assert {item.state for item in found} == {OperationState.DONE}, self._said()
        kinds = Counter(item.kind for item in found)
        assert (kinds["night"], kinds["prune"], kinds["backup"]) == (1, 1, len(GUESTS))
        assert Counter(item.subject for item in found if item.kind == "backup") == dict.fromkeys(
            GUESTS, 1
        )
        dumps = self._dumps(found)
        assert len(dumps) == len(set(dumps)) == len(GUESTS)
        synced = site("catalog", "sync", BACKUPSVC_CATALOG__URL=self._url)
        assert synced.code == 0, synced.err
        archives = site("catalog", "list", "--json", BACKUPSVC_CATALOG__URL=self._url).json[
            "archives"
        ]
        assert Counter(archive["vmid"] for archive in archives) == dict.fromkeys(GUESTS, 1)

    def _dumps(self, found: list[Operation]) -> list[str]:
        with Catalog.open(self._url) as catalog:
            rows = [
                row
                for item in found
                if item.kind == "backup"
                for row in catalog.operations.transitions(item.id)
            ]
        return [
            str(row.upid)
            for row in rows
            if row.event in ("task", "adopted") and ":vzdump:" in str(row.upid)
        ]

    def _said(self) -> str:
        return (
            "\n".join(
                f"{item.kind} {item.subject} {item.state} {item.step}" for item in self.operations()
            )
            + self._log()[-4000:]
        )


# --- Redis and the catalog's file, under `backupsvc serve` ----------------------------------------


@pytest.fixture
def serving(slow_site: Shell, tmp_path: Path) -> Iterator[Served]:
    """A serve on that site, with its private Redis."""
    one = served.start(
        slow_site.state, tmp_path / "log", {"BACKUPSVC_POLICY": slow_site.env["BACKUPSVC_POLICY"]}
    )
    yield one
    one.stop()


def test_a_redis_that_is_flushed_restarted_and_stopped_for_a_minute_loses_nothing_and_doubles_nothing(
    slow_site: Shell, serving: Served
) -> None:
    night = Night(f"sqlite:///{slow_site.state}/lab/catalog.db", serving.said)
    serving.becomes("ok")
    night.has_saved(1)
    client = redis_py.Redis(
        unix_socket_path=str(private_redis.directory(slow_site.state) / "redis.sock")
    )
    client.flushall()
    night.has_saved(2)
    os.kill(serving.pid("redis"), signal.SIGKILL)
    night.has_saved(3)
    stopped = serving.pid("redis")
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(MINUTE)
    serving.becomes("failing")  # nothing is consumed, and /healthz says so
    os.kill(stopped, signal.SIGCONT)
    night.ends_once(slow_site)
    serving.becomes("ok")


def test_a_catalog_file_that_is_locked_for_a_minute_is_waited_for(
    slow_site: Shell, serving: Served
) -> None:
    night = Night(f"sqlite:///{slow_site.state}/lab/catalog.db", serving.said)
    serving.becomes("ok")
    night.has_saved(1)
    with sqlite3.connect(
        slow_site.state / "lab" / "catalog.db", isolation_level=None, timeout=30
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(MINUTE)
        other.execute("COMMIT")
    night.ends_once(slow_site)


# --- two workers on two links, one Redis, one PostgreSQL ------------------------------------------


@contextmanager
def redis_server(home: Path) -> Iterator[int]:
    """A Redis on a port of its own; yields the port."""
    home.mkdir()
    port = Link(("127.0.0.1", 9))  # only to find a port that is free
    port.close()
    words = [
        "redis-server",
        "--bind",
        "127.0.0.1",
        "--port",
        str(port.port),
        "--dir",
        str(home),
        "--save",
        "",
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _pings(port.port))
        yield port.port
    finally:
        server.terminate()
        server.wait(HANGS)


def _pings(port: int) -> bool:
    try:
        return bool(redis_py.Redis(port=port).ping())
    except redis_py.ConnectionError:
        return False


class Machine:
    """What one machine runs: a beat, a worker for both queues, and its own links to Redis and to
    the catalog.
    """

    def __init__(
        self, name: str, site: Shell, redis: Link, catalog: Link, database: str, log: Path
    ) -> None:
        self.redis, self.catalog, self.log = redis, catalog, log
        url = make_url(database).set(host="127.0.0.1", port=catalog.port, query={})
        env = {
            key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")
        } | site.env
        env |= {
            "BACKUPSVC_STATE_DIR": str(site.state),
            "BACKUPSVC_TICK": "2",
            "BACKUPSVC_BROKER__URL": f"redis://127.0.0.1:{redis.port}/0",
            "BACKUPSVC_CATALOG__URL": url.render_as_string(hide_password=False),
        }
        celery = [sys.executable, "-m", "celery", "-A", "workers.app"]
        worker = [*celery, "worker", "-c", "2", "-n", f"{name}@test", "-l", "warning"]
        self.processes = [
            self._start(words, env) for words in (worker, [*celery, "beat", "-l", "warning"])
        ]

    def _start(self, words: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(words, env=env, cwd=ROOT, stdout=output, stderr=output)

    def kill(self) -> None:
        """Cut its power: the worker with all its children, and beat."""
        for process in self.processes:
            for child in _children(process.pid):
                with suppress(ProcessLookupError):  # it ended by itself meanwhile
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(HANGS)
            except subprocess.TimeoutExpired:
                self.kill()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_law_9_two_machines_share_a_night_over_links_that_break_a_database_that_stops_and_one_that_dies(
    slow_site: Shell, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(redis_server(tmp_path / "redis"))
        server: Server = stack.enter_context(private_server())
        database = fresh_database(server.url)
        target = Path(str(make_url(database).query["host"])) / ".s.PGSQL.5432"
        machines = []
        for name in ("one", "two"):
            links = (
                stack.enter_context(link(("127.0.0.1", port))),
                stack.enter_context(link(target)),
            )
            machine = Machine(name, slow_site, *links, database, tmp_path / f"{name}.log")
            stack.callback(machine.stop)
            machines.append(machine)
        first, second = machines
        night = Night(database, lambda: first.log.read_text() + second.log.read_text())
        night.has_saved(1)
        first.redis.cut()
        first.catalog.cut()
        night.has_saved(2)
        first.redis.mend()
        first.catalog.mend()
        server.stop(signal.SIGQUIT)
        time.sleep(MINUTE)
        server.start()
        night.has_saved(3)
        second.kill()
        night.ends_once(slow_site)
