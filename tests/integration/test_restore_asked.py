"""A restore shows what it will do and asks; where nobody can be asked it does nothing unless that was
said beforehand.
"""

from __future__ import annotations

import os
import pty
import select
import sys
from typing import Any

import pytest

from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
VMID = 105


@pytest.fixture(scope="module")
def lost(site: Shell) -> Shell:
    """A site on which guest 105 was backed up twice, and then lost."""
    for _ in range(2):
        assert site("backup", "run", "--vmid", VMID, "--json").code == 0
    delete_guest(site.state / "lab", NODE, VMID)
    return site


def at_a_terminal(
    site: Shell, *words: object, types: bytes, asked: bytes = b"Restore it?"
) -> Answer:
    """Run a command on a terminal of its own at which somebody types an answer once ``asked`` stands
    there, and return all that was shown there. What is typed is typed again while nothing comes of it: a signal that comes just
    before Python begins to read is heeded only once the reading ends.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    env = kept | {"BACKUPSVC_STATE_DIR": str(site.state), "TERM": "dumb", "COLUMNS": "1000"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "backupsvc", *map(str, words)], env)
    shown, answered = b"", False
    while True:
        while answered and not select.select([terminal], [], [], 5.0)[0]:
            os.write(terminal, types)
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        shown += piece
        if not answered and asked in shown:
            os.write(terminal, types)
            answered = True
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return Answer(os.waitstatus_to_exitcode(status), shown.decode(), "")


def there(site: Shell) -> bool:
    return VMID in Root(site.state).guests()


@pytest.mark.parametrize("words", [(), ("--enqueue",), ("--no-start", "--newest")])
def test_without_a_terminal_nothing_is_restored_unless_that_was_said(
    lost: Shell, words: tuple[str, ...]
) -> None:
    answer = lost("restore", VMID, *words)
    assert answer.code == 2 and answer.out == ""
    assert "there is no terminal on which to ask" in answer.err and "add --yes" in answer.err
    assert not there(lost)
    assert lost("operations", "list", "--kind", "restore", "--json").json["operations"] == []


@pytest.mark.parametrize("types", [b"n\n", b"\n", b"\x04", b"\x03"], ids=ascii)
def test_at_a_terminal_the_plan_is_shown_and_a_no_restores_nothing_and_is_no_wrong_usage(
    lost: Shell, types: bytes
) -> None:
    answer = at_a_terminal(lost, "restore", VMID, types=types)
    assert answer.code == 1, answer.out
    shown = answer.out
    assert "guest 105 (Kanboard-Server) will be restored on clovis" in shown, shown
    assert "its data are" in shown and "net0, its bridge is there" in shown
    assert "is not proven: the cluster is simulated" in shown
    assert shown.rstrip().endswith("nothing was restored")
    assert "wrong usage" not in shown and not there(lost)


def test_what_would_be_done_is_told_to_a_program_without_a_question(lost: Shell) -> None:
    answer = lost("restore", VMID, "--dry-run", "--json")
    assert answer.code == 0, answer.err
    told: Any = answer.json
    assert (told["dry_run"], told["vmid"], told["blockers"]) == (True, VMID, [])
    assert [one["chosen"] for one in told["alternatives"]] == [True, False]
    assert told["target"]["node"] == NODE and told["expected_seconds"] is None
    # nothing of the cluster was kept, which is not the same as that it had nothing around it
    assert told["surroundings"] == [] and "is kept here" in told["surroundings_unknown"]
    assert not there(lost)


def test_what_keeps_it_from_being_done_is_told_by_a_dry_run_with_the_code_of_the_real_one(
    lost: Shell,
) -> None:
    there_now = 108  # which exists, and has an archive
    assert lost("backup", "run", "--vmid", there_now, "--json").code == 0
    dry = lost("restore", there_now, "--dry-run", "--json")
    assert dry.code == lost("restore", there_now, "--yes").code == 4
    (blocker,) = dry.json["blockers"]
    assert (
        blocker["exit_code"] == 4 and "an existing guest is never overwritten" in blocker["message"]
    )
    told = lost("restore", there_now, "--dry-run")
    assert told.code == 4 and "would be restored on" in told.out
    assert "never overwritten" in told.err and "  -> " in told.err


def test_a_yes_restores_it(lost: Shell) -> None:
    answer = at_a_terminal(lost, "restore", VMID, "--no-start", types=b"y\n")
    assert answer.code == 0, answer.out
    assert there(lost)
