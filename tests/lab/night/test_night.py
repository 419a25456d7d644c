"""One real night: real guests are backed up, proven, lost, and brought back. Every expectation is
seen, not told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pvelab.accident import delete_guest
from tests.commands import Shell, briefly
from tests.waiting import HANGS

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def night(site: Shell) -> Any:
    """The nightly job, run once."""
    answer = site("backup", "run", "--json")
    assert answer.code == 0, answer.out + answer.err
    return answer.json


def dump_of(site: Shell, volid: str) -> Path:
    """Given a volid of the lab, return the archive's file."""
    return next((site.state / "lab").rglob(volid.split("/")[-1]))


def test_every_archive_is_intact_by_our_reader_and_by_zstd(site: Shell, night: Any) -> None:
    files = [dump_of(site, guest["archive"]["volid"]) for guest in night["guests"]]
    assert len(files) == 11
    assert site("archive", "verify", *files, "--json").code == 0
    assert subprocess.run(["zstd", "-tq", *files], check=False).returncode == 0


def test_guests_with_an_agent_are_frozen_and_108_is_crash_consistent(night: Any) -> None:
    consistency = {guest["vmid"]: guest["consistency"] for guest in night["guests"]}
    assert consistency.pop(108) == "crash-consistent"
    assert set(consistency.values()) == {"frozen"}


def test_108_is_proven_over_the_isolated_bridge_without_an_agent(site: Shell, night: Any) -> None:
    answer = site("restore-test", 108, "--json")
    result = answer.json
    assert (answer.code, result["verdict"], result["rung"]) == (0, "proven", "healthy"), answer.out
    assert {check["outcome"] for check in result["checks"]} == {"passed"}
    assert {check["name"] for check in result["checks"]} == {"ssh 22", "http :80/"}
    assert 0 < result["rto_seconds"] < HANGS
    assert result["archive"]["rung"] in ("intact", "healthy")
    listed = site("catalog", "list", "--vmid", 108, "--json").json["archives"]
    assert listed[0]["rung"] == "healthy"
    assert listed[0]["proven_at"]


def test_a_guest_with_an_agent_is_proven_with_its_links_down(site: Shell, night: Any) -> None:
    answer = site("restore-test", 101, "--json")
    assert (answer.code, answer.json["verdict"], answer.json["rung"]) == (0, "proven", "booted"), (
        answer.out
    )
    assert any(
        "net0: link taken down" in sentence for sentence in answer.json["isolation"]["stripped"]
    )


def test_each_of_the_eleven_guests_is_proven_by_what_its_policy_asks(
    site: Shell, night: Any
) -> None:
    tests = {
        vmid: site("restore-test", vmid, "--json")
        for vmid in range(100, 111)
        if vmid not in (101, 108)
    }
    found = {
        vmid: (answer.code, answer.json["verdict"], answer.json["rung"])
        for vmid, answer in tests.items()
    }
    assert found == {
        vmid: (0, "proven", "booted" if vmid == 109 else "healthy") for vmid in tests
    }, [answer.json["reasons"] for answer in tests.values()]
    directory = {check["name"]: check["detail"] for check in tests[102].json["checks"]}
    assert "answers a search: it serves dc=langeo,dc=lan" in directory["LDAP"]
    (firewall,) = tests[100].json["checks"]
    assert (
        "answers 200 with the words 'pfSense' (certificate of CN=PfSense, valid until"
        in firewall["detail"]
    )
    assert all(0 < answer.json["rto_seconds"] < HANGS for answer in tests.values())
    named = [word for vmid in tests for word in ("--vmid", vmid)]
    told = site("gate", *named, "--proven-within", "1d", "--json")
    assert (told.code, told.json["open"]) == (0, True), told.out
    assert site("gate", *named, "--proven-within", "1s", "--json").code == 1


def test_law_1_nothing_of_the_copies_is_left(site: Shell, night: Any) -> None:
    root = json.loads((site.state / "lab" / "root.json").read_text(encoding="utf-8"))
    assert root
    assert not list((site.state / "lab").rglob("9000.conf"))
    assert not list((site.state / "lab").rglob("*vm-90*-disk-*"))


