"""What docker-compose.yml starts exists: its commands are run here as they stand, against a Redis started as it stands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def services() -> dict[str, Any]:
    """The services of the file."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return found


def test_every_setting_that_the_file_names_is_one() -> None:
    from backupsvc.settings import Settings

    fields = {name.upper() for name in Settings.model_fields}
    for variable in services()["worker"]["environment"]:
        assert variable.removeprefix("BACKUPSVC_").split("__")[0] in fields


@pytest.mark.parametrize("name", ["beat", "worker"])
def test_the_command_starts_and_stays(name: str, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    words = shlex.split(services()["redis"]["command"])
    redis = subprocess.Popen([*words, "--port", "0", "--unixsocket", socket, "--dir", tmp_path], stdout=subprocess.DEVNULL)
    command = shlex.split(services()[name]["command"].replace("/var/lib/backupsvc/beat", str(tmp_path / "beat")))
    env = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    env |= {"BACKUPSVC_BROKER__URL": f"redis+socket://{socket}", "BACKUPSVC_STATE_DIR": str(tmp_path)}
    env["BACKUPSVC_POLICY"] = str(ROOT / "policies" / "sites" / "small.yaml")
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen([sys.executable, "-m", *command], env=env, cwd=ROOT, stdout=log, stderr=log)
    try:
        said, end = "", time.monotonic() + 30
        while not (f"{name}: Starting" in said or "ready." in said) and time.monotonic() < end:
            time.sleep(0.3)
            said = (tmp_path / "log").read_text(encoding="utf-8")
            assert started.poll() is None, said
        assert f"{name}: Starting" in said or "ready." in said, said
    finally:
        for process in (started, redis):
            process.terminate()
            process.wait(20)
