"""On the wire: TLS by the lab's own authority, PVE's reason phrases, keep-alive, many slow calls at
once.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest

from pvelab import seed
from pvelab.certificates import Certificates
from pvelab.kernel import ROUTES, Call, Lab
from pvelab.serving import ApiServer
from tests.waiting import HANGS

Served = tuple[ApiServer, Certificates]
SLOW = 20  # calls at once that take long


def _connect(served: Served) -> http.client.HTTPSConnection:
    server, certs = served
    return http.client.HTTPSConnection(
        "127.0.0.1",
        server.port,
        context=ssl.create_default_context(cafile=certs.ca_file),
        timeout=HANGS,
    )


def _header(lab: Lab) -> dict[str, str]:
    return {"Authorization": f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"}


def test_the_error_text_is_the_reason_phrase_and_the_connection_is_closed(
    lab: Lab, served: Served
) -> None:
    connection = _connect(served)
    connection.request("GET", "/api2/json/cluster/nextid?vmid=100", headers=_header(lab))
    answer = connection.getresponse()
    assert (answer.status, answer.reason) == (400, "Parameter verification failed.")
    assert answer.headers["Connection"] == "close"
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert answer.headers["Server"] == "pve-api-daemon/3.0"
    assert "x-lab-reason" not in answer.headers


def test_a_good_answer_keeps_the_connection_and_costs_milliseconds(
    lab: Lab, served: Served
) -> None:
    connection = _connect(served)
    connection.request("GET", "/api2/json/version", headers=_header(lab))
    connection.getresponse().read()
    took = []
    for _ in range(20):
        began = time.monotonic()
        connection.request("GET", "/api2/json/version", headers=_header(lab))
        answer = connection.getresponse()
        answer.read()
        took.append(time.monotonic() - began)
    assert (answer.status, answer.reason) == (200, "OK")
    # a delayed acknowledgement costs 40 ms, at every call, when Nagle's algorithm is on
    assert min(took) < 0.035


def test_the_certificate_is_trusted_by_the_labs_authority_alone(served: Served) -> None:
    server, certs = served
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", server.port)))
    assert der == ssl.PEM_cert_to_DER_cert(certs.certificate.read_text())
    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
    assert certs.key.stat().st_mode & 0o077 == 0


def test_slow_calls_do_not_keep_others_waiting(
    lab: Lab, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ROUTES["GET", "/cluster/options"]
    begun, answered = Semaphore(0), Event()

    def slow(call: Call) -> object:
        begun.release()
        assert answered.wait(HANGS), "the quick call was kept waiting by the slow ones"
        return original(call)

    monkeypatch.setitem(ROUTES, ("GET", "/cluster/options"), slow)

    def ask(path: str) -> int:
        connection = _connect(served)
        connection.request("GET", f"/api2/json{path}", headers=_header(lab))
        return connection.getresponse().status

    with ThreadPoolExecutor(SLOW) as pool:
        waiting = [pool.submit(ask, "/cluster/options") for _ in range(SLOW)]
        # all of them at once, and not one after the other
        assert all(begun.acquire(timeout=HANGS) for _ in range(SLOW))
        assert ask("/version") == 200
        answered.set()
        assert {done.result() for done in waiting} == {200}


def test_a_text_beyond_latin_1_breaks_the_pipe(
    lab: Lab, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: Call) -> object:
        raise RuntimeError("Failed to execute “nosuch”")

    monkeypatch.setitem(ROUTES, ("GET", "/cluster/options"), fail)
    connection = _connect(served)
    connection.request("GET", "/api2/json/cluster/options", headers=_header(lab))
    answer = connection.getresponse()
    assert (answer.status, answer.reason, answer.read()) == (596, "Broken pipe", b"")
