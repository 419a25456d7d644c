"""Setting, listing and clearing faults: by the lab's own endpoint and by command, kept over a
restart, for root alone.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pvelab import seed
from pvelab.app import dispatch
from pvelab.errors import UsageError
from pvelab.faults import board
from pvelab.faults.model import KINDS
from pvelab.kernel import Lab
from pvelab.wire import Reply, Request
from tests.unit.pvelab.faults.conftest import Break

DRIFT = {"kind": "drift", "options": {"node": "clovis", "seconds": 60}}


def ask(
    lab: Lab, method: str, rest: str = "", body: Any = None, token: str = seed.ROOT_TOKEN
) -> Reply:
    headers = {"authorization": f"PVEAPIToken={seed.token(lab, token)}"}
    return dispatch(
        lab,
        Request(
            method,
            f"/lab/faults{rest}",
            "",
            headers,
            b"" if body is None else json.dumps(body).encode(),
        ),
    )


def data(reply: Reply) -> Any:
    assert reply.status == 200, reply
    return json.loads(reply.body)["data"]


def test_a_fresh_lab_has_no_fault(lab: Lab) -> None:
    assert data(ask(lab, "GET")) == []


def test_faults_are_set_listed_and_cleared_by_number_or_all_at_once(lab: Lab) -> None:
    numbers = [data(ask(lab, "POST", body=DRIFT))["id"] for _ in range(3)]
    assert [row["id"] for row in data(ask(lab, "GET"))] == numbers
    assert [row["id"] for row in data(ask(lab, "DELETE", f"/{numbers[1]}"))] == [numbers[1]]
    assert [row["id"] for row in data(ask(lab, "DELETE"))] == [numbers[0], numbers[2]]
    assert data(ask(lab, "GET")) == []


def test_faults_outlive_the_lab(lab: Lab, broken: Break) -> None:
    broken("guest-panic", vmid=104)
    lab.faults.strike("guest-panic", vmid=104)
    again = board.Board(lab.dir / board.FILE)
    assert again.all() == lab.faults.all()
    assert (again.all()[0].struck, again.all()[0].uuid) == (1, lab.faults.all()[0].uuid)


@pytest.mark.parametrize("token", [seed.SERVICE_TOKEN, seed.RESTORE_TOKEN])
def test_the_service_may_not_break_the_lab(lab: Lab, token: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert ask(lab, method, body=DRIFT, token=token).status == 403
    assert lab.faults.all() == []


def test_without_credentials_nothing_is_told(lab: Lab) -> None:
    assert dispatch(lab, Request("GET", "/lab/faults")).status == 401


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "earthquake"},
        {"kind": "drift", "options": {"node": "clovis"}},
        {"kind": "drift", "options": {"node": "clovis", "seconds": "soon"}},
        {"kind": "drift", "options": {"node": "clovis", "seconds": 1, "colour": "red"}},
        {"kind": "drift", "options": {"node": "nowhere", "seconds": 1}},
        {"kind": "storage-full", "options": {"node": "clovis", "storage": "nowhere"}},
        {"kind": "storage-slow", "options": {"node": "clovis", "storage": "local", "rate": 0}},
        {"kind": "api", "options": {"method": "GET", "path": "/version", "do": "explode"}},
        ["drift"],
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence_and_nothing_is_set(
    lab: Lab, body: Any
) -> None:
    reply = ask(lab, "POST", body=body)
    assert reply.status >= 400 and json.loads(reply.body)["message"]
    assert lab.faults.all() == []


def test_an_unknown_number_cannot_be_cleared(lab: Lab) -> None:
    assert ask(lab, "DELETE", "/7").status == 400
    assert ask(lab, "DELETE", "/seven").status == 404


def test_faults_of_the_api_do_not_reach_the_endpoint_that_clears_them(
    lab: Lab, broken: Break
) -> None:
    broken("api", method="*", path="*", do="error")
    assert len(data(ask(lab, "DELETE"))) == 1


def test_every_kind_has_a_command_with_its_name() -> None:
    from pvelab import fault_commands

    names = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in fault_commands.app.registered_commands
        if command.callback
    }
    assert names == set(KINDS) | {"list", "clear", "node-return"}


def test_an_unknown_kind_names_those_that_there_are(broken: Break) -> None:
    with pytest.raises(UsageError) as refused:
        broken("earthquake")
    assert "storage-full" in refused.value.hint
