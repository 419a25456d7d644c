"""A night as its log, /healthz and ``serve --check`` tell it: good, with two failures, and failed
completely.

A real ``backupsvc serve`` on the lab with modelled guests. The log is compared with golden text,
after times, ids and durations were replaced; ``UPDATE_GOLDEN=1`` in the environment writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests import served
from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.served import Served
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
GOLDEN = Path(__file__).parents[1] / "golden" / "logs"
LINE = re.compile(
    r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ level=(info|warning|error) process=[a-z-]+ event=\S"
)
TOLD = re.compile(r"event=(outcome|night) ")
HIDDEN = (
    (r"UPID:([^:]+):[^ ]*?:qmrestore:\d+:[^ \"]*", r"<UPID \1 qmrestore of a copy>"),
    (r"UPID:([^:]+):[^ ]*?:([a-z]+):(\d*):[^ \"]*", r"<UPID \1 \2 \3>"),
    (r"\b01[0-9A-HJKMNP-TV-Z]{24}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d", "<time>"),
    # whose words are PVE's, and another test's matter
    (r"(left no archive on local: )[^\"]*", r"\1<why>"),
    (r"seconds=\d+", "seconds=<n>"),
    (r"process=worker-(steps|polls)", "process=worker"),
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Shell]:
    """A user whose lab, with modelled guests, nobody has used yet; PVE's own job is disabled, as
    for any night.
    """
    shell = Shell(tmp_path / "site")
    up = shell("lab", "up", "--hypervisor", "simulated", "--json")
    assert up.code == 0, up.err
    disable_pve_job(shell.state)
    yield shell
    assert shell("lab", "down").code == 0


def policy_for(path: Path, guests: str) -> Path:
    """A policy whose only job was due a minute ago."""
    due = datetime.now(ZoneInfo("Europe/Paris")) - timedelta(minutes=1)
    path.write_text(
        f"""
site: logs
timezone: Europe/Paris
scratch: {{vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}}
jobs:
  nightly: {{schedule: "{due:%H:%M}", storage: local, guests: {guests}, compress: zstd, window: 2h}}
""",
        encoding="utf-8",
    )
    return path


def live_through(
    lab: Shell, tmp_path: Path, guests: str, **env: str
) -> tuple[Served, dict[str, Any]]:
    """Let a serve live through a night; return it, with what /healthz says once the night has ended
    and its line is written.
    """
    one = served.start(
        lab.state,
        tmp_path / "log",
        {"BACKUPSVC_POLICY": str(policy_for(tmp_path / "p.yaml", guests))} | env,
    )
    try:
        wait_until(lambda: one.health().get("last_nights"), one.said, pause=0.5)
        wait_until(lambda: re.search(r"event=night|\"event\": \"night\"", one.said()), one.said)
        wait_until(lambda: one.health()["status"] not in ("starting", "failing"), one.said)
    except BaseException:
        one.stop()
        raise
    return one, one.health()


def told(log: str) -> str:
    """Given a log, return the lines that tell what came of something, without what differs from run
    to run, in a fixed order.
    """
    lines = [line for line in log.splitlines() if TOLD.search(line)]
    assert " event=night " in lines[-1], "the night is told last"
    for pattern, shown in HIDDEN:
        lines = [re.sub(pattern, shown, line) for line in lines]
    return "\n".join([*sorted(lines[:-1], key=_place), lines[-1], ""])


def _place(line: str) -> tuple[str, str]:
    kind, vmid = (re.search(rf" {key}=(\S+)", line) for key in ("kind", "vmid"))
    return (kind[1] if kind else "", vmid[1] if vmid else "")


def compare(name: str, log: str) -> None:
    path, found = GOLDEN / f"{name}.txt", told(log)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def in_one_form(log: str) -> None:
    """Every line of all processes has the one form, and none is Celery's plumbing."""
    odd = [line for line in log.splitlines() if not LINE.match(line)]
    assert not odd, odd
    assert "workers.tasks" not in log
    assert not re.search(r"\d\d:\d\d:\d\d[.,]\d\d\d", log), "a time of another form"


def test_a_good_night(lab: Shell, tmp_path: Path) -> None:
    one, health = live_through(lab, tmp_path, "[100, 101, 105, 108]")
    try:
        assert (health["status"], health["last_nights"][0]["verdict"]) == ("ok", "simulated")
        assert lab("serve", "--check").code == 0
    finally:
        assert one.stop() == 0
    compare("good", one.said())
    in_one_form(one.said())
    saved = (lab.state / "lab" / "settings.json").read_text(encoding="utf-8")
    secrets = re.findall(r'"(?:restore_)?token": "[^"=]+=([^"]+)"', saved)
    assert secrets and not any(secret in one.said() for secret in secrets)


def test_a_night_with_two_failures_is_degraded_and_names_them(lab: Shell, tmp_path: Path) -> None:
    one, health = live_through(lab, tmp_path, "[100, 101, 4711, 4712]")
    try:
        assert health["status"] == "degraded"
        assert "2 of 4 guests have no good backup (4711, 4712)" in health["reasons"][0]
        checked = lab("serve", "--check")
        assert checked.code == 1 and health["reasons"][0] in checked.out
        assert lab("serve", "--check", "--ignore-nights").code == 0
        by_queue = lab("serve", "--check", "--queue", "polls", BACKUPSVC_TICK="2")
        assert by_queue.code == 0, (
            "whoever restarts what is not healthy must not do so because backups failed"
        )
    finally:
        assert one.stop() == 0
    compare("two_failed", one.said())
    in_one_form(one.said())


def test_a_night_that_fails_completely_is_told_by_its_log_by_healthz_and_by_the_exit_code(
    lab: Shell, tmp_path: Path
) -> None:
    for node in ("clovis", "lge-pve02"):
        assert lab("lab", "fault", "storage-full", f"{node}/local").code == 0
    one, health = live_through(lab, tmp_path, "all")
    try:
        assert health["status"] == "degraded" and health["last_nights"][0]["ok"] == 0
        assert "11 of 11 guests have no good backup" in health["reasons"][0]
        assert lab("serve", "--check", "--json").code == 1
    finally:
        assert one.stop() == 0
    compare("all_failed", one.said())
    in_one_form(one.said())
