"""A cluster whose answers are valid JSON of the wrong type: each command says which call and which
key, and ends with 3.

The lab is in this process, with modelled guests, so that its answers can be replaced on their way
to the real command line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from pvelab.faults import calls
from pvelab.server import LabServer
from pvelab.wire import Reply, Request
from tests.commands import Answer, Shell
from tests.integration.administrator import disable_pve_job

pytestmark = pytest.mark.slow
POLICY = """
site: unreadable
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}
jobs:
  nightly: {schedule: "21:00", storage: local, guests: [105, 108], compress: zstd}
guests:
  108: {boot-timeout: 10s, check-timeout: 5s, checks: [agent]}
"""


@dataclass
class Liar:
    """The lab, what it says wrongly (a pattern of calls, and what becomes of their data), and all
    that was changed in it.
    """

    shell: Shell
    about: str = ""
    lie: Callable[[Any], Any] = lambda data: data
    told: int = 0
    changes: list[str] = field(default_factory=list)

    def left(self) -> dict[int, str]:
        """The scratch VMIDs that the catalog holds for operations."""
        with Catalog.open(f"sqlite:///{self.shell.state}/lab/catalog.db") as catalog:
            return catalog.leases.holders()

    def says(self, request: Request, reply: Reply) -> Reply:
        """The reply, with its data replaced if the call is one of those."""
        if request.method != "GET":
            self.changes.append(f"{request.method} {request.call}")
        if (
            reply.status != 200
            or not self.about
            or not fnmatchcase(f"{request.method} {request.call}", self.about)
        ):
            return reply
        envelope = json.loads(reply.body)
        self.told += 1
        return replace(
            reply, body=json.dumps(envelope | {"data": self.lie(envelope["data"])}).encode()
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    """Two modelled guests, both backed up."""
    state = tmp_path_factory.mktemp("unreadable")
    (state / "lab").mkdir()
    policy = state / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    liar = Liar(Shell(state, {"BACKUPSVC_POLICY": str(policy)}))
    with pytest.MonkeyPatch.context() as patch:
        running = LabServer(state / "lab", "simulated", lambda text: None, guests="105,108")
        try:
            running.start()
            honest = calls.around
            patch.setattr(
                calls,
                "around",
                lambda board, request, go: liar.says(request, honest(board, request, go)),
            )
            disable_pve_job(state)
            made = liar.shell("backup", "run", "--json")
            assert made.code == 0, made.out + made.err
            yield liar
        finally:
            running.stop()
            shutil.rmtree(running.run_dir, ignore_errors=True)


@pytest.fixture
def liar(built: Liar) -> Iterator[Liar]:
    """It tells the truth until a test says otherwise, and afterwards."""
    built.told, built.changes = 0, []
    yield built
    built.about = ""


def first(key: str, value: Any) -> Callable[[Any], Any]:
    """Another value for a key of the first row."""
    return lambda rows: [{**rows[0], key: value}, *rows[1:]]


def without(key: str) -> Callable[[Any], Any]:
    return lambda rows: [
        {name: value for name, value in row.items() if name != key} for row in rows
    ]


def complaint(answer: Answer) -> str:
    """All that a command said, which must not be a traceback."""
    said = answer.out + answer.err
    assert "Traceback" not in said, said
    return said


@pytest.mark.parametrize(
    ("command", "call", "lie", "told"),
    [
        (
            "catalog sync",
            "GET /nodes/*/storage/*/content",
            lambda rows: None,
            "should be a list, and is null",
        ),
        (
            "catalog sync",
            "GET /nodes/clovis/storage/local/content",
            first("ctime", "yesterday"),
            "[0].ctime should be a number",
        ),
        (
            "catalog list",
            "GET /nodes/*/storage",
            lambda rows: ["local"],
            '[0] should be an object, and is "local"',
        ),
        (
            "prune --dry-run",
            "GET /nodes/clovis/storage/local/content",
            without("size"),
            "[0].size should be a number, and is missing",
        ),
        (
            "prune",
            "GET /nodes/clovis/storage/local/content",
            first("ctime", [1]),
            "[0].ctime should be a number, and is a list of 1",
        ),
        (
            "prune",
            "GET /nodes/clovis/storage/local/content",
            first("ctime", 10**30),
            "[0].ctime should be a number, and is a number",
        ),
        (
            "backup run",
            "GET /cluster/resources",
            first("vmid", True),
            "[0].vmid should be a number, and is true",
        ),
        (
            "backup run",
            "GET /nodes/*/tasks/*/status",
            lambda row: row | {"status": ["stopped"]},
            "status should be a text, and is",
        ),
        (
            "restore-test 108",
            "GET /nodes/*/qemu/90*/config",
            lambda row: row | {"net0": [[]]},
            "net0 should be a text, and is a l",
        ),
        (
            "restore-test 108",
            "GET /version",
            lambda row: row["version"],
            "should be an object, and is",
        ),
        (
            "restore 108 --dry-run",
            "GET /cluster/resources",
            lambda rows: {"108": rows},
            "should be a list, and is an object of 1",
        ),
        ("pra status", "GET /nodes", without("node"), "[0].node should be a text, and is missing"),
        (
            "pra status",
            "GET /nodes/*/qemu/*/config",
            lambda row: "config",
            'should be an object, and is "config"',
        ),
        (
            "doctor",
            "GET /access/permissions",
            lambda row: dict.fromkeys(row, 1),
            "should be an object, and is 1",
        ),
    ],
)
def test_a_command_that_meets_an_answer_of_another_type_names_the_call_and_the_key_and_ends_with_3(
    liar: Liar, command: str, call: str, lie: Callable[[Any], Any], told: str
) -> None:
    liar.about, liar.lie = call, lie
    answer = liar.shell(*command.split(), timeout=90)
    said = complaint(answer)
    assert liar.told, "the answer that is replaced was not asked for"
    assert answer.code == 3, said
    assert told in said and "with something that cannot be read" in said, said
    assert not [
        change for change in liar.changes if change.startswith("DELETE") and "/content/" in change
    ], "law 3"


def test_the_truth_is_read_again_when_it_is_told_again(liar: Liar) -> None:
    answer = liar.shell("catalog", "sync")
    assert answer.code == 0, answer.out + answer.err


def test_what_a_tear_down_had_to_leave_is_named_kept_and_taken_down_by_the_next_command(
    liar: Liar,
) -> None:
    """Without workers nobody else comes for it: not lost, not waited for in silence, and gone once
    it can be read again.
    """
    liar.about, liar.lie = "GET /nodes/*/qemu/90*/config", lambda row: row | {"net0": [[]]}
    first = liar.shell("restore-test", "108", timeout=90)
    assert first.code == 3 and "may still be there, and the VMID stays reserved" in complaint(first)
    left = liar.left()
    assert left
    again = liar.shell("restore-test", "108", timeout=90)
    said = complaint(again)
    assert again.code == 3 and set(left) < set(liar.left()), said
    assert "left its copy in scratch VMID 9000" in said and "is still there" in said, said
    liar.about = ""
    last = liar.shell("restore-test", "108", timeout=90)
    said = complaint(last)
    assert "it is taken down first, by reap" in said and "backupsvc operations show" in said, said
    assert liar.left() == {}, said
    assert {f"DELETE /nodes/clovis/qemu/{vmid}" for vmid in left} <= set(liar.changes)
