"""Health checks against real servers on loopback, through a connection that leads straight
there.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from backupsvc import checks
from backupsvc.checks.http import MAX_BODY
from backupsvc.checks.kinds import ExecResult
from backupsvc.checks.wire import printable
from backupsvc.errors import PveError, PvePermissionDenied, RemoteUnreachable
from policies.check_kinds import CHECK_KINDS, NETWORK_KINDS, Level
from policies.model import CheckResult, CheckSpec, Outcome
from tests.fakes.tls import make_certificate
from tests.waiting import HANGS, wait_until

ADDRESS = "127.0.0.1"


def straight(address: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((address, port), timeout)


TARGET = checks.Target(108, ADDRESS, straight)


def run(kind: str, timeout: int = 3, target: checks.Target = TARGET, **options: Any) -> CheckResult:
    return checks.run(CheckSpec(kind, f"my {kind}", options, timeout), target)


class Page(http.server.BaseHTTPRequestHandler):
    """Answers what its path says: /status/503, /words, /long, /slow, /broken."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        if self.path == "/broken":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(4000):
                    self.wfile.write(b".")
                    self.wfile.flush()
                    time.sleep(0.05)
            return
        status = int(self.path.rpartition("/")[2]) if self.path.startswith("/status/") else 200
        body = (
            b"x" * MAX_BODY + b"GLPI"
            if self.path == "/long"
            else "GLPI, connexion : é\x1b[31m".encode()
        )
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextlib.contextmanager
def serving(tls: Path | None = None) -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer((ADDRESS, 0), Page)
    server.seen = []  # type: ignore[attr-defined]
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def page() -> Iterator[Any]:
    with serving() as server:
        yield server


