"""Several hosts: the service goes on when the node that it asks is dead, and no change is ever sent
to two of them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from backupsvc.errors import PveCertificateRefused, PvePermissionDenied, PveUnreachable, UsageError
from backupsvc.pve import connect
from backupsvc.pve.client import Client
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import TOKEN, FakePve, Reply, refuse
from tests.fakes.tls import Certificate, make_certificate

from .conftest import settings_for

SILENT = Reply(status=596, reason="Connection timed out", raw="")
NO_ROUTE = Reply(status=595, reason="No route to host", raw="")


@pytest.fixture
def second(certificate: Certificate) -> Iterator[FakePve]:
    """Another node of the same cluster."""
    server = FakePve(certificate)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def refusing() -> Iterator[str]:
    """host:port of a node that is dead: nobody listens, and nobody else gets the port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def unanswered() -> Iterator[str]:
    """host:port of a node that hangs: connections are accepted by its kernel, and nothing is ever
    said.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def among(fake: FakePve, clock: SteppingClock) -> Callable[..., Client]:
    """Make a client of several hosts."""

    def make(*hosts: str, **changes: Any) -> Client:
        return Client(settings_for(fake, host=",".join(hosts), **changes), SecretStr(TOKEN), clock)

    return make


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_whatever_is_asked_goes_to_the_next_node_when_the_first_refuses_the_connection(
    among: Callable[..., Client], refusing: str, second: FakePve, clock: SteppingClock, method: str
) -> None:
    second.on(method.upper(), "/nodes/b/qemu/9001/config", "done")
    client = among(refusing, second.host)
    assert getattr(client, method)("nodes/b/qemu/9001/config").data == "done"
    assert (len(second.requests), clock.slept, client.where) == (1, [], second.host)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize(
    "reply",
    [SILENT, NO_ROUTE, refuse(503, "restarting"), Reply(drop=True), Reply("late", delay=4.0)],
)
def test_a_change_that_was_sent_is_never_sent_to_another_node(
    among: Callable[..., Client], fake: FakePve, second: FakePve, method: str, reply: Reply
) -> None:
    fake.on(method.upper(), "/nodes/b/qemu/9001", reply)
    with pytest.raises(PveUnreachable):
        getattr(among(fake.host, second.host, timeout=2.0), method)("nodes/b/qemu/9001")
    assert (len(fake.changes()), second.requests) == (1, [])


def test_a_change_whose_connection_was_accepted_is_not_sent_to_another_node_though_nothing_came_back(
    among: Callable[..., Client], unanswered: str, second: FakePve
) -> None:
    with pytest.raises(PveUnreachable, match="whether it was carried out is not known"):
        among(unanswered, second.host, timeout=2.0).post("nodes/b/vzdump")
    assert second.requests == []


def test_a_change_that_was_sent_is_not_repeated_because_another_call_was_refused_before(
    among: Callable[..., Client], fake: FakePve, second: FakePve
) -> None:
    fake.on("POST", "/nodes/b/vzdump", Reply(drop=True))
    client = among(fake.host, second.host)
    try:
        raise ConnectionRefusedError("a broker that is down")
    except ConnectionRefusedError:  # whatever fails now has this refusal in its chain of contexts
        with pytest.raises(PveUnreachable):
            client.post("nodes/b/vzdump")
    assert second.requests == []


@pytest.mark.parametrize(
    "reply",
    [SILENT, NO_ROUTE, refuse(503, "restarting"), Reply(drop=True), Reply("late", delay=4.0)],
)
def test_a_read_goes_to_the_next_node_when_it_gets_no_answer(
    among: Callable[..., Client], fake: FakePve, second: FakePve, clock: SteppingClock, reply: Reply
) -> None:
    fake.on("GET", "/nodes", reply)
    second.on("GET", "/nodes", [])
    assert among(fake.host, second.host, timeout=2.0).get("nodes").data == []
    assert clock.slept == []


def test_a_read_that_may_be_made_but_once_goes_nowhere_else(
    among: Callable[..., Client], fake: FakePve, second: FakePve
) -> None:
    # the agent hands out its output once
    fake.on("GET", "/nodes/b/qemu/1/agent/exec-status", Reply(drop=True))
    with pytest.raises(PveUnreachable):
        among(fake.host, second.host).get("nodes/b/qemu/1/agent/exec-status", retry=False)
    assert (len(fake.requests), second.requests) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_refusal_is_an_answer_and_goes_nowhere_else(
    among: Callable[..., Client], fake: FakePve, second: FakePve, status: int
) -> None:
    fake.on("GET", "/nodes", refuse(status, "no"))
    with pytest.raises(Exception, match="no"):
        among(fake.host, second.host).get("nodes")
    assert second.requests == []


def test_a_refusal_by_the_second_node_is_told_as_its_own(
    among: Callable[..., Client], refusing: str, second: FakePve
) -> None:
    second.on("POST", "/nodes/b/qemu", refuse(403, "Permission check failed"))
    with pytest.raises(PvePermissionDenied) as caught:
        among(refusing, second.host).post("nodes/b/qemu")
    assert caught.value.message.startswith(second.host)


def test_the_node_that_answered_last_is_asked_first_and_left_when_it_dies(
    among: Callable[..., Client], certificate: Certificate, refusing: str, second: FakePve
) -> None:
    third = FakePve(certificate)
    third.start()
    client = among(refusing, second.host, third.host)
    for server in (second, third):
        server.on("GET", "/version", {"release": server.host})
    assert [client.get("version").data["release"] for _ in range(2)] == [second.host] * 2
    second.http.socket.close()
    # what is open breaks off, what is new is refused
    second.routes["GET", "/version"] = [Reply(drop=True)]
    assert [client.get("version").data["release"] for _ in range(2)] == [third.host] * 2
    third.stop()


def test_each_thread_fails_over_by_itself(
    among: Callable[..., Client], refusing: str, second: FakePve
) -> None:
    client, found = among(refusing, second.host), list[Any]()
    second.on("POST", "/nodes/b/vzdump", "UPID")
    threads = [
        threading.Thread(target=lambda: found.append(client.post("nodes/b/vzdump").data))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(second.requests)) == (["UPID"] * 8, 8)


def test_when_none_answers_the_error_names_all_that_were_asked(
    among: Callable[..., Client], refusing: str, fake: FakePve, clock: SteppingClock
) -> None:
    fake.on("GET", "/version", SILENT)
    with pytest.raises(PveUnreachable) as caught:
        among(refusing, fake.host, "no-such-host.invalid").get("version")
    told = caught.value.message
    assert f"{refusing} refuses connections" in told
    assert f"{fake.host} could not get an answer" in told
    assert "no host called no-such-host.invalid" in told
    assert (len(fake.requests), clock.slept) == (3, [0.3, 1.0])


def test_a_change_that_reached_nobody_is_told_so(
    among: Callable[..., Client], refusing: str
) -> None:
    with pytest.raises(
        PveUnreachable, match=r"refuses connections \(POST nodes/b/vzdump\); nothing was sent"
    ):
        among(refusing).post("nodes/b/vzdump")


def test_a_wrong_certificate_is_told_and_not_passed_over(
    among: Callable[..., Client], fake: FakePve, second: FakePve, tmp_path: Any
) -> None:
    stranger = FakePve(make_certificate(tmp_path))
    stranger.start()
    try:
        with pytest.raises(PveCertificateRefused, match=stranger.host):
            among(stranger.host, second.host).get("version")
        assert (stranger.requests, second.requests) == ([], [])
    finally:
        stranger.stop()


def test_each_host_may_have_a_fingerprint_of_its_own(
    among: Callable[..., Client], fake: FakePve, tmp_path: Any, refusing: str, clock: SteppingClock
) -> None:
    own = make_certificate(tmp_path)
    other = FakePve(own)
    other.start()
    other.on("GET", "/version", {"release": "9.0"})
    prints = [fake.certificate.fingerprint, own.fingerprint]
    try:
        pinned = {"ca_file": None, "fingerprint": ", ".join(prints)}
        assert among(refusing, other.host, **pinned).get("version").data == {"release": "9.0"}
        with pytest.raises(PveCertificateRefused):
            among(other.host, refusing, **pinned).get("version")
        assert among(refusing, other.host, ca_file=None, fingerprint=own.fingerprint).get(
            "version"
        ).data == {"release": "9.0"}
    finally:
        other.stop()
    with pytest.raises(UsageError, match="2 fingerprints for 3 in BACKUPSVC_PVE__HOST"):
        among("a", "b", "c", **pinned)


@pytest.mark.parametrize(
    "host", ["pve1:8006,", "pve1:8006,,pve2:8006", "pve1 pve2", "pve1:8006;pve2:8006"]
)
def test_a_malformed_list_of_hosts_is_wrong_usage(among: Callable[..., Client], host: str) -> None:
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__HOST"):
        among(host)


def test_every_host_that_is_of_no_use_is_found(
    fake: FakePve, second: FakePve, refusing: str, clock: SteppingClock
) -> None:
    fake.on("GET", "/version", {"release": "9.0"})
    second.on("GET", "/version", {"release": "9.0"})
    pve = connect(settings_for(fake, host=f"{fake.host}, {refusing}, {second.host}"), clock)
    (found,) = pve.silent()
    assert found.message.startswith(f"{refusing} refuses connections")
