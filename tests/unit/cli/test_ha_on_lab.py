"""``ha drill --on-lab``: it meets no cluster but those that it started, and leaves none of them."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from typer.testing import CliRunner

from backupsvc.cli import ha_on_lab
from backupsvc.cli.ha import app
from backupsvc.errors import BackupsvcError, LawRefused, OperationFailed, UsageError
from policies.ha.rehearsal import SCENES
from pvelab import accident, control
from pvelab.errors import StartFailed
from pvelab.faults import client as faults_client
from tests.fakes.pve_server import FakePve
from tests.fakes.tls import make_certificate

ROOT = Path(__file__).parents[3]
REAL = {
    "BACKUPSVC_PVE__HOST": "192.168.3.221:8006",
    "BACKUPSVC_PVE__TOKEN": "svc@pve!b1=5ecre700-1111-2222-3333-444455556666",
}


class Labs:
    """The lab's control by script: ``up`` writes what a lab saves, with the hosts of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Path] = []
        self.ended: list[Path] = []
        self.settings: dict[str, Any] = {"lab": True, "simulated": True}
        self.fails = False
        monkeypatch.setattr(control, "up", self.up)
        monkeypatch.setattr(control, "down", lambda directory: self.ended.append(directory))

    def up(self, directory: Path, **options: Any) -> None:
        assert (options["hypervisor"], options["guests"]) == ("simulated", "108")
        self.made.append(directory)
        if self.fails:
            raise StartFailed("the lab did not come up: no room", "")
        directory.mkdir(parents=True)
        pve = {"host": "127.0.0.1:1", "token": "svc@pve!b1=x"}
        text = json.dumps({**self.settings, "pve": pve, "api": {"clovis": "127.0.0.1:1"}})
        (directory / "settings.json").write_text(text)


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Labs:
    for name, value in REAL.items():
        monkeypatch.setenv(name, value)
    return Labs(monkeypatch)


