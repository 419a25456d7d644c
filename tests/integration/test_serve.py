"""``backupsvc serve`` with a real redis-server and real Celery children; the cluster is the lab
with modelled guests.

A tick is two seconds here, so that three silent ticks are soon over. Each test starts a serve of
its own, in its own way or to its end; what only befalls the children of one that goes on is in
test_serve_children.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backupsvc.serve import private_redis
from tests import served
from tests.commands import Answer, Shell
from tests.served import Served, processes
from tests.unit.serve.test_systemd import fill
from tests.waiting import HANGS, wait_until

pytestmark = pytest.mark.slow
LANGEO = Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"
Start = Callable[..., Served]


@pytest.fixture
def begin(site: Shell, tmp_path: Path) -> Iterator[Start]:
    """Start a serve in the site's state directory; what still runs at the end is stopped."""
    running: list[Served] = []

    def start(command: list[str] | None = None, **env: str) -> Served:
        made = served.start(
            site.state,
            tmp_path / f"log{len(running)}",
            {"BACKUPSVC_POLICY": str(LANGEO)} | env,
            command or (),
        )
        running.append(made)
        return made

    yield start
    for one in running:
        one.stop()
    assert ours(site.state) == {}, "no orphan"
    shutil.rmtree(private_redis.directory(site.state), ignore_errors=True)


def ours(state: Path) -> dict[int, str]:
    """The processes of a serve in that state directory."""
    return {
        pid: words for pid, words in processes(str(state)).items() if "pvelab.server" not in words
    }


def until_good(ask: Callable[[], Answer]) -> Answer:
    """The first answer that is good: on a busy machine the ticks are late now and then, and a check
    says so.
    """
    return wait_until(lambda: answer if (answer := ask()).code == 0 else None)  # type: ignore[no-any-return]


def test_it_consumes_both_queues_soon_and_stops_in_order_without_an_orphan(
    site: Shell, begin: Start
) -> None:
    one = begin()
    state = one.becomes("ok")
    assert set(state["children"]) == {"redis", "worker-steps", "worker-polls", "beat"}
    assert all(queue["seconds_since_consumed"] >= 0 for queue in state["queues"].values())
    checked = until_good(lambda: site("serve", "--check", "--json"))
    assert checked.json["status"] == "ok"
    by_catalog = until_good(
        lambda: site("serve", "--check", "--queue", "steps", BACKUPSVC_TICK="2")
    )
    assert "queue steps: consumed" in by_catalog.out, by_catalog.out
    assert one.stop() == 0
    assert ours(site.state) == {}
    text = one.said()
    assert (
        text.index("event=stopping")
        < text.index("Warm shutdown")
        < text.index("Redis is now ready to exit")
    )
    assert "Traceback" not in text
    gone = site("serve", "--check")
    assert gone.code == 3 and "does not answer" in gone.err


def test_a_worker_that_hangs_longer_than_any_task_may_take_is_replaced(
    site: Shell, begin: Start
) -> None:
    script = """
import sys, pathlib
from backupsvc.bootstrap import open_service
from backupsvc.serve import run
from backupsvc.serve.supervisor import Plan
with open_service() as service:
    plan = Plan(service.settings.state_dir, True, 1, "warning", 5, longest_task=10)
    run.serve(service, plan, "127.0.0.1:0", lambda text: print("serve:", text, file=sys.stderr, flush=True))
"""
    one = begin([sys.executable, "-c", script])
    one.becomes("ok")
    worker = one.pid("worker-polls")
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: "worker-polls lives and does nothing: it is ended" in one.said(), one.said)

    def another() -> bool:
        # what it said of its health before that may still be its last word
        return one.health()["children"]["worker-polls"]["pid"] not in (None, worker)

    wait_until(another, one.said)
    one.becomes("ok")
    assert (
        one.pid("worker-polls") != worker
        and one.health()["children"]["worker-steps"]["restarts"] == 0
    )


def test_when_the_supervisor_is_killed_all_its_children_die_and_the_next_one_takes_over(
    site: Shell, begin: Start
) -> None:
    one = begin()
    one.becomes("ok")
    assert len(ours(site.state)) >= 7, "supervisor, redis, beat, two workers with a process each"
    one.process.kill()
    one.process.wait()
    wait_until(lambda: ours(site.state) == {}, lambda: ours(site.state))
    two = begin()
    assert two.becomes("ok")["children"]["redis"]["restarts"] == 0


