"""Faults of the API: which call they strike, and what the caller gets."""

from __future__ import annotations

import json

import pytest
import requests

from pvelab import certificates, seed
from pvelab.kernel import Lab
from pvelab.serving import ApiServer
from tests.unit.pvelab.faults.conftest import Break, struck
from tests.unit.pvelab.guests.conftest import HOME, Api
from tests.waiting import HANGS


def test_an_error_strikes_at_the_call_it_is_set_for_and_at_no_other(
    api: Api, lab: Lab, broken: Break
) -> None:
    fault = broken(
        "api",
        method="GET",
        path="/nodes/*/status",
        do="error",
        call=2,
        status=502,
        text="Bad Gateway",
    )
    replies = [api.ask("GET", f"{HOME}/status") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 502, 200]
    assert replies[1].reason == "Bad Gateway"
    assert json.loads(replies[1].body) == {"data": None, "message": "Bad Gateway\n"}
    assert struck(lab, fault) == 1


def test_without_a_number_every_call_is_struck_and_other_calls_are_not(
    api: Api, lab: Lab, broken: Break
) -> None:
    fault = broken("api", method="*", path="/nodes/clovis/*", do="error")
    assert [api.ask("GET", f"{HOME}/status").status for _ in range(3)] == [500] * 3
    assert api.ask("GET", "/version").status == 200
    assert struck(lab, fault) == 3
    lab.faults.remove(fault.id)
    assert api.ask("GET", f"{HOME}/status").status == 200


@pytest.mark.parametrize("status", [401, 595, 596])
def test_errors_that_have_no_body_in_pve_have_none_here(
    api: Api, broken: Break, status: int
) -> None:
    broken("api", method="GET", path="/version", do="error", status=status, text="No route to host")
    reply = api.ask("GET", "/version")
    assert (reply.status, reply.reason, reply.body) == (status, "No route to host", b"")


def test_a_delayed_call_is_carried_out_and_its_answer_waits(api: Api, broken: Break) -> None:
    broken("api", method="GET", path="/version", do="delay", seconds=7.5)
    reply = api.ask("GET", "/version")
    assert (reply.status, reply.delay) == (200, 7.5)


def test_garbage_is_a_200_that_is_no_json(api: Api, broken: Break) -> None:
    broken("api", method="GET", path="/version", do="garbage")
    reply = api.ask("GET", "/version")
    assert reply.status == 200
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(reply.body)


@pytest.mark.parametrize(("do", "tasks"), [("drop", 0), ("drop-after", 1)])
def test_a_dropped_call_is_or_is_not_carried_out(
    api: Api, lab: Lab, broken: Break, do: str, tasks: int
) -> None:
    broken("api", method="POST", path="/nodes/*/qemu/104/status/start", do=do)
    assert api.ask("POST", f"{HOME}/qemu/104/status/start").dropped
    assert len(lab.tasks.running() + [row[0] for row in lab.tasks.finished()]) == tasks


def test_over_tls_a_dropped_call_is_a_connection_that_closes(
    api: Api, lab: Lab, broken: Break
) -> None:
    certs = certificates.ensure(lab.etc, ["127.0.0.1", "localhost"])
    server = ApiServer(lab, certs)
    server.start()
    broken("api", method="GET", path="/version", do="drop", call=2)
    headers = {"Authorization": f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"}
    try:
        with requests.Session() as session:
            session.trust_env = False
            for expected in (200, None, 200):
                try:
                    url = f"https://127.0.0.1:{server.port}/api2/json/version"
                    found = session.get(
                        url, headers=headers, verify=str(certs.ca_file), timeout=HANGS
                    ).status_code
                except requests.ConnectionError:
                    found = None
                assert found == expected
    finally:
        server.stop()