def test_a_service_that_is_down_is_not_proven(site: Shell, night: Any, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "policies" / "sites" / "langeo.yaml"
    policy = tmp_path / "policy.yaml"
    text = briefly(shipped.read_text(encoding="utf-8"))
    assert "address: 192.168.10.8" in text
    policy.write_text(
        text.replace(
            "address: 192.168.10.8", "address: 192.168.10.8\n    check-timeout: 5s", 1
        ).replace("port: 80", "port: 81")
    )
    answer = site("restore-test", 108, "--json", BACKUPSVC_POLICY=str(policy))
    assert (answer.code, answer.json["verdict"]) == (1, "failed"), answer.out
    assert answer.json["rung"] in ("booted", "restored")


def test_a_deleted_guest_comes_back_with_its_service(site: Shell, night: Any) -> None:
    before = next(path for path in (site.state / "lab").rglob("105.conf"))
    config = before.read_text(encoding="utf-8")
    delete_guest(site.state / "lab", "clovis", 105)
    assert not before.exists()
    answer = site("restore", 105, "--json")
    # the lab's production network is not this machine's, so that its page cannot be asked
    assert (answer.code, answer.json["verdict"]) == (1, "inconclusive"), answer.out
    assert answer.json["error"] is None
    assert (answer.json["restored"], answer.json["started"]) == (True, True)
    assert _identity(before.read_text(encoding="utf-8")) == _identity(config)
    assert site("restore", 105, "--json").code == 4
    end = time.monotonic() + HANGS
    while (again := site("backup", "run", "--vmid", 105, "--json").json["guests"][0])[
        "consistency"
    ] != "frozen":
        assert time.monotonic() < end, again


def _identity(config: str) -> set[str]:
    """What must survive a restore: everything but what PVE regenerates (vmgenid) and the disks' new
    names.
    """
    return {
        line for line in config.splitlines() if not line.startswith(("vmgenid", "scsi", "meta"))
    }


def test_an_empty_catalog_is_enough_to_restore_a_lost_guest(
    site: Shell, night: Any, tmp_path: Path
) -> None:
    delete_guest(site.state / "lab", "clovis", 110)
    answer = site("restore", 110, "--json", BACKUPSVC_CATALOG__URL=f"sqlite:///{tmp_path}/empty.db")
    assert (answer.code, answer.json["error"]) == (1, None), answer.out
    assert (answer.json["started"], answer.json["verdict"]) == (True, "inconclusive")


def begun(site: Shell, word: str) -> subprocess.Popen[str]:
    """Start a restore test of 108, and return its process once its progress says ``word``."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    env["BACKUPSVC_STATE_DIR"] = str(site.state)
    words = [sys.executable, "-u", "-m", "backupsvc", "restore-test", "108"]
    process = subprocess.Popen(
        words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return process
    raise AssertionError(f"it ended before {word}")


def scratch_configs(site: Shell) -> list[Path]:
    """The configs of scratch copies that the lab's cluster holds."""
    return [
        path
        for path in (site.state / "lab").rglob("90??.conf")
        if path.parent.name == "qemu-server"
    ]


def test_law_9_a_killed_restore_test_is_cleaned_up_by_the_next(site: Shell, night: Any) -> None:
    process = begun(site, "start ")
    process.kill()
    process.wait()
    assert scratch_configs(site)
    answer = site("restore-test", 108, "--json")
    assert (answer.code, answer.json["verdict"]) == (0, "proven"), answer.out
    assert not scratch_configs(site)
    verdicts = [
        row["verdict"]
        for row in site("operations", "list", "--vmid", 108, "--limit", 2, "--json").json[
            "operations"
        ]
    ]
    assert verdicts == ["proven", "inconclusive"]


def test_an_interrupted_restore_test_takes_its_copy_down_before_it_goes(
    site: Shell, night: Any
) -> None:
    process = begun(site, "start ")
    process.send_signal(signal.SIGINT)
    assert process.wait(600) == 130  # the limit only ends a hang
    assert not scratch_configs(site)
