"""A node that answers and does not say which storages it has, because one of them hangs: nothing on
it is missing or gone, what is unknown is said by every command that reads it, and prune takes it
neither for gone nor for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.root_shell import NODE

pytestmark = pytest.mark.slow

VMID = 108


@pytest.fixture(scope="module")
def user(site: Shell) -> Shell:
    """A user of the lab, in which guest 108 has an archive on clovis."""
    disable_pve_job(site.state)
    assert site("backup", "run", "--vmid", VMID).code == 0
    return site


@pytest.fixture
def unsaid(user: Shell) -> Iterator[Shell]:
    """That user while clovis does not say which storages it has."""
    fault = (
        "api",
        "GET",
        f"/nodes/{NODE}/storage",
        "error",
        "--status",
        596,
        "--text",
        "Connection timed out",
    )
    assert user("lab", "fault", *fault).code == 0
    yield user
    assert user("lab", "fault", "clear").code == 0


def test_catalog_list_and_sync_call_nothing_missing_or_gone(unsaid: Shell) -> None:
    listed = unsaid("catalog", "list", "--json").json
    assert {(one["missing"], one["unreachable"]) for one in listed["archives"]} == {(False, True)}
    synced = unsaid("catalog", "sync", "--json")
    assert synced.code == 3 and synced.json["gone"] == [] and len(synced.json["unreachable"]) == 1
    assert "node clovis did not say which storages it has" in synced.json["not_listed"][0]
    assert "Connection timed out" in synced.json["not_listed"][0]


@pytest.mark.parametrize("words", [("--dry-run",), ()], ids=["dry run", "for real"])
def test_law_3_prune_names_what_is_unknown_for_the_guest_and_removes_nothing_of_it(
    unsaid: Shell, words: tuple[str, ...]
) -> None:
    answer = unsaid("prune", *words)
    assert answer.code == 3, answer.out + answer.err
    assert (
        f"guest {VMID}: 1 known archive is out of reach, and not gone (1 on storage local of "
        "clovis, where node" in answer.out
    )
    assert "no other goes because of it" in answer.out and "-> bring it back" in answer.out
    found = unsaid("prune", *words, "--json").json
    assert (found["archives"], found["removed"], found["error"]) == ([], [], None)
    assert [one["vmid"] for one in found["unknown"]] == [VMID]
    assert len(unsaid("catalog", "list", "--offline", "--json").json["archives"]) == 1


def test_a_restore_test_says_that_the_archive_is_out_of_reach(unsaid: Shell) -> None:
    answer = unsaid("restore-test", VMID, "--dry-run")
    assert answer.code == 3
    assert (
        "is within reach" in answer.err
        and "did not say which storages it has" in answer.err
        and "not gone" in answer.err
    )


def test_doctor_names_the_node_and_calls_no_storage_missing(unsaid: Shell) -> None:
    lines = unsaid("doctor", "--json").json["lines"]
    storages = [line for line in lines if line["name"] == "storages"]
    assert (
        storages[0]["detail"].startswith("clovis did not say which storages it has")
        and "pvesm status" in storages[0]["action"]
    )
    assert not [line for line in storages if line["status"] == "failed"]
    (room,) = (line for line in lines if line["name"] == "room" and "clovis" in line["detail"])
    assert (room["status"], room["action"]) == ("unknown", "")
    assert (
        room["detail"]
        == "how much storage local on clovis has free is not known: clovis did not say which "
        "storages it has"
    )


def test_backup_run_says_that_the_room_is_not_known(unsaid: Shell) -> None:
    answer = unsaid("backup", "run", "--vmid", VMID, "--dry-run")
    assert answer.code == 0
    assert (
        "WARNING: how much storage local on clovis has free is not known: clovis did not say "
        "which storages" in answer.err
    )


def test_once_it_answers_again_all_is_as_it_was(user: Shell) -> None:
    assert user("catalog", "sync").code == 0
    assert user("prune").code == 0
    assert [one["missing"] for one in user("catalog", "list", "--json").json["archives"]] == [False]
