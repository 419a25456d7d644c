"""``backupsvc doctor`` over real HTTP: healthy, refused, unreachable, each with its exit code and
no secret on the screen.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, Shell

pytestmark = pytest.mark.slow
SECRET = "5e7b0f0e-1111-4222-8333-123456789abc"


def environment(site: Shell, **others: str) -> dict[str, str]:
    """What points a user at the lab by hand; without SSH and probe."""
    saved: dict[str, Any] = json.loads(
        (site.state / "lab" / "settings.json").read_text(encoding="utf-8")
    )
    pve = saved["pve"]
    named = {"HOST": pve["host"], "TOKEN": pve["token"], "CA_FILE": pve["ca_file"]} | others
    return {f"BACKUPSVC_PVE__{name}": value for name, value in named.items()} | {
        "BACKUPSVC_POLICY": saved["policy"]
    }


def failed(answer: Answer) -> list[str]:
    """The names of what failed; every failure tells the next action."""
    lines = [line for line in answer.json["lines"] if line["status"] == "failed"]
    assert all(line["action"] for line in lines)
    assert SECRET not in answer.out + answer.err
    return [line["name"] for line in lines]


def test_the_lab_is_healthy_and_its_drifting_clock_is_a_warning(site: Shell) -> None:
    answer = site("doctor", "--json")
    assert (answer.code, failed(answer), answer.json["healthy"]) == (0, [], True)
    assert "clocks" in [
        line["name"] for line in answer.json["lines"] if line["status"] == "warning"
    ]
    assert "  -> synchronise both" in site("doctor").out


def test_law_7_a_refused_token_is_exit_code_4_and_its_secret_stays_out(
    site: Shell, tmp_path: Path
) -> None:
    env = environment(site, TOKEN=f"backupsvc@pve!service={SECRET}")
    answer = Shell(tmp_path, env)("doctor", "--json")
    assert (answer.code, failed(answer)) == (4, ["cluster"])


def test_a_host_that_does_not_answer_is_exit_code_3(site: Shell, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = Shell(tmp_path, environment(site, HOST=f"127.0.0.1:{taken.getsockname()[1]}"))(
            "doctor", "--json"
        )
    assert (answer.code, failed(answer)) == (3, ["cluster"])


def test_a_broker_that_was_named_and_a_node_that_lets_nobody_in_are_told(
    site: Shell, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        env = environment(site) | {
            "BACKUPSVC_BROKER__URL": f"redis://{where}/0",
            "BACKUPSVC_SSH__KEY_FILE": json.loads(
                (site.state / "lab" / "settings.json").read_text()
            )["ssh"]["key_file"],
            "BACKUPSVC_SSH__NODES": f'{{"clovis": "{where}"}}',
        }
        answer = Shell(tmp_path, env)("doctor", "--json")
    assert (answer.code, failed(answer)) == (3, ["ssh to the nodes"])
    assert "broker" in [
        line["name"] for line in answer.json["lines"] if line["status"] == "warning"
    ]
