"""What the service says when the lab is broken: a clear sentence, the right exit code, and never a
good result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands import Answer, Shell

pytestmark = pytest.mark.slow
POLICY = """
site: faults
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}
jobs:
  nightly: {schedule: "21:00", storage: local, guests: [104, 105, 108], compress: zstd}
guests:
  104: {boot-timeout: 5s, check-timeout: 3s, checks: [agent]}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user with a lab of modelled guests."""
    home = tmp_path_factory.mktemp("site")
    policy = home / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    shell = Shell(home, {"BACKUPSVC_POLICY": str(policy)})
    assert shell("lab", "up", "--hypervisor", "simulated").code == 0
    yield shell
    assert shell("lab", "down").code == 0


@pytest.fixture(scope="module")
def saved(site: Shell) -> Any:
    """A good archive of guest 104."""
    answer, guest = backup(site)
    assert answer.code == 0, answer.err
    return guest["archive"]


@pytest.fixture(autouse=True)
def mended(site: Shell) -> Iterator[None]:
    """Every test begins and ends with a whole lab."""
    yield
    assert site("lab", "fault", "clear").code == 0


def fault(site: Shell, *words: object) -> None:
    answer = site("lab", "fault", *words)
    assert answer.code == 0, answer.err


def struck(site: Shell) -> int:
    return sum(row["struck"] for row in site("lab", "fault", "list", "--json").json["faults"])


def backup(site: Shell, vmid: int = 104) -> tuple[Answer, Any]:
    answer = site("backup", "run", "--vmid", vmid, "--json")
    return answer, answer.json["guests"][0]


def test_status_shows_the_faults_and_a_whole_lab_has_none(site: Shell) -> None:
    assert site("lab", "status", "--json").json["faults"] == []
    assert re.search(r"^faults +none$", site("lab", "status").out, re.MULTILINE)
    fault(site, "drift", "clovis", "-60")
    assert "drift node=clovis seconds=-60" in site("lab", "status").out
    assert "drift node=clovis seconds=-60" in site("lab", "fault", "list").out


def test_law_4_a_backup_to_a_full_storage_has_failed_and_leaves_no_archive(site: Shell) -> None:
    fault(site, "storage-full", "clovis/local")
    answer, guest = backup(site)
    assert (answer.code, guest["status"]) == (1, "failed")
    assert "left no archive on local" in guest["error"]


def test_a_refused_dump_is_told_in_pves_words(site: Shell) -> None:
    fault(site, "api", "POST", "/nodes/*/vzdump", "error", "--text", "the disk is on fire")
    answer, guest = backup(site)
    assert (answer.code, guest["status"]) == (1, "failed")
    assert "the disk is on fire" in guest["error"]


@pytest.mark.parametrize("do", ["drop", "drop-after"])
def test_law_9_a_dump_whose_answer_is_lost_is_looked_for_before_it_is_asked_for_again(
    site: Shell, do: str
) -> None:
    fault(site, "api", "POST", "/nodes/*/vzdump", do, "--call", 1)
    before = len(site("catalog", "list", "--vmid", 104, "--json").json["archives"])
    answer, guest = backup(site)
    assert (answer.code, guest["status"]) == (0, "ok")
    assert struck(site) == 1
    site("catalog", "sync")
    assert len(site("catalog", "list", "--vmid", 104, "--json").json["archives"]) == before + 1
    events = [
        row["event"]
        for row in site("operations", "show", guest["operation"], "--json").json["transitions"]
    ]
    assert events.count("adopted") == (do == "drop-after")
    assert events.count("retry") == 1


def test_garbage_is_not_taken_for_an_answer(site: Shell) -> None:
    fault(site, "api", "GET", "/nodes/*/storage/*/content", "garbage")
    answer, guest = backup(site)
    assert answer.code != 0
    assert "something that Proxmox VE does not say" in guest["error"]


def test_a_slow_answer_is_waited_for(site: Shell) -> None:
    fault(site, "api", "GET", "/cluster/resources", "delay", "--seconds", 2, "--call", 1)
    assert backup(site)[0].code == 0
    assert struck(site) == 1


def test_a_guest_whose_agent_is_silent_is_backed_up_without_being_frozen(site: Shell) -> None:
    fault(site, "agent-silent", 104)
    answer, guest = backup(site)
    assert (answer.code, guest["status"], guest["consistency"]) == (0, "ok", "crash-consistent")


def test_a_copy_that_never_answers_is_not_good(site: Shell, saved: Any) -> None:
    fault(site, "guest-panic", 104)
    answer = site("restore-test", 104, "--json")
    assert (answer.code, answer.json["rung"]) == (1, "recorded")
    assert "showed no sign of life within 5 s" in answer.out + answer.err


def test_no_room_for_a_copy_is_refused_before_anything_is_restored(site: Shell, saved: Any) -> None:
    fault(site, "storage-full", "clovis/local-lvm")
    answer = site("restore-test", 104, "--json")
    assert answer.code == 4
    assert "storage local-lvm has 0 B free, 105.6 MiB are needed" in answer.out + answer.err


def test_a_damaged_archive_is_found_when_it_is_verified_or_restored(site: Shell) -> None:
    guest = backup(site, 105)[1]
    fault(site, "archive-flip", guest["archive"]["volid"])
    answer = site("restore-test", 105, "--json")
    assert answer.code == 1
    assert "Decoding error" in answer.out + answer.err or "exit code 133" in answer.out + answer.err


def test_law_3_a_listing_that_came_back_short_stops_the_pruning(site: Shell, saved: Any) -> None:
    fault(site, "listing-short", "clovis/local", 1)
    answer = site("prune")
    assert answer.code == 4
    assert "law 3" in answer.err
