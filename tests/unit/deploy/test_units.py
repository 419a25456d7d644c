"""The systemd units and the image: their commands are run here as they stand, in the place of
systemd and of the container.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.settings import Settings
from tests.served import Served
from tests.unit.deploy.test_compose import ROOT, environment, redis, running
from tests.waiting import HANGS, wait_until

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def settings_of(unit: str) -> list[tuple[str, str]]:
    """The assignments of a unit file; one name may come several times."""
    lines = (ROOT / "deploy" / "systemd" / unit).read_text(encoding="utf-8").splitlines()
    return [
        (key, value)
        for key, found, value in (line.partition("=") for line in lines)
        if found and not key.startswith("#")
    ]


def command_of(unit: str, instance: str = "") -> list[str]:
    """A unit's command, its specifiers filled in as systemd does."""
    text = dict(settings_of(unit))["ExecStart"]
    return shlex.split(
        re.sub(
            r"%(.)",
            lambda found: {"i": instance, "H": socket.gethostname(), "%": "%"}[found[1]],
            text,
        )
    )


def instruction(name: str) -> list[str]:
    """The JSON words of an instruction of the Dockerfile; of HEALTHCHECK those of its CMD."""
    found = re.search(rf"^{name} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found
    words: list[str] = json.loads(found[1])
    return words


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_as_a_user_of_its_own_and_keeps_secrets_out_of_itself(unit: Path) -> None:
    found = settings_of(unit.name)
    assert (
        dict(found)["User"] == "backupsvc"
        and ("NoNewPrivileges", "yes") in found
        and ("ProtectSystem", "strict") in found
    )
    assert dict(found)["EnvironmentFile"] == "/etc/backupsvc/environment"
    variables = [value.partition("=")[0] for key, value in found if key == "Environment"]
    assert set(variables) <= {"PATH", "BACKUPSVC_STATE_DIR", "BACKUPSVC_POLICY"}


def test_the_image_runs_as_a_user_of_its_own_and_installs_what_it_copies() -> None:
    assert re.search(r"^USER backupsvc$", DOCKERFILE, re.MULTILINE)
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / word).exists() for word in line.split()[:-1]), line
    assert {"listen", "state_dir", "tick"} <= set(Settings.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [command_of("backupsvc.service"), instruction("CMD")],
    ids=["backupsvc.service", "Dockerfile"],
)
def test_the_service_starts_tells_systemd_and_answers_the_image_s_health_check(
    words: list[str], tmp_path: Path
) -> None:
    env: dict[str, Any] = environment(tmp_path) | {
        "BACKUPSVC_LISTEN": str(tmp_path / "h"),
        "NOTIFY_SOCKET": str(tmp_path / "n"),
    }
    check = instruction("HEALTHCHECK")
    assert check[-1] == "--ignore-nights", "a container must not be replaced because backups failed"
    assert subprocess.run(check, env=env, capture_output=True, check=False).returncode == 3
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        systemd.settimeout(HANGS)
        with running(words, env, tmp_path / "log") as process:
            assert systemd.recv(200) == b"READY=1"
            Served(process, tmp_path, tmp_path / "log").becomes("ok")
            wait_until(
                lambda: (
                    subprocess.run(check, env=env, capture_output=True, check=False).returncode == 0
                )
            )
        assert process.returncode == 0, (tmp_path / "log").read_text()


@pytest.mark.slow
def test_the_units_for_several_machines_consume_both_queues(tmp_path: Path) -> None:
    env = environment(tmp_path)
    commands = {"beat": command_of("backupsvc-beat.service")}
    commands |= {
        queue: command_of("backupsvc-worker@.service", queue) for queue in ("steps", "polls")
    }
    with ExitStack() as stack:
        env["BACKUPSVC_BROKER__URL"] = stack.enter_context(redis(env, tmp_path))
        catalog = stack.enter_context(Catalog.open(f"sqlite:///{tmp_path}/catalog.db"))
        for name, words in commands.items():
            stack.enter_context(running(words, env, tmp_path / f"{name}.log"))
        queues = ("steps", "polls")
        first = wait_until(
            lambda: (
                set(queues) <= catalog.heartbeats.newest().keys() and catalog.heartbeats.newest()
            )
        )
        wait_until(
            lambda: all(catalog.heartbeats.newest()[name] > first[name] + 3 for name in queues),
            "beat's canaries are consumed",
        )