def test_redis_files_that_cannot_be_read_are_given_up_and_a_worker_that_does_not_end_is_killed(
    site: Shell, begin: Start
) -> None:
    damaged = private_redis.directory(site.state) / "appendonlydir"
    damaged.mkdir(parents=True)
    (damaged / "appendonly.aof.manifest").write_text("this is no manifest\n")
    one = begin()
    one.becomes("ok")
    assert "its file of hints is removed" in one.said()
    os.kill(one.pid("worker-steps"), signal.SIGSTOP)
    before = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - before >= 5, "its grace"
    assert "worker-steps does not end: it is killed" in one.said() and ours(site.state) == {}


def test_the_redis_that_the_user_names_is_used_no_other_started_and_its_absence_survived(
    site: Shell, begin: Start, tmp_path: Path
) -> None:
    home = tmp_path / "own"
    server = subprocess.Popen(private_redis.command(home), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: private_redis.answers(home))
        one = begin(BACKUPSVC_BROKER__URL=private_redis.url(home))
        assert set(one.becomes("ok")["children"]) == {"worker-steps", "worker-polls", "beat"}
        assert not private_redis.directory(site.state).exists()
        server.kill()
        server.wait()
        one.becomes("failing")
        time.sleep(8)
        shutil.rmtree(private_redis.directory(home))  # it comes back empty
        server = subprocess.Popen(private_redis.command(home), stdout=subprocess.DEVNULL)
        state = one.becomes("ok")
        assert not any(child["restarts"] for child in state["children"].values()), (
            "they waited for it"
        )
        assert one.stop() == 0
    finally:
        server.terminate()
        server.wait(HANGS)


def test_a_night_is_opened_and_ended(site: Shell, begin: Start, policy: Path) -> None:
    one = begin(BACKUPSVC_POLICY=str(policy), BACKUPSVC_TICK="2")
    one.becomes("ok")
    wait_until(
        lambda: [row for row in nights(site) if row["state"] == "done"],
        lambda: f"{nights(site)}\n{one.said()}",
        pause=1,  # each look is a command
    )
    operations = site("operations", "list", "--json", "--limit", 100).json["operations"]
    assert {"backup", "prune", "restore-test"} <= {
        row["kind"] for row in operations if row["state"] == "done"
    }


def nights(site: Shell) -> list[dict[str, str]]:
    """The nights so far."""
    return [
        row
        for row in site("operations", "list", "--json").json["operations"]
        if row["kind"] == "night"
    ]


def test_systemd_is_told_and_its_watchdog_fed(begin: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        systemd.settimeout(HANGS)
        one = begin(NOTIFY_SOCKET=str(tmp_path / "n"), WATCHDOG_USEC="1500000")
        heard: list[bytes] = []

        def read() -> None:  # at once, as systemd does: what finds the socket full is not told
            while not heard or heard[-1] != b"STOPPING=1":
                heard.append(systemd.recv(200))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        wait_until(lambda: heard.count(b"WATCHDOG=1") >= 3)
        one.becomes("ok")
        assert one.stop() == 0
        reader.join(HANGS)
    assert heard[0] == b"READY=1" and heard[-1] == b"STOPPING=1"
    assert any(text.startswith(b"STATUS=") for text in heard)
    assert all(text.startswith((b"WATCHDOG=1", b"STATUS=")) for text in heard[1:-1])


def test_a_systemd_that_reads_nothing_neither_stops_the_work_nor_the_end(
    begin: Start, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        fill(str(tmp_path / "n"))
        one = begin(NOTIFY_SOCKET=str(tmp_path / "n"), WATCHDOG_USEC="1500000")
        one.becomes("ok")
        assert one.stop() == 0
        assert "messages to systemd were dropped" in one.said()


def test_what_is_wrong_with_the_settings_is_told_before_anything_starts(
    site: Shell, tmp_path: Path
) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text("jobs: 3\n")
    for answer, code, words in (
        (site("serve", BACKUPSVC_POLICY=str(bad)), 2, "policy.yaml"),
        (site("serve", "--listen", "nonsense"), 2, "is no address"),
        (
            site("serve", BACKUPSVC_CATALOG__URL="postgresql+psycopg://nobody@127.0.0.1:1/x"),
            3,
            "catalog",
        ),
        (Shell(tmp_path)("serve", BACKUPSVC_POLICY=str(LANGEO)), 2, "no cluster is configured"),
    ):
        assert answer.code == code and words in answer.err and "Traceback" not in answer.err, (
            answer.err
        )
