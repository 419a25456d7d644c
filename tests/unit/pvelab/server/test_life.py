"""The lab's life with modelled guests: up, killed, up again from its state, down to nothing;
several side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from backupsvc.settings import lab_policy, load_settings
from pvelab import control
from pvelab.control import LabAccess
from pvelab.errors import StartFailed, UsageError
from tests.waiting import HANGS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("BACKUPSVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    yield tmp_path / "lab"
    control.down(tmp_path / "lab")


def _get(access: LabAccess, path: str) -> Any:
    pve = access.settings["pve"]
    with requests.Session() as session:
        # else REQUESTS_CA_BUNDLE of the machine would win over the lab's authority
        session.trust_env = False
        headers = {"Authorization": f"PVEAPIToken={pve['token']}"}
        answer = session.get(
            f"https://{pve['host']}/api2/json{path}",
            headers=headers,
            verify=pve["ca_file"],
            timeout=HANGS,
        )
        answer.raise_for_status()
        return answer.json()["data"]


def _up(home: Path) -> LabAccess:
    return control.up(home, hypervisor="simulated")


def test_up_brings_a_cluster_whose_guests_run_and_settings_that_lead_to_it(home: Path) -> None:
    lines: list[str] = []
    access = control.up(home, hypervisor="simulated", progress=lines.append)
    assert {row["status"] for row in _get(access, "/cluster/resources?type=vm")} == {"running"}
    settings = load_settings()
    assert settings.lab
    assert settings.pve.host.split(",")[0] == access.settings["pve"]["host"]
    assert settings.policy is not None
    assert settings.policy.name == "langeo.yaml"
    assert set(settings.ssh.nodes) in ({"clovis", "lge-pve02"}, set())
    assert any("SIMULATED" in line for line in lines)
    for name in ("settings.json", "root.json", "runtime.json"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.slow
def test_what_up_prints_points_a_program_at_the_lab(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = _up(home)
    assert access.settings["pve"]["token"] not in json.dumps(access.as_json())
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(home.parent / "elsewhere"))
    for name, value in access.environment().items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.pve.token.get_secret_value() == access.settings["pve"]["token"]
    assert settings.ssh.nodes == access.settings.get("ssh", {}).get("nodes", {})


@pytest.mark.slow
def test_the_settings_name_the_policy_that_up_was_given_and_else_none(
    home: Path, tmp_path: Path
) -> None:
    assert "policy" not in _up(home).settings
    assert load_settings().policy == lab_policy(), (
        "the service knows the one of the site for which the lab stands"
    )
    control.down(home, keep=True)
    given = control.up(home, hypervisor="simulated", policy=tmp_path / "site.yaml")
    assert given.environment()["BACKUPSVC_POLICY"] == str(tmp_path / "site.yaml")
    assert load_settings().policy == tmp_path / "site.yaml"


def test_down_leaves_nothing(home: Path) -> None:
    access = _up(home)
    run_dir = Path(json.loads((home / "runtime.json").read_text())["run_dir"])
    pid = control.running(home)
    assert pid is not None
    assert control.down(home)
    assert control.process_start(pid) is None
    assert not home.exists()
    assert not run_dir.exists()
    for address in access.settings["api"].values():
        host, _, port = address.partition(":")
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), 2):
            pass
    assert not control.down(home)


@pytest.mark.slow
def test_a_killed_lab_starts_again_from_its_state(home: Path) -> None:
    first = _up(home)
    config = home / "etc" / "pve" / "nodes" / "clovis" / "qemu-server" / "108.conf"
    config.write_text(config.read_text().replace("memory: 2048", "memory: 3072"))
    pid = control.running(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert control.status(home)["running"] is False
    second = _up(home)
    debian = next(row for row in _get(second, "/cluster/resources?type=vm") if row["vmid"] == 108)
    assert (debian["status"], debian["maxmem"]) == ("running", 3072 * 1024**2)
    # tokens, certificate and ports are the old ones: what pointed at the lab still does
    assert (second.settings["pve"], second.settings["api"]) == (
        first.settings["pve"],
        first.settings["api"],
    )
    assert len(_get(second, "/cluster/tasks")) >= 22


@pytest.mark.slow
def test_a_guest_whose_dump_was_cut_short_stays_locked_and_off_and_the_others_start(
    home: Path,
) -> None:
    _up(home)
    control.down(home, keep=True)
    config = home / "etc" / "pve" / "nodes" / "clovis" / "qemu-server" / "101.conf"
    config.write_text(config.read_text() + "lock: backup\n")
    lines: list[str] = []
    access = control.up(home, hypervisor="simulated", progress=lines.append)
    stopped = [
        row for row in _get(access, "/cluster/resources?type=vm") if row["status"] == "stopped"
    ]
    assert [(row["vmid"], row["lock"]) for row in stopped] == [(101, "backup")]
    assert "101 Windows-Client stays off: VM is locked (backup)" in lines


@pytest.mark.slow
def test_a_first_start_that_was_cut_short_is_begun_anew(home: Path) -> None:
    _up(home)
    control.down(home, keep=True)
    (home / "lab.json").unlink()
    assert len(_get(_up(home), "/cluster/resources?type=vm")) == 11


@pytest.mark.slow
def test_a_kept_lab_is_stopped_and_goes_on(home: Path) -> None:
    _up(home)
    assert control.down(home, keep=True)
    assert control.status(home) == {
        "running": False,
        "ready": False,
        "directory": str(home),
        "kept": True,
    }
    with pytest.raises(StartFailed, match="made for the hypervisor simulated"):
        control.up(home, hypervisor="qemu")
    with pytest.raises(StartFailed, match=r"answers as PVE 9\.2"):
        control.up(home, hypervisor="simulated", release="9.0")
    assert control.up(home, hypervisor="auto").hypervisor == "simulated"


def test_a_lab_that_runs_does_not_become_another_release(home: Path) -> None:
    control.up(home, hypervisor="simulated", release="9.0")
    assert (control.status(home)["pve"], control.up(home, release="9.0").hypervisor) == (
        "9.0.11",
        "simulated",
    )
    with pytest.raises(UsageError, match=r"answers as PVE 9\.0"):
        control.up(home, hypervisor="simulated", release="9.2")


@pytest.mark.slow
def test_a_lab_of_some_guests_has_these_alone_and_does_not_become_another(home: Path) -> None:
    made = control.up(home, hypervisor="simulated", guests="104,103")
    rows = _get(made, "/cluster/resources?type=vm")
    assert sorted(row["vmid"] for row in rows) == [103, 104]
    (job,) = _get(made, "/cluster/backup")
    assert (job["vmid"], _get(made, "/cluster/ha/resources")) == ("103,104", [])
    assert control.up(home, guests="103,104").settings == made.settings
    with pytest.raises(UsageError, match="runs already, with guests 103,104"):
        control.up(home, guests="103")
    assert control.down(home, keep=True)
    with pytest.raises(StartFailed, match="made with guests 103,104"):
        control.up(home, hypervisor="simulated", guests="103")
    again = control.up(home, hypervisor="simulated")
    assert len(_get(again, "/cluster/resources?type=vm")) == 2


@pytest.mark.slow
def test_up_again_returns_the_running_lab(home: Path) -> None:
    first, pid = _up(home), control.running(home)
    assert _up(home).settings == first.settings
    assert control.running(home) == pid


@pytest.mark.slow
def test_two_labs_live_side_by_side(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    first, second = _up(home), _up(other)
    try:
        assert first.settings["pve"]["host"] != second.settings["pve"]["host"]
        assert len(_get(first, "/nodes")) == len(_get(second, "/nodes")) == 2
    finally:
        control.down(other)
    assert len(_get(first, "/nodes")) == 2


def test_a_directory_with_something_else_in_it_is_left_alone(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        _up(home)
    assert not control.down(home)
    assert (home / "thesis.txt").read_text() == "mine"


def test_a_process_that_took_over_the_pid_is_not_ended(home: Path) -> None:
    home.mkdir(parents=True)
    control.write_json(
        home / control.RUNTIME_FILE,
        {"pid": os.getpid(), "started": "1", "run_dir": str(home / "run")},
    )
    assert control.running(home) is None
    assert control.down(home)


@pytest.mark.slow
def test_a_lab_that_cannot_start_says_why_in_its_servers_own_words(home: Path) -> None:
    _up(home)
    control.down(home, keep=True)
    (home / "lab.json").write_text("{broken")
    with pytest.raises(StartFailed, match=r"did not come up: .*JSONDecodeError"):
        _up(home)
    assert control.running(home) is None
    shutil.rmtree(home)