def test_law_1_where_the_settings_lead_is_not_read_and_nothing_is_left(
    labs: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    led: list[str] = []

    def play(directory: Path, service: Any, scene: Any) -> Any:
        led.append(service.settings.pve.host)
        assert service.settings.pve.token.get_secret_value() == "svc@pve!b1=x"
        return scene

    monkeypatch.setattr(ha_on_lab, "_play", play)
    shown: list[Any] = [*ha_on_lab.rehearse(lambda text: None)]
    assert shown == [*SCENES]
    assert led == ["127.0.0.1:1"] * 4
    assert sorted(labs.ended) == sorted(labs.made) and len(set(labs.made)) == 4
    assert not labs.made[0].parents[1].exists()
    assert {name: os.environ[name] for name in REAL} == REAL


def test_law_1_settings_of_no_lab_fail_no_node(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    labs.settings["lab"] = False
    monkeypatch.setattr(ha_on_lab, "_play", lambda *_: pytest.fail("a scene was played"))
    with pytest.raises(LawRefused, match="law 1"):
        ha_on_lab.rehearse(lambda text: None)
    assert len(labs.ended) == 4


@pytest.mark.parametrize("failure", [RuntimeError("x"), KeyboardInterrupt()])
def test_the_clusters_go_whatever_happens(
    labs: Labs, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def play(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr(ha_on_lab, "_play", play)
    with pytest.raises(type(failure)):
        ha_on_lab.rehearse(lambda text: None)
    assert len(labs.ended) == 4 and not labs.made[0].parents[1].exists()


def test_one_cluster_that_does_not_go_keeps_none_of_the_others(
    labs: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(directory: Path) -> None:
        labs.ended.append(directory)
        if len(labs.ended) in (1, 3):
            raise StartFailed(f"server {len(labs.ended)} does not end", "")

    monkeypatch.setattr(control, "down", down)
    monkeypatch.setattr(ha_on_lab, "_play", lambda *_: None)
    with pytest.raises(BackupsvcError, match="server 1 does not end"):
        ha_on_lab.rehearse(lambda text: None)
    assert len(set(labs.ended)) == 4 and not labs.made[0].parents[1].exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_and_a_kill_leave_nothing_either(
    labs: Labs, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def down(directory: Path) -> None:
        os.kill(os.getpid(), number)  # a second one does not cut it short
        labs.ended.append(directory)

    monkeypatch.setattr(control, "down", down)
    monkeypatch.setattr(ha_on_lab, "_play", lambda *_: os.kill(os.getpid(), number))
    calls: list[int] = []
    before = signal.signal(number, lambda number, _: calls.append(number))
    try:
        with pytest.raises(SystemExit) as ended:
            ha_on_lab.rehearse(lambda text: None)
        assert ended.value.code == 128 + number and not calls
        os.kill(os.getpid(), number)
        assert calls == [number], "what was told to hear it before hears it again"
    finally:
        signal.signal(number, before)
    assert len(labs.ended) == 4 and not labs.made[0].parents[1].exists()


def test_a_hangup_that_is_not_to_be_heard_is_not_and_only_the_main_thread_hears_any(
    labs: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ha_on_lab, "_play", lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert ha_on_lab.rehearse(lambda text: None) == [None] * 4
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(ha_on_lab.rehearse, lambda text: None).result()
        assert found == [None] * 4
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_lab_that_gives_no_right_is_an_error_of_this_service(
    labs: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(*_: Any) -> None:
        raise URLError("connection refused")

    monkeypatch.setattr(faults_client, "LabClient", lambda *_: None)
    monkeypatch.setattr(accident, "give", give)
    with pytest.raises(OperationFailed, match="connection refused"):
        ha_on_lab.rehearse(lambda text: None)
    assert len(labs.ended) == 4


def test_no_proxy_is_asked_for_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePve(make_certificate(tmp_path))
    fake.start()
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    pve = {"host": fake.host, "ca_file": str(fake.certificate.ca)}
    (tmp_path / "settings.json").write_text(json.dumps({"pve": pve}))
    (tmp_path / "root.json").write_text(json.dumps({"token": "root@pam!x=y"}))
    monkeypatch.setattr(control, "status", lambda _: {"ready": True})
    monkeypatch.setattr(control, "own_address", lambda _: fake.host)
    fake.on("POST", "/access/roles", None)
    fake.on("PUT", "/access/acl", None)
    fake.on("GET", "/lab", 7)
    try:
        accident.give(tmp_path, "/", "Sys.Syslog", "svc@pve!b1")
        assert faults_client.LabClient(tmp_path, "/api2/json/lab").ask("GET") == 7
    finally:
        fake.stop()
    assert [one.path for one in fake.requests] == ["/access/roles", *["/access/acl"] * 2, "/lab"]


def test_a_cluster_that_does_not_come_up_is_an_error_and_the_others_go(labs: Labs) -> None:
    labs.fails = True
    with pytest.raises(BackupsvcError, match="no room"):
        ha_on_lab.rehearse(lambda text: None)
    assert len(labs.ended) == 4


def test_law_1_only_one_file_of_the_service_knows_how_a_node_is_made_to_fail() -> None:
    named = [
        path.relative_to(ROOT).as_posix()
        for folder in ("backupsvc", "workers", "policies")
        for path in (ROOT / folder).rglob("*.py")
        if "node-death" in (text := path.read_text("utf-8")) or "FaultClient" in text
    ]
    assert named == ["backupsvc/cli/ha_on_lab.py"]


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["drill", *words])


def test_it_takes_no_guest_and_a_drill_takes_one() -> None:
    for words in (("--on-lab", "108"), ("--on-lab", "--to", "n"), ("--on-lab", "--relocate"), ()):
        assert isinstance(run(*words).exception, UsageError), words
    done = run("--on-lab", "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["dry_run"], len(told["scenes"])) == (0, True, 4)
    assert told["schema"].endswith("--on-lab --dry-run/1")
    assert len(run("--on-lab", "--dry-run").stdout.splitlines()) == 4