@contextlib.contextmanager
def talking(say: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that does one thing with each connection; yields its port."""
    with socket.create_server((ADDRESS, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer, contextlib.suppress(OSError):
                        say(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((ADDRESS, 0))
        return int(sock.getsockname()[1])


# --- http -----------------------------------------------------------------------------------------


def test_a_page_with_the_right_status_and_words_passes(page: Any) -> None:
    result = run("http", port=page.server_port, path="/login", contains="GLPI")
    assert (result.outcome, result.name, result.kind) == (Outcome.PASSED, "my http", "http")
    assert "answers 200 with the words 'GLPI'" in result.detail and 0 <= result.seconds < HANGS
    assert page.seen == [("/login", f"{ADDRESS}:{page.server_port}")]


def test_another_status_than_wanted_fails_with_what_the_page_says(page: Any) -> None:
    result = run("http", port=page.server_port, path="/status/503")
    assert (
        result.outcome is Outcome.FAILED
        and "answers 503, wanted 200: GLPI, connexion : é" in result.detail
    )
    assert "\x1b" not in result.detail


def test_a_status_other_than_200_can_be_what_is_wanted(page: Any) -> None:
    assert (
        run("http", port=page.server_port, path="/status/401", status=401).outcome is Outcome.PASSED
    )


def test_a_page_without_the_words_fails(page: Any) -> None:
    result = run("http", port=page.server_port, contains="Kanboard")
    assert result.outcome is Outcome.FAILED and "without the words 'Kanboard'" in result.detail


def test_only_the_first_mebibyte_of_a_page_is_read(page: Any) -> None:
    assert (
        run("http", port=page.server_port, path="/long", contains="GLPI").outcome is Outcome.FAILED
    )


def test_a_page_that_drips_is_given_up_at_the_deadline(page: Any) -> None:
    started = time.monotonic()
    result = run("http", timeout=1, port=page.server_port, path="/slow", contains="GLPI")
    assert result.outcome is Outcome.FAILED and "no answer within 1 s" in result.detail
    assert time.monotonic() - started < 100, "the page would drip for minutes"


def test_what_is_not_http_fails_as_that(page: Any) -> None:
    result = run("http", port=page.server_port, path="/broken")
    assert result.outcome is Outcome.FAILED and "does not answer in HTTP" in result.detail


def test_a_page_over_tls_is_read_whoever_signed_its_certificate(tmp_path: Path) -> None:
    with serving(
        make_certificate(tmp_path, names=("other.test",), address="192.0.2.1").chain
    ) as page:
        assert (
            run("http", port=page.server_port, tls=True, contains="GLPI").outcome is Outcome.PASSED
        )


def test_whose_certificate_a_page_showed_and_until_when_it_is_valid_is_told(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, names=("other.test",), address="192.0.2.1").chain
    with serving(certificate) as page:
        result = run("http", port=page.server_port, tls=True)
    until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert re.search(rf"\(certificate of CN=[^,]+, valid until {until:%Y-%m-%d}\)$", result.detail)


def test_a_page_is_asked_for_by_the_name_that_the_check_gives(tmp_path: Path) -> None:
    with serving(
        make_certificate(tmp_path, names=("other.test",), address="192.0.2.1").chain
    ) as page:
        asked: list[str | None] = []
        context: ssl.SSLContext = page.socket.context
        context.sni_callback = lambda sock, name, _: asked.append(name)
        assert (
            run("http", port=page.server_port, tls=True, host="glpi.example").outcome
            is Outcome.PASSED
        )
        assert page.seen == [("/", f"glpi.example:{page.server_port}")] and asked == [
            "glpi.example"
        ]


def test_a_page_that_drips_over_tls_is_given_up_at_the_deadline_too(tmp_path: Path) -> None:
    with serving(
        make_certificate(tmp_path, names=("other.test",), address="192.0.2.1").chain
    ) as page:
        started = time.monotonic()
        result = run("http", timeout=1, port=page.server_port, path="/slow", tls=True)
    assert result.outcome is Outcome.FAILED and "no answer within 1 s" in result.detail
    assert time.monotonic() - started < 100, "the page would drip for minutes"


def test_a_handshake_that_never_ends_is_given_up_at_the_deadline() -> None:
    def drip(peer: socket.socket) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + bytes(2000):  # a long TLS record, byte by byte
            peer.sendall(bytes([byte]))
            time.sleep(0.1)

    with talking(drip) as port:
        started = time.monotonic()
        result = run("http", timeout=1, port=port, tls=True)
    assert result.outcome is Outcome.FAILED and "no answer within 1 s" in result.detail
    assert time.monotonic() - started < 100, "the record would drip for minutes"


def test_a_page_without_tls_fails_where_tls_is_wanted(page: Any) -> None:
    result = run("http", port=page.server_port, tls=True)
    assert result.outcome is Outcome.FAILED and result.detail.startswith(
        f"https://{ADDRESS}:{page.server_port}/: "
    )


def test_a_server_that_closes_at_once_fails() -> None:
    with talking(lambda peer: None) as port:
        assert run("http", port=port).outcome is Outcome.FAILED


# --- tcp and ssh ----------------------------------------------------------------------------------


def test_an_open_port_passes_and_a_closed_one_fails(page: Any) -> None:
    assert run("tcp", port=page.server_port).outcome is Outcome.PASSED
    port = closed_port()
    result = run("tcp", port=port)
    assert (
        result.outcome is Outcome.FAILED
        and result.detail == f"{ADDRESS}:{port}: Connection refused"
    )


def test_a_port_that_never_answers_fails_as_silence() -> None:
    def silent(address: str, port: int, timeout: float) -> socket.socket:
        raise TimeoutError

    result = run("tcp", target=checks.Target(108, ADDRESS, silent), port=88)
    assert (result.outcome, result.detail) == (Outcome.FAILED, "127.0.0.1:88: no answer within 3 s")


def test_an_ssh_server_is_known_by_its_greeting() -> None:
    with talking(lambda peer: peer.sendall(b"welcome\r\nSSH-2.0-dropbear_2022.83\r\n")) as port:
        result = run("ssh", port=port)
    assert result.outcome is Outcome.PASSED and result.detail.endswith(
        "greets with SSH-2.0-dropbear_2022.83"
    )


def test_a_greeting_may_come_in_pieces() -> None:
    def say(peer: socket.socket) -> None:
        for piece in (b"SS", b"H-2.0-Open", b"SSH_9.2\r", b"\n"):
            peer.sendall(piece)
            time.sleep(0.05)

    with talking(say) as port:
        assert run("ssh", port=port).outcome is Outcome.PASSED


@pytest.mark.parametrize("said", [b"", b"220 mail ESMTP\r\n", b"SSH-1.5-old\r\n"])
def test_another_server_on_the_port_of_ssh_fails(said: bytes) -> None:
    with talking(lambda peer: peer.sendall(said)) as port:
        result = run("ssh", port=port)
    assert result.outcome is Outcome.FAILED and "does not greet as an SSH server" in result.detail


def test_a_server_that_accepts_and_says_nothing_fails_at_the_deadline() -> None:
    with talking(lambda peer: time.sleep(3)) as port:
        result = run("ssh", timeout=1, port=port)
    assert result.outcome is Outcome.FAILED and "no answer within 1 s" in result.detail


# --- agent ----------------------------------------------------------------------------------------


class Agent:
    """A guest's agent with the given answers; an exception is raised."""

    def __init__(self, ping: object = True, info: object = None) -> None:
        self._ping, self._info = (
            ping,
            info if info is not None else {"pretty-name": "Debian 12", "kernel-release": "6.1"},
        )

    def ping(self) -> bool:
        return bool(_given(self._ping))

    def osinfo(self) -> dict[str, Any]:
        return dict(_given(self._info))

    def exec(self, command: list[str], timeout: float) -> ExecResult:
        raise AssertionError("the agent check runs nothing in the guest")


def _given(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


def ask_agent(agent: Agent | None) -> CheckResult:
    return run("agent", target=checks.Target(108, None, None, agent))


def test_an_agent_that_answers_passes_and_tells_the_system() -> None:
    result = ask_agent(Agent())
    assert (result.outcome, result.detail) == (
        Outcome.PASSED,
        "the guest agent answers: Debian 12, kernel 6.1",
    )


def test_an_agent_that_answers_passes_even_if_it_cannot_tell_the_system() -> None:
    assert ask_agent(Agent(info=PveError("x", text="not supported"))).outcome is Outcome.PASSED
    assert ask_agent(Agent(info={})).detail == "the guest agent answers: unnamed system"


def test_a_silent_agent_fails() -> None:
    assert ask_agent(Agent(ping=False)).outcome is Outcome.FAILED


def test_a_guest_without_agent_cannot_be_asked() -> None:
    result = ask_agent(None)
    assert result.outcome is Outcome.INCONCLUSIVE and "qemu-guest-agent" in result.detail


def test_a_token_that_may_not_ask_the_agent_decides_nothing() -> None:
    result = ask_agent(Agent(ping=PvePermissionDenied("forbidden", "give VM.GuestAgent.Audit")))
    assert (result.outcome, result.detail) == (
        Outcome.INCONCLUSIVE,
        "forbidden: give VM.GuestAgent.Audit",
    )


# --- what cannot be asked -------------------------------------------------------------------------

NETWORK: list[tuple[str, dict[str, Any]]] = [
    ("tcp", {"port": 22}),
    ("http", {}),
    ("ssh", {}),
    ("ldap", {}),
]


@pytest.mark.parametrize(("kind", "options"), NETWORK)
def test_without_a_way_onto_the_isolated_bridge_nothing_is_decided(
    kind: str, options: dict[str, Any]
) -> None:
    result = run(kind, target=checks.Target(108, ADDRESS), **options)
    assert (
        result.outcome is Outcome.INCONCLUSIVE and "BACKUPSVC_PROBES__NODE__HOST" in result.detail
    )


@pytest.mark.parametrize(("kind", "options"), NETWORK)
def test_without_an_address_nothing_is_decided(kind: str, options: dict[str, Any]) -> None:
    result = run(kind, target=checks.Target(108, None, straight), **options)
    assert result.outcome is Outcome.INCONCLUSIVE and "address" in result.detail


@pytest.mark.parametrize(("kind", "options"), NETWORK)
def test_a_probe_that_does_not_answer_is_not_held_against_the_guest(
    kind: str, options: dict[str, Any]
) -> None:
    def broken(address: str, port: int, timeout: float) -> socket.socket:
        raise RemoteUnreachable("the probe is down", "start it")

    result = run(kind, target=checks.Target(108, ADDRESS, broken), **options)
    assert (result.outcome, result.detail) == (Outcome.INCONCLUSIVE, "the probe is down: start it")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("ping", {}, "no kind of check"),
        ("tcp", {}, "tcp needs port"),
        ("tcp", {"port": 0}, "a port from 1 to 65535"),
        ("tcp", {"port": True}, "a port from 1 to 65535"),
        ("tcp", {"port": "22"}, "a port from 1 to 65535"),
        ("ssh", {"user": "root"}, "no option 'user'"),
        ("agent", {"port": 1}, "it takes none"),
        ("http", {"path": "login"}, "begins with /"),
        ("http", {"path": "/a b"}, "begins with /"),
        ("http", {"path": "/é"}, "begins with /"),
        ("http", {"path": "/\r\nX: y"}, "begins with /"),
        ("http", {"status": 99}, "a status from 100"),
        ("http", {"tls": "yes"}, "true or false"),
        ("http", {"host": "a b"}, "a host's name"),
        ("ldap", {"tls": 1}, "true or false"),
        ("ldap", {"base": 1}, "a directory that it serves"),
    ],
)
def test_a_check_that_is_worded_wrongly_asks_nothing_and_says_what_is_allowed(
    kind: str, options: dict[str, object], said: str
) -> None:
    spec = CheckSpec(kind, "x", options)
    assert any(said in problem for problem in checks.problems(spec))
    result = checks.run(spec, TARGET)
    assert (
        result.outcome is Outcome.INCONCLUSIVE
        and said in result.detail
        and "correct the policy" in result.detail
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [*NETWORK, ("agent", {}), ("http", {"port": 8080, "path": "/x?y=1", "tls": True})],
)
def test_a_check_that_is_worded_well_has_no_problems(kind: str, options: dict[str, object]) -> None:
    assert checks.problems(CheckSpec(kind, "x", options)) == []


def test_the_kinds_that_need_the_network_are_those_of_which_the_policy_says_so() -> None:
    # what is asked above without a way onto the bridge
    assert {kind for kind, _ in NETWORK} == NETWORK_KINDS
    for kind in checks.KINDS.keys() - NETWORK_KINDS:
        assert (
            run(kind, target=checks.Target(108, agent=Agent(ping=True))).outcome is Outcome.PASSED
        )


def test_every_kind_that_the_policy_knows_can_be_asked_and_has_a_level() -> None:
    assert {name: kind.name for name, kind in checks.KINDS.items()} == {
        name: name for name in CHECK_KINDS
    }
    assert {name for name, kind in CHECK_KINDS.items() if kind.level is Level.LIFE} == {
        "agent",
        "tcp",
    }


def test_no_check_leaves_a_thread_behind(page: Any) -> None:
    before = threading.active_count()
    for _ in range(5):
        run("tcp", port=page.server_port)
    wait_until(lambda: threading.active_count() <= before, threading.enumerate)


@given(st.binary(max_size=400))
def test_whatever_a_guest_sends_is_safe_to_print(data: bytes) -> None:
    shown = printable(data)
    assert shown.isprintable() and len(shown) <= 120
