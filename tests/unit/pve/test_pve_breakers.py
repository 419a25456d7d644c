"""Who did not answer is not asked again at once: in a command that reads, and in a process that
lives long; over real sockets.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from backupsvc.pve import connect
from backupsvc.pve.breakers import Breakers
from backupsvc.pve.client import Client
from policies.breaker import LONG_LIVED, ONE_COMMAND, Pauses
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import TOKEN, FakePve, Reply, refuse
from tests.fakes.tls import Certificate

from .conftest import settings_for

DEAD = Reply(status=595, reason="No route to host", raw="")
RESTARTING = Reply(status=595, reason="Connection refused", raw="")
NO_ANSWER = Reply(status=596, reason="Connection timed out", raw="")
LATE = Reply("late", delay=1.5)


@pytest.fixture
def swallowing() -> Iterator[str]:
    """host:port that swallows packets: its queue of connections is full, so the kernel answers no
    further one.
    """
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def second(certificate: Certificate) -> Iterator[FakePve]:
    server = FakePve(certificate)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def among(fake: FakePve, clock: SteppingClock) -> Callable[..., Client]:
    """Make a client of several hosts that waits half a second for an answer."""

    def make(*hosts: str, pauses: Pauses = ONE_COMMAND) -> Client:
        breakers = Breakers(clock, pauses, lambda: 0.0)
        return Client(
            settings_for(fake, host=",".join(hosts), timeout=0.5), SecretStr(TOKEN), clock, breakers
        )

    return make


def asked(fake: FakePve, path: str) -> int:
    return sum(request.path == path for request in fake.requests)


def test_a_node_that_is_dead_is_asked_once_in_a_command_and_told_of_in_the_same_words(
    among: Callable[..., Client], fake: FakePve, clock: SteppingClock
) -> None:
    for path in ("status", "qemu/101/config", "storage/local/content"):
        fake.on("GET", f"/nodes/b/{path}", DEAD)
    client, said = among(fake.host), []
    for path in ("qemu/101/config", "status", "qemu/101/config", "storage/local/content"):
        with pytest.raises(PveUnreachable) as caught:
            client.get(f"nodes/b/{path}")
        said.append((caught.value.message, caught.value.hint, caught.value.node))
        clock.time += 100
    assert len(fake.requests) == 1 and clock.slept == []
    assert len(set(said)) == 1 and said[0][2] == "b" and "595 No route to host" in said[0][0]
    refused = client.breakers.refusal(fake.host, "nodes/b/status", 60)
    assert refused is not None and refused[0][1] == "b"


def test_a_dead_node_hides_neither_the_others_nor_the_cluster(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on("GET", "/nodes/b/status", DEAD)
    fake.on("GET", "/nodes/a/status", {"uptime": 1})
    fake.on("GET", "/nodes", [])
    client = among(fake.host)
    with pytest.raises(PveUnreachable):
        client.get("nodes/b/status")
    assert client.get("nodes/a/status").data == {"uptime": 1}
    assert client.get("nodes").data == []


def test_nothing_is_sent_to_a_dead_node_and_that_is_said(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on("GET", "/nodes/b/status", DEAD)
    fake.on("POST", "/nodes/b/vzdump", "UPID")
    client = among(fake.host)
    with pytest.raises(PveUnreachable):
        client.get("nodes/b/status")
    with pytest.raises(
        PveUnreachable, match=r"No route to host; nothing was sent \(POST nodes/b/vzdump\)"
    ):
        client.post("nodes/b/vzdump")
    assert fake.changes() == []


def test_a_node_that_only_restarts_its_proxy_is_tried_again_in_the_same_call(
    among: Callable[..., Client], fake: FakePve, clock: SteppingClock
) -> None:
    fake.on("GET", "/nodes/b/status", RESTARTING, RESTARTING, {"uptime": 1})
    client = among(fake.host)
    assert client.get("nodes/b/status").data == {"uptime": 1}
    assert clock.slept == [0.3, 1.0]
    assert client.breakers.refusal(fake.host, "nodes/b/status", 60) is None
    fake.on("GET", "/nodes/b/status", RESTARTING)
    for _ in range(3):
        with pytest.raises(PveUnreachable, match="Connection refused"):
            client.get("nodes/b/status")
    assert asked(fake, "/nodes/b/status") == 6


def test_an_operation_sees_a_node_again_that_is_back(
    among: Callable[..., Client], fake: FakePve, clock: SteppingClock
) -> None:
    fake.on("GET", "/nodes/b/status", *[DEAD] * 4, {"uptime": 1})
    client = among(fake.host, pauses=LONG_LIVED)
    seen: list[Any] = []
    begun = clock.time
    while not seen:
        try:
            seen.append(client.get("nodes/b/status").data)
        except PveUnreachable:
            clock.time += 1
    assert asked(fake, "/nodes/b/status") == 5
    assert clock.time - begun == 5 + 10 + 20 + 30
    assert client.get("nodes/b/status").data == {"uptime": 1}


def test_an_operation_that_a_command_begins_does_not_take_over_its_silence(
    among: Callable[..., Client], fake: FakePve, clock: SteppingClock
) -> None:
    fake.on("GET", "/nodes/b/status", DEAD, DEAD, {"uptime": 1})
    client = among(fake.host)
    for expected in (1, 2):
        with pytest.raises(PveUnreachable):
            client.get("nodes/b/status")
        client.breakers.live_long()
        assert asked(fake, "/nodes/b/status") == expected
    clock.time += LONG_LIVED.first
    assert client.get("nodes/b/status").data == {"uptime": 1}


def test_whoever_must_know_may_ask_again_at_once(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on("GET", "/nodes/b/status", DEAD, {"uptime": 1})
    client = among(fake.host)
    with pytest.raises(PveUnreachable):
        client.get("nodes/b/status")
    client.breakers.ask_again()
    assert client.get("nodes/b/status").data == {"uptime": 1}


def test_a_host_that_swallows_packets_costs_its_timeout_once(
    among: Callable[..., Client],
    swallowing: str,
    clock: SteppingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = among(swallowing)
    tries: list[str] = []
    real = Client._once

    def once(self: Client, host: Any, *rest: Any) -> Any:
        tries.append(str(host))
        return real(self, host, *rest)

    monkeypatch.setattr(Client, "_once", once)
    for path in ("version", "nodes/b/status", "cluster/resources"):
        with pytest.raises(PveUnreachable, match=r"cannot be reached \(GET version\)"):
            client.get(path)
    with pytest.raises(PveUnreachable, match=r"cannot be reached .*nothing was sent"):
        client.post("nodes/b/vzdump")
    assert tries == [swallowing]


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_host_that_swallows_packets_is_passed_over_for_another(
    among: Callable[..., Client], swallowing: str, second: FakePve, method: str
) -> None:
    second.on(method.upper(), "/nodes/b/vzdump", "done")
    client = among(swallowing, second.host)
    assert [getattr(client, method)("nodes/b/vzdump").data for _ in range(3)] == ["done"] * 3
    assert client.breakers.refusal(swallowing, "version", 1) is not None


def test_whoever_asks_which_hosts_are_silent_waits_for_none_that_was_silent_just_now(
    among: Callable[..., Client], fake: FakePve, second: FakePve
) -> None:
    fake.on("GET", "/version", LATE)
    second.on("GET", "/version", {"version": "9.2.11"})
    client = among(fake.host, second.host)
    client.get("version")
    before = len(fake.requests)
    (error,) = client.silent()
    assert fake.host in error.message and "did not answer" in error.message
    assert len(fake.requests) == before
    client.breakers.ask_again()
    fake.on("GET", "/version", {"version": "9.2.11"})
    assert client.silent() == []


def test_workers_do_not_all_wait_for_a_host_that_swallows_packets(
    among: Callable[..., Client], swallowing: str, clock: SteppingClock
) -> None:
    client = among(swallowing, pauses=LONG_LIVED)
    with pytest.raises(PveUnreachable):
        client.get("version")
    clock.time += LONG_LIVED.first
    assert client.breakers.refusal(swallowing, "version", 60) is None, "one of them looks"
    assert client.breakers.refusal(swallowing, "version", 60) is not None, "and the others are told"


def test_a_storage_that_hangs_is_told_from_its_node(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on("GET", "/nodes/b/storage/nfs/content", LATE)
    fake.on("GET", "/nodes/b/version", {"release": "9.0"})
    fake.on("GET", "/nodes/b/storage/local/content", [])
    client = among(fake.host)
    for path in ("storage/nfs/content", "storage/nfs/content", "storage/nfs/status"):
        with pytest.raises(PveUnreachable, match=r"did not answer within 0\.5 s"):
            client.get(f"nodes/b/{path}")
    # as long as each takes a moment; a wait of a minute is not repeated
    assert asked(fake, "/nodes/b/storage/nfs/content") == 3
    assert client.get("nodes/b/storage/local/content").data == []
    assert client.breakers.refusal(fake.host, "nodes/b/version", 60) is None


@pytest.mark.parametrize("reply", [LATE, NO_ANSWER])
def test_a_node_that_answers_nothing_is_told_from_the_host_that_passes_the_call_on(
    among: Callable[..., Client], fake: FakePve, reply: Reply
) -> None:
    fake.on("GET", "/nodes/b/storage/nfs/content", reply)
    fake.on("GET", "/nodes/b/version", reply)
    fake.on("GET", "/version", {"release": "9.0"})
    client = among(fake.host)
    for path in ("storage/nfs/content", "qemu/108/config"):
        with pytest.raises(PveUnreachable) as caught:
            client.get(f"nodes/b/{path}")
    assert caught.value.node == "b" and asked(fake, "/nodes/b/qemu/108/config") == 0
    assert client.get("version").data == {"release": "9.0"}


def test_a_host_that_answers_nothing_at_all_is_not_asked_for_anything_else(
    among: Callable[..., Client], fake: FakePve
) -> None:
    for path in ("/nodes/b/storage/nfs/content", "/nodes/b/version", "/version"):
        fake.on("GET", path, LATE)
    client = among(fake.host)
    for path in ("nodes/b/storage/nfs/content", "nodes/a/time", "version"):
        with pytest.raises(PveUnreachable, match="did not answer"):
            client.get(path)
    assert [request.path for request in fake.requests] == [
        "/nodes/b/storage/nfs/content",
        "/nodes/b/version",
        "/version",
    ]


def test_a_part_that_hangs_is_not_asked_through_another_host(
    among: Callable[..., Client], fake: FakePve, second: FakePve
) -> None:
    fake.on("GET", "/nodes/b/storage/nfs/content", LATE)
    fake.on("GET", "/nodes/b/version", {"release": "9.0"})
    with pytest.raises(PveUnreachable):
        among(fake.host, second.host).get("nodes/b/storage/nfs/content")
    assert second.requests == []


@pytest.mark.parametrize(
    "reply", [refuse(500, "no"), refuse(403, "no"), Reply(drop=True), refuse(503, "restarting")]
)
def test_an_error_is_no_silence(among: Callable[..., Client], fake: FakePve, reply: Reply) -> None:
    fake.on("GET", "/nodes/b/status", *[reply] * 3, {"uptime": 1})
    client = among(fake.host)
    for _ in range(3):
        try:
            assert client.get("nodes/b/status").data == {"uptime": 1}
            break
        except (PveError, PvePermissionDenied, PveUnreachable):
            continue
    assert asked(fake, "/nodes/b/status") > 1
    assert client.breakers.refusal(fake.host, "nodes/b/status", 60) is None


def test_an_agents_text_that_pve_cannot_pass_on_is_no_silence(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on("POST", "/nodes/b/qemu/1/agent/exec", Reply(status=596, reason="Broken pipe", raw=""))
    client = among(fake.host)
    for _ in range(2):
        with pytest.raises(PveError, match="Broken pipe"):
            client.post("nodes/b/qemu/1/agent/exec")
    assert len(fake.requests) == 2


def test_a_node_that_the_cluster_calls_offline_is_not_asked_and_one_of_which_it_knows_nothing_is(
    fake: FakePve, clock: SteppingClock
) -> None:
    rows = [
        {"node": name, "status": status}
        for name, status in {"a": "online", "b": "offline", "c": "unknown"}.items()
    ]
    fake.on("GET", "/nodes", rows)
    for name in "abc":
        fake.on("GET", f"/nodes/{name}/network", [])
    pve = connect(settings_for(fake), clock)
    pve.cluster.nodes()
    assert pve.cluster.bridges("a") == pve.cluster.bridges("c") == []
    with pytest.raises(PveUnreachable, match="says that node b is offline") as caught:
        pve.cluster.bridges("b")
    assert caught.value.node == "b" and asked(fake, "/nodes/b/network") == 0
    rows[1]["status"] = "online"
    pve.cluster.nodes()
    assert pve.cluster.bridges("b") == []


@pytest.mark.parametrize("quorate", [0, 1])
def test_only_a_cluster_with_quorum_knows_who_is_offline(
    fake: FakePve, clock: SteppingClock, quorate: int
) -> None:
    members = [
        {"type": "node", "name": name, "nodeid": id, "ip": "", "online": id % 2}
        for id, name in enumerate("ba")
    ]
    fake.on(
        "GET", "/cluster/status", [{"type": "cluster", "name": "c", "quorate": quorate}, *members]
    )
    fake.on("GET", "/nodes/b/network", [])
    pve = connect(settings_for(fake), clock)
    pve.cluster.status()
    if not quorate:
        assert pve.cluster.bridges("b") == []
        return
    with pytest.raises(PveUnreachable, match="offline"):
        pve.cluster.bridges("b")


def test_what_one_token_learned_of_silence_spares_the_other(
    fake: FakePve, clock: SteppingClock
) -> None:
    settings = settings_for(fake, restore_token=SecretStr("svc@pve!r1=other-secret"))
    breakers = Breakers(clock)
    fake.on("GET", "/nodes/b/network", DEAD)
    for restore in (False, True):
        with pytest.raises(PveUnreachable):
            connect(settings, clock, restore=restore, breakers=breakers).cluster.bridges("b")
    assert len(fake.requests) == 1


def test_many_threads_that_meet_a_dead_node_are_all_told_and_the_next_are_spared(
    among: Callable[..., Client], fake: FakePve
) -> None:
    fake.on(
        "GET", "/nodes/b/status", Reply(status=595, reason="No route to host", raw="", delay=0.1)
    )
    client, told = among(fake.host), list[Any]()

    def ask() -> None:
        try:
            client.get("nodes/b/status")
        except PveUnreachable as error:
            told.append(error.node)

    for _ in range(2):
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told == ["b"] * 12 and len(fake.requests) <= 6
