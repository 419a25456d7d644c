"""What pvelab offers to the tests of others: the README's own example, run by pytest as a stranger
would run it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from pvelab import control
from pvelab.errors import UsageError
from pvelab.faults.client import FaultClient
from pvelab.testing import running_lab

README = (Path(__file__).parents[3] / "pvelab" / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow

OTHER_LAB = """
import pathlib

def test_the_cluster_is_what_the_options_say(pvelab):
    assert (pvelab.simulated, len(pvelab.nodes), len(set(pvelab.urls.values()))) == (True, 3, 1)
    pathlib.Path("directory").write_text(str(pvelab.directory))
"""
OPTIONS = """
import pytest

@pytest.fixture(scope="session")
def pvelab_options():
    return {"scale": "3x6", "years": 1}
"""


def run(place: Path) -> str:
    """Run a folder's tests; return the last line. Whatever is set for this service is not for
    them.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKUPSVC_", "PVELAB_", "PYTEST_"))
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(place),
        str(place),
    ]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"conftest.py", "test_backup.py"}
    assert run(tmp_path).startswith("2 passed")


def test_a_conftest_chooses_another_lab_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        f'pytest_plugins = ["pvelab.testing"]\n{OPTIONS}', encoding="utf-8"
    )
    (tmp_path / "test_other.py").write_text(OTHER_LAB, encoding="utf-8")
    assert run(tmp_path).startswith("1 passed")
    directory = Path((tmp_path / "directory").read_text(encoding="utf-8"))
    assert directory.name == "lab"
    assert not directory.exists()


def test_a_lab_of_ones_own_tells_how_to_reach_it_and_is_broken_only_within(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab") as cluster:
        assert (cluster.nodes, cluster.url) == (("clovis", "lge-pve02"), cluster.urls["clovis"])
        for node, url in cluster.urls.items():
            answer = requests.get(
                f"{url}/cluster/status",
                headers=cluster.headers,
                verify=str(cluster.ca_file),
                timeout=60,
            )
            assert [row["name"] for row in answer.json()["data"] if row.get("local")] == [node]
        client = FaultClient(cluster.directory)
        with pytest.raises(ZeroDivisionError), cluster.fault("agent-silent", vmid=108):
            assert [fault.kind for fault in client.all()] == ["agent-silent"]
            raise ZeroDivisionError
        assert client.all() == []
        with (
            pytest.raises(UsageError, match="there is no node"),
            cluster.fault("node-death", node="pve9"),
        ):
            pass
        saved = json.loads((cluster.directory / "settings.json").read_text(encoding="utf-8"))
        assert cluster.service_token == saved["pve"]["token"] != cluster.token
    assert control.running(tmp_path / "lab") is None
    assert not (tmp_path / "lab").exists()
