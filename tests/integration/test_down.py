"""With a node dead, with its pvestatd dead, with a PVE that swallows what it is sent: every command
says what happened, what is unknown, and what to do; nothing is called gone, and who is silent is
asked once.

The answers stand in tests/golden/down as text, without times and ids; ``WRITE_GOLDEN=1`` writes
them anew, to be read.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import Answer, Shell, settle_briefly
from tests.integration.administrator import disable_pve_job

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
GOLDEN = Path(__file__).parents[1] / "golden" / "down"
COMMANDS: dict[str, tuple[object, ...]] = {
    "pra-status": ("pra", "status"),
    "pra-report": ("pra", "report", "--language", "en"),
    "catalog-list": ("catalog", "list"),
    "catalog-sync": ("catalog", "sync"),
    "restore-dry-run": ("restore", 108, "--dry-run"),
    "restore": ("restore", 108, "--yes"),
    "restore-test": ("restore-test", 108),
    "doctor": ("doctor",),
    "prune": ("prune",),
    "backup-run-dry-run": ("backup", "run", "--dry-run"),
    "backup-run": ("backup", "run"),
}
WHAT_VARIES = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT"),
    (r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d", "STAMP"),
    (r"\b01[0-9A-HJKMNP-TV-Z]{24}\b", "OPERATION"),
    (r"\d+(\.\d+)? ([KM]i|[kMGT])?B\b", "SIZE"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"\b\d[\d.hmins ]* (ago|old)\b", r"N \1"),
    (r"\d+\.\d+ s\b", "N s"),
    (r"\bis [\dhmins ]+ (ahead of|behind)", r"is N \1"),
    (r"  \d+\.\d$", "  N"),
    (r"(/[\w.-]+)+/(?=pra-|langeo)", ""),
    (r"\d{4}-\d\d(?=\.)", "MONTH"),
    (r" +$", ""),
    (r" {2,}", "  "),
)
# how far each of many operations got, and what depends on the hour
LEFT_OUT = re.compile(
    r"^(SIMULATED: the lab|(backup|restore-test|restore) \d+ +\S+ +[\d.]+ s|backupsvc: outside "
    r"the window|a new, empty catalog)"
)


def plain(answer: Answer) -> str:
    """What a reader sees, with what differs from run to run replaced, and the table's guests in the
    order of their numbers.
    """
    lines = [line for line in (answer.out + answer.err).splitlines() if not LEFT_OUT.match(line)]
    for pattern, word in WHAT_VARIES:
        lines = [re.sub(pattern, word, line) for line in lines]
    numbered = iter(sorted(line for line in lines if re.match(r"\d{3} ", line)))
    lines = [next(numbered) if re.match(r"\d{3} ", line) else line for line in lines]
    return "\n".join([*lines, f"exit {answer.code}", ""])


def told_in(report: Path) -> str:
    """The findings of a written report, as a reader of the page meets them."""
    found = json.loads(report.read_text(encoding="utf-8"))
    page = report.with_suffix(".html").read_text(encoding="utf-8")
    lines = [f"status: {found['status']}"]
    for item in found["findings"]:
        assert item["under"] or item["subject"] in page
        under = f" (follows from {item['under']})" if item["under"] else ""
        lines += [f"{item['severity']}: {item['id']}: {item['subject']}{under}"]
        if not item["vmid"]:
            lines += [f"  {line}" for line in item["detail"].splitlines()]
            lines += [f"  -> {line}" for line in item["action"].splitlines()]
    return plain(Answer(0, "\n".join(lines), ""))


def holds(scenario: str, name: str, text: str) -> None:
    path = GOLDEN / scenario / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Told:
    """What one command answered, and how often a node was asked meanwhile."""

    answer: Answer
    asked: int


class Broken:
    """A site whose guests were backed up, on which something was broken then; and how often one of
    its nodes was asked.
    """

    def __init__(self, shell: Shell, node: str) -> None:
        self.shell = shell
        counter = (
            "lab",
            "fault",
            "api",
            "*",
            f"/nodes/{node}/*",
            "delay",
            "--seconds",
            0,
            "--json",
        )
        self._counter = self.shell(*counter).json["id"]
        self.told: dict[str, Told] = {}
        self.findings = ""

    def tell(self) -> None:
        """Give every command once, in this order: what one of them leaves, such as a failed backup,
        the later ones see.
        """
        for name, words in COMMANDS.items():
            before = self._asked()
            options = ("--output", self.shell.state / "report") if name == "pra-report" else ()
            self.told[name] = Told(self.shell(*words, *options), self._asked() - before)
        (written,) = (self.shell.state / "report").glob("*.json")
        self.findings = told_in(written)

    def _asked(self) -> int:
        """The calls so far that were for the node."""
        faults = self.shell("lab", "fault", "list", "--json").json["faults"]
        return int(next(fault["struck"] for fault in faults if fault["id"] == self._counter))


@contextmanager
def broken(directory: Path, *fault: str) -> Iterator[Broken]:
    shell = Shell(directory)
    assert shell("lab", "up", "--hypervisor", "simulated").code == 0
    try:
        settle_briefly(shell.state)
        disable_pve_job(shell.state)
        assert shell("backup", "run").code == 0
        site = Broken(shell, "clovis")
        assert shell("lab", "fault", *fault).code == 0
        site.tell()
        yield site
    finally:
        assert shell("lab", "down").code == 0


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    with broken(tmp_path_factory.mktemp("dead"), "node-death", "clovis") as site:
        yield site


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    with broken(tmp_path_factory.mktemp("mute"), "status-unknown", "clovis") as site:
        yield site


CODES = {
    "dead": {
        "pra-status": 1,
        "pra-report": 0,
        "catalog-list": 0,
        "catalog-sync": 3,
        "restore-dry-run": 4,
        "restore": 4,
        "restore-test": 3,
        "doctor": 3,
        "prune": 3,
        "backup-run-dry-run": 0,
        "backup-run": 3,
    },
    "mute": {
        "pra-status": 1,
        "pra-report": 0,
        "catalog-list": 0,
        "catalog-sync": 0,
        "restore-dry-run": 4,
        "restore": 4,
        "restore-test": 1,
        "doctor": 0,
        "prune": 0,
        "backup-run-dry-run": 0,
        "backup-run": 0,
    },
}


def said(site: Broken, scenario: str, name: str) -> None:
    answer = site.told[name].answer
    assert answer.code == CODES[scenario][name], answer.out + answer.err
    assert "Traceback" not in answer.err
    holds(scenario, name, plain(answer))


@pytest.mark.parametrize("name", COMMANDS)
def test_with_a_dead_node_each_command_says_what_happened_what_is_unknown_and_what_to_do(
    dead: Broken, name: str
) -> None:
    said(dead, "dead", name)
    assert dead.told[name].asked <= 1, "a node that is known to be dead was asked again"


def test_with_a_dead_node_the_report_begins_with_it(dead: Broken) -> None:
    assert dead.findings.splitlines()[1] == "critical: node-offline: clovis"
    assert "backup run" not in dead.findings
    holds("dead", "pra-report-findings", dead.findings)


def test_with_a_dead_node_nothing_is_lost_from_the_catalog(dead: Broken) -> None:
    assert dead.shell("catalog", "sync").code == 3
    archives = dead.shell("catalog", "list", "--json").json["archives"]
    assert len(archives) == 11 and {(one["missing"], one["unreachable"]) for one in archives} == {
        (False, True)
    }
    assert len(dead.shell("catalog", "list", "--offline", "--json").json["archives"]) == 11


@pytest.mark.parametrize("name", COMMANDS)
def test_with_a_dead_pvestatd_each_command_asks_the_node_itself_and_works(
    mute: Broken, name: str
) -> None:
    said(mute, "mute", name)


def test_with_a_dead_pvestatd_the_report_names_it_and_calls_no_node_offline(mute: Broken) -> None:
    assert (
        "warning: status-unknown: clovis" in mute.findings and "node-offline" not in mute.findings
    )
    holds("mute", "pra-report-findings", mute.findings)


# --- a PVE that takes every connection and never says a word --------------------------------------


class Swallower:
    """Listens, takes what it is sent, and never answers; counts the connections."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        for one in (self._listener, *self.taken):
            one.close()


@pytest.fixture
def swallower() -> Iterator[Swallower]:
    made = Swallower()
    yield made
    made.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pve_that_swallows_everything_is_one_clear_error_after_one_timeout(
    swallower: Swallower, tmp_path: Path, name: str
) -> None:
    env = {
        "BACKUPSVC_PVE__HOST": swallower.host,
        "BACKUPSVC_PVE__TOKEN": "svc@pve!b1=5e7b0f0e-1111-4222-8333-123456789abc",
        "BACKUPSVC_PVE__TIMEOUT": "2",
        "BACKUPSVC_POLICY": str(Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"),
    }
    answer = Shell(tmp_path, env)(*COMMANDS[name])
    assert answer.code == 3, answer.out + answer.err
    smallest = "(GET version)" in answer.err  # who does not answer that is asked nothing else
    assert len(swallower.taken) <= (1 if smallest else 2), (
        "one quick look whether anybody is there at all is enough"
    )
    assert "Traceback" not in answer.err
    holds("swallowed", name, plain(answer))
