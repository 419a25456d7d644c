"""Bad surroundings: one clear sentence, the next action, and the exit code of the contract; nothing
half-done.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.commands import Answer, Shell

pytestmark = pytest.mark.slow
SMALL = Path(__file__).parents[2] / "policies" / "sites" / "small.yaml"
SECRET = "5e7b0f0e-1111-4222-8333-123456789abc"


def complaint(answer: Answer) -> str:
    """Given a refused command, return its sentence; it must be one line, with a hint, and no
    traceback.
    """
    assert "Traceback" not in answer.err
    lines = answer.err.strip().splitlines()
    assert len(lines) == 2, answer.err
    assert lines[0].startswith("backupsvc: ")
    assert lines[1].startswith("  -> ")
    return lines[0]


def test_without_a_cluster_the_user_is_told_both_ways_on(tmp_path: Path) -> None:
    answer = Shell(tmp_path)("catalog", "list")
    assert answer.code == 2
    assert "no cluster is configured" in complaint(answer)


def test_a_host_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = Shell(tmp_path)(
            "backup",
            "run",
            BACKUPSVC_POLICY=str(SMALL),
            BACKUPSVC_PVE__HOST=host,
            BACKUPSVC_PVE__TOKEN=f"a@pve!bb={SECRET}",
        )
    assert answer.code == 3
    assert host in complaint(answer)
    assert SECRET not in answer.out + answer.err


def lab(site: Shell) -> dict[str, str]:
    """The environment of a user who points at the lab by hand."""
    saved = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))
    return {
        "BACKUPSVC_PVE__HOST": saved["pve"]["host"],
        "BACKUPSVC_PVE__TOKEN": saved["pve"]["token"],
        "BACKUPSVC_PVE__CA_FILE": saved["pve"]["ca_file"],
        "BACKUPSVC_POLICY": str(SMALL),
    }


def test_archives_are_listed_without_a_policy(site: Shell, tmp_path: Path) -> None:
    env = {name: value for name, value in lab(site).items() if name != "BACKUPSVC_POLICY"}
    assert Shell(tmp_path, env)("catalog", "list", "--json").json == {
        "schema": "catalog list/1",
        "archives": [],
        "more": 0,
    }
    assert Shell(tmp_path, env)("backup", "run").code == 2


def test_a_certificate_that_is_not_the_pinned_one_is_refused(site: Shell, tmp_path: Path) -> None:
    env = {name: value for name, value in lab(site).items() if name != "BACKUPSVC_PVE__CA_FILE"}
    answer = Shell(tmp_path, env)(
        "catalog", "list", BACKUPSVC_PVE__FINGERPRINT=":".join(["AB"] * 32)
    )
    assert answer.code == 3
    assert "certificate" in complaint(answer)


def test_an_unknown_certificate_is_refused_without_a_pin(site: Shell, tmp_path: Path) -> None:
    env = {name: value for name, value in lab(site).items() if name != "BACKUPSVC_PVE__CA_FILE"}
    answer = Shell(tmp_path, env)("catalog", "list")
    assert answer.code == 3
    assert "BACKUPSVC_PVE__FINGERPRINT" in answer.err


def test_law_7_a_refused_token_is_named_without_its_secret(site: Shell, tmp_path: Path) -> None:
    token = f"backupsvc@pve!service={SECRET}"
    answer = Shell(tmp_path, lab(site))("catalog", "list", BACKUPSVC_PVE__TOKEN=token)
    assert answer.code == 4
    assert "backupsvc@pve!service" in complaint(answer)
    assert SECRET not in answer.out + answer.err


def test_a_wrong_policy_is_told_with_file_and_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "site: x\nscratch: {vmids: 9000-9009}\njobs:\n  nightly: {schedule: '21:00', storage: "
        "local, modes: snapshot}\n"
    )
    answer = Shell(tmp_path)("policy", "check", policy)
    assert answer.code == 2
    assert f"{policy}:4" in answer.err


def test_a_broken_setting_names_its_variable(tmp_path: Path) -> None:
    answer = Shell(tmp_path)("catalog", "list", BACKUPSVC_PVE__TIMEOUT="soon")
    assert answer.code == 2
    assert "BACKUPSVC_PVE__TIMEOUT" in complaint(answer)


def test_an_unknown_job_names_those_that_there_are(site: Shell) -> None:
    answer = site("backup", "run", "weekly")
    assert answer.code == 2
    assert "nightly" in answer.err


def test_with_json_an_error_is_one_object_too(tmp_path: Path) -> None:
    answer = Shell(tmp_path)("catalog", "list", "--json", BACKUPSVC_POLICY=str(SMALL))
    assert answer.json["error"]["exit_code"] == answer.code == 2
