"""The jump through a real OpenSSH server: sockets that behave as if they led straight there."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupsvc import checks
from backupsvc.clock import SystemClock, polls
from backupsvc.errors import RemoteUnreachable, SshRefused
from backupsvc.remote.jump import Jump
from backupsvc.settings import ProbeSettings
from policies import silence
from policies.model import CheckSpec, Outcome
from tests.unit.checks.test_checks import closed_port, serving, talking
from tests.unit.remote.sshd import Sshd, keygen, running_sshd
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def settings(sshd: Sshd, **changes: Any) -> ProbeSettings:
    known: dict[str, Any] = {
        "host": sshd.address,
        "user": sshd.user,
        "key_file": sshd.key_file,
        "host_key": sshd.host_key,
    }
    return ProbeSettings(**(known | changes))


@pytest.fixture
def jump(sshd: Sshd) -> Iterator[Jump]:
    with Jump(settings(sshd)) as opened:
        yield opened


def jumps() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("jump ")]


def gone() -> bool:
    """Wait until every pump has ended."""
    return bool(wait_until(lambda: not jumps(), jumps))


def echo(peer: socket.socket) -> None:
    while data := peer.recv(65536):
        peer.sendall(data)


def test_bytes_travel_both_ways(jump: Jump) -> None:
    with talking(echo) as port, jump.connect("127.0.0.1", port, 5) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
    assert gone()


def test_megabytes_arrive_whole_and_in_order(jump: Jump) -> None:
    data = os.urandom(3 * 1024 * 1024)
    with talking(echo) as port, jump.connect("127.0.0.1", port, 20) as sock:

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = b"".join(iter(lambda: sock.recv(65536), b""))
        sender.join()
    assert received == data
    assert gone()


def test_our_end_of_sending_is_passed_on_while_we_still_receive(jump: Jump) -> None:
    def reverse(peer: socket.socket) -> None:
        said = b"".join(iter(lambda: peer.recv(1024), b""))  # until the other side has ended
        peer.sendall(said[::-1])

    with talking(reverse) as port, jump.connect("127.0.0.1", port, 5) as sock:
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: sock.recv(100), b"")) == b"cba"
    assert gone()


def test_their_end_of_sending_is_passed_on(jump: Jump) -> None:
    with (
        talking(lambda peer: peer.sendall(b"bye")) as port,
        jump.connect("127.0.0.1", port, 5) as sock,
    ):
        assert b"".join(iter(lambda: sock.recv(100), b"")) == b"bye"
    assert gone()


def test_a_connection_that_we_close_leaves_no_thread_even_if_the_other_side_stays(
    jump: Jump,
) -> None:
    release = threading.Event()
    with talking(lambda peer: release.wait(20)) as port:
        for _ in range(10):
            jump.connect("127.0.0.1", port, 5).close()
        assert gone()
        release.set()


def test_closing_the_jump_ends_every_connection(sshd: Sshd) -> None:
    with talking(echo) as port:
        jump = Jump(settings(sshd))
        socks = [jump.connect("127.0.0.1", port, 5) for _ in range(3)]
        jump.close()
        assert gone()
        for sock in socks:
            assert sock.recv(10) == b""
            sock.close()


def test_a_port_that_refuses_is_a_refused_connection(jump: Jump) -> None:
    with pytest.raises(
        ConnectionRefusedError, match=r"the probe has no connection to 127\.0\.0\.1"
    ):
        jump.connect("127.0.0.1", closed_port(), 5)


def test_the_socket_has_the_timeout_that_was_asked_for(jump: Jump) -> None:
    with (
        talking(lambda peer: time.sleep(2)) as port,
        jump.connect("127.0.0.1", port, 0.3) as sock,
        pytest.raises(TimeoutError),
    ):
        sock.recv(1)


def test_one_ssh_connection_serves_all_and_is_opened_anew_when_it_died(
    sshd: Sshd, tmp_path: Path
) -> None:
    with running_sshd(tmp_path / "own") as own, talking(echo) as port, Jump(settings(own)) as jump:
        first, second = jump.connect("127.0.0.1", port, 5), jump.connect("127.0.0.1", port, 5)
        assert len(own.sessions()) == 1
        own.signal_sessions(9)
        assert first.recv(1) == b"" and second.recv(1) == b""
        with jump.connect("127.0.0.1", port, 5) as third:
            third.sendall(b"again")
            assert third.recv(10) == b"again"
        first.close()
        second.close()


def test_a_wrong_host_key_is_refused_with_both_fingerprints(sshd: Sshd, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")
    with Jump(settings(sshd, host_key=other)) as jump, pytest.raises(SshRefused) as caught:
        jump.connect("127.0.0.1", 80, 5)
    for public in (sshd.directory / "host.pub", tmp_path / "other.pub"):
        assert fingerprint(public) in caught.value.message
    assert "nothing was sent" in caught.value.message and caught.value.exit_code == 4
    assert sshd.address in caught.value.message
    assert caught.value.hint.endswith(
        "only if they agree, write the key to BACKUPSVC_PROBE__HOST_KEY"
    )
    assert jump.refused is caught.value


@pytest.mark.slow
def test_a_host_key_of_another_type_than_the_pinned_one_is_refused(
    sshd: Sshd, tmp_path: Path
) -> None:
    other = keygen(tmp_path / "other", "rsa")
    with Jump(settings(sshd, host_key=other)) as jump, pytest.raises(SshRefused) as caught:
        jump.connect("127.0.0.1", 80, 5)
    assert fingerprint(sshd.directory / "host.pub") in caught.value.message
    assert fingerprint(tmp_path / "other.pub") in caught.value.message


def test_a_host_key_that_nobody_pinned_is_refused(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        Jump(settings(sshd, host_key=None)) as jump,
        pytest.raises(SshRefused, match="known is none") as caught,
    ):
        jump.connect("127.0.0.1", 80, 5)
    assert "~/.ssh/known_hosts, or BACKUPSVC_PROBE__HOST_KEY" in caught.value.hint


def fingerprint(public: Path) -> str:
    return subprocess.run(
        ["ssh-keygen", "-lf", public], check=True, capture_output=True, text=True
    ).stdout.split()[1]


def test_a_key_that_is_not_accepted_is_told(sshd: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with (
        Jump(settings(sshd, key_file=tmp_path / "stranger")) as jump,
        pytest.raises(SshRefused) as caught,
    ):
        jump.connect("127.0.0.1", 80, 5)
    assert caught.value.exit_code == 4
    assert (
        "does not accept the key" in caught.value.message and "authorized_keys" in caught.value.hint
    )


def test_a_key_with_a_passphrase_is_told(sshd: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "locked", passphrase="secret-phrase")
    with (
        Jump(settings(sshd, key_file=tmp_path / "locked")) as jump,
        pytest.raises(SshRefused, match="passphrase"),
    ):
        jump.connect("127.0.0.1", 80, 5)


def test_a_probe_that_forbids_forwarding_is_told_how_to_allow_it(tmp_path: Path) -> None:
    with (
        running_sshd(tmp_path / "strict", extra="AllowTcpForwarding no") as server,
        Jump(settings(server)) as jump,
        pytest.raises(RemoteUnreachable, match="forbids forwarding") as caught,
    ):
        jump.connect("127.0.0.1", 80, 5)
    assert "AllowTcpForwarding yes" in caught.value.hint


def test_a_refused_connection_prints_nothing_on_the_terminal(
    sshd: Sshd, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("paramiko").setLevel(logging.DEBUG)
    with Jump(settings(sshd, key_file=sshd.directory / "host")) as jump, pytest.raises(SshRefused):
        jump.connect("127.0.0.1", 80, 5)
    logging.getLogger("paramiko").setLevel(logging.NOTSET)
    assert capfd.readouterr().err == ""


def test_a_probe_whose_host_key_changes_while_it_is_used_is_refused_and_remembered_as_such(
    tmp_path: Path,
) -> None:
    with running_sshd(tmp_path / "own") as own, Jump(settings(own)) as jump, talking(echo) as port:
        jump.connect("127.0.0.1", port, 5).close()
        assert jump.refused is None
        own.stop()
        own.replace_host_key()
        with pytest.raises(SshRefused, match="another machine may answer"):
            jump.connect("127.0.0.1", port, 5)
        assert jump.refused is not None
        result = checks.run(
            CheckSpec("tcp", "port", {"port": port}), checks.Target(104, "127.0.0.1", jump.connect)
        )
        assert result.outcome is Outcome.INCONCLUSIVE and "host key" in result.detail


def test_a_login_of_another_user_is_refused_at_once(sshd: Sshd) -> None:
    with (
        Jump(settings(sshd, user="nobody-of-that-name")) as jump,
        pytest.raises(SshRefused) as caught,
    ):
        jump.ask("true")
    assert "for the user nobody-of-that-name" in caught.value.message


def test_a_server_that_goes_away_in_mid_login_has_refused_nothing(sshd: Sshd) -> None:
    with talking(lambda peer: peer.sendall(b"SSH-2.0-gone\r\n")) as port:
        there = settings(sshd, host=f"127.0.0.1:{port}")
        with Jump(there) as jump, pytest.raises(RemoteUnreachable):
            jump.ask("true")
        assert jump.refused is None


def test_checks_work_through_the_probe(jump: Jump, sshd: Sshd) -> None:
    with serving() as page:
        target = checks.Target(104, "127.0.0.1", jump.connect)
        http = checks.run(
            CheckSpec("http", "page", {"port": page.server_port, "contains": "GLPI"}), target
        )
        tcp = checks.run(CheckSpec("tcp", "port", {"port": page.server_port}), target)
        ssh = checks.run(CheckSpec("ssh", "ssh", {"port": sshd.port}), target)
        closed = checks.run(CheckSpec("tcp", "closed", {"port": closed_port()}), target)
    assert [result.outcome for result in (http, tcp, ssh)] == [Outcome.PASSED] * 3, (http, tcp, ssh)
    assert closed.outcome is Outcome.FAILED and "the probe has no connection" in closed.detail
    assert gone()


def test_a_command_runs_in_the_same_connection(jump: Jump, sshd: Sshd) -> None:
    said = jump.ask(silence.question("192.0.2.7"))
    assert said is not None
    assert silence.read(said, "192.0.2.7") is not None
    assert jump.ask("exec sh -c 'echo one; echo two >&2'") == "one\n"
    assert len(sshd.sessions()) == 1


@pytest.mark.parametrize(
    "extra", ["ForceCommand /bin/false", "ForceCommand echo no shell for you", "MaxSessions 0"]
)
def test_a_login_that_may_only_forward_tells_nothing_and_is_no_outage(
    tmp_path: Path, extra: str
) -> None:
    with (
        running_sshd(tmp_path / "forwarding", extra=extra) as server,
        Jump(settings(server)) as jump,
        talking(echo) as port,
    ):
        assert silence.read(jump.ask(silence.question("192.0.2.7")) or "", "192.0.2.7") is None
        jump.connect("127.0.0.1", port, 5).close()


def test_the_machine_itself_is_its_own_neighbour(jump: Jump) -> None:
    found = silence.read(jump.ask(silence.question("127.0.0.1")) or "", "127.0.0.1")
    assert found is not None
    assert found.way is silence.Way.OWN


@pytest.mark.slow
def test_a_knock_hears_who_accepts_and_who_refuses(jump: Jump) -> None:
    closed = closed_port()
    with talking(echo) as port:
        knock = jump.knock("127.0.0.1", [port, closed])
        for _ in polls(SystemClock(), 10, first=0.05):
            if silence.Heard.NOTHING not in knock.heard().values():
                break
    assert knock.heard() == {port: silence.Heard.OPEN, closed: silence.Heard.REFUSED}
