"""Where the original may be alive no "yes" brings a guest back; where quorum is lost the command waits
for it, and never brings it about.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root
from tests.integration.test_restore_asked import at_a_terminal
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
VMID, OTHER, OFF = 105, "lge-pve02", "105 is off"


@pytest.fixture(scope="module")
def dead(site: Shell) -> Iterator[Shell]:
    """A site on which guest 105 was lost, and then the other node died."""
    assert site("backup", "run", "--vmid", VMID, "--json").code == 0
    delete_guest(site.state / "lab", NODE, VMID)
    assert site("lab", "fault", "node-death", OTHER).code == 0
    yield site


def there(site: Shell) -> bool:
    return VMID in Root(site.state).guests()


def opened(site: Shell) -> list[Any]:
    found: list[Any] = site("operations", "list", "--kind", "restore", "--json").json["operations"]
    return found


@pytest.mark.parametrize("words", [("--yes",), ("--json",), ("--yes", "--enqueue")])
def test_law_2_a_yes_is_not_enough_where_the_original_may_be_alive(
    dead: Shell, words: tuple[str, ...]
) -> None:
    answer = dead("restore", VMID, *words)
    assert answer.code == 4, answer.out + answer.err
    assert f"node {OTHER} is offline: whether guest 105 still runs there is not known" in answer.err
    assert f'--confirm "{OFF}"' in answer.err
    assert opened(dead) == [] and not there(dead)


@pytest.mark.parametrize("types", [b"y\n", b"\n", b"106 is off\n", b"\x03"], ids=ascii)
def test_law_2_at_a_terminal_words_are_asked_for_and_others_restore_nothing(
    dead: Shell, types: bytes
) -> None:
    answer = at_a_terminal(dead, "restore", VMID, types=types, asked=b'type "105 is off"')
    assert answer.code == 1, answer.out
    assert "STOP: node lge-pve02 is offline" in answer.out
    assert answer.out.rstrip().endswith("nothing was restored")
    assert opened(dead) == [] and not there(dead)


def test_other_words_in_the_option_are_wrong_usage(dead: Shell) -> None:
    answer = dead("restore", VMID, "--yes", "--confirm", "yes")
    assert answer.code == 2 and OFF in answer.err


def test_both_are_blockers_of_a_dry_run_with_the_steps_and_their_danger(dead: Shell) -> None:
    dry = dead("restore", VMID, "--dry-run", "--json")
    assert dry.code == 3 and dry.json["words"] == OFF
    quorum, alive = dry.json["blockers"]
    assert "lost quorum" in quorum["message"] and "must never run twice" in alive["message"]
    for word in ("QDevice", "pvecm expected 1", "danger", "never done from here"):
        assert word in quorum["hint"], quorum
    said = dead("restore", VMID, "--yes", "--confirm", OFF, "--no-wait")
    assert said.code == 3 and "pvecm expected 1" in said.err
    assert opened(dead) == []


def test_it_waits_for_quorum_and_goes_on_when_that_is_back(dead: Shell, tmp_path: Path) -> None:
    answers: list[Answer] = []

    def restore() -> None:
        answers.append(dead("restore", VMID, "--confirm", OFF, "--yes", "--json"))

    waiting = threading.Thread(target=restore)
    waiting.start()
    wait_until(lambda: bool(opened(dead)))
    (operation,) = opened(dead)
    assert operation["step"] == "choose" and not there(dead)
    assert dead("lab", "fault", "node-return", OTHER).code == 0
    waiting.join()
    (answer,) = answers
    assert answer.code == 0, answer.out + answer.err
    assert "it goes on when quorum is back" in answer.err
    told = answer.json
    assert (told["verdict"], told["started"], told["confirmed"]["words"]) == (
        "simulated",
        True,
        OFF,
    )
    history = dead("operations", "show", told["operation"], "--json").json["transitions"]
    (line,) = [one for one in history if one["event"] == "confirmed"]
    assert line["detail"]["words"] == OFF and line["detail"]["by"]
    (file,) = [
        path
        for path in dead("pra", "report", "--output", tmp_path, "--json").json["files"]
        if path.endswith(".json")
    ]
    restores = json.loads(Path(file).read_text(encoding="utf-8"))["restores"]
    assert [(one["vmid"], one["confirmed"]["words"]) for one in restores] == [(VMID, OFF)]
