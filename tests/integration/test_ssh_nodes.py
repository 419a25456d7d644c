"""Archives read from a real OpenSSH server by SFTP."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from backupsvc.errors import ArchiveError, RemoteUnreachable, SshRefused
from backupsvc.remote import ahead, kernel
from backupsvc.remote.connections import NodeConnections, peer_of
from backupsvc.remote.nodes import open_archive as open_on
from backupsvc.remote.ssh import open_client
from backupsvc.settings import SshSettings
from tests.unit.remote.sshd import Sshd, free_port, keygen, running_sshd
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def settings(sshd: Sshd) -> SshSettings:
    return SshSettings(
        nodes={"clovis": sshd.address},
        user=sshd.user,
        key_file=sshd.key_file,
        known_hosts=sshd.known_hosts,
    )


@contextmanager
def open_archive(ssh: SshSettings, node: str, path: str) -> Iterator[BinaryIO]:
    with closing(NodeConnections(ssh)) as nodes, open_on(nodes, node, path) as stream:
        yield stream


def write(path: Path, size: int) -> str:
    """Given a size, write that much noise; return its SHA-256."""
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_a_question_goes_out_at_once_and_waits_for_no_acknowledgement(sshd: Sshd) -> None:
    client = open_client(peer_of(settings(sshd), "clovis"))
    try:
        transport = client.get_transport()
        assert transport is not None and isinstance(transport.sock, socket.socket)
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        client.close()


@pytest.mark.parametrize("size", [0, 1, 32768, 3 * 1024 * 1024 + 17])
@pytest.mark.parametrize("chunk", [7001, 256 * 1024, -1])
def test_an_archive_arrives_whole(sshd: Sshd, tmp_path: Path, size: int, chunk: int) -> None:
    digest, seen = write(tmp_path / "a", size), hashlib.sha256()
    with open_archive(settings(sshd), "clovis", str(tmp_path / "a")) as stream:
        while data := stream.read(chunk):
            seen.update(data)
        assert stream.read(10) == b""
    assert seen.hexdigest() == digest


def test_an_archive_larger_than_what_is_under_way_arrives_whole(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "UNDER_WAY", 3)
    digest, seen = write(tmp_path / "a", 5 * 1024 * 1024 + 3), hashlib.sha256()
    with open_archive(settings(sshd), "clovis", str(tmp_path / "a")) as stream:
        for data in iter(lambda: stream.read(300_000), b""):
            seen.update(data)
    assert seen.hexdigest() == digest


def test_a_stream_fills_a_buffer(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with open_archive(settings(sshd), "clovis", str(tmp_path / "a")) as stream:
        buffer = bytearray(4)
        assert stream.readable()
        assert stream.readinto(memoryview(buffer)) == 4 and bytes(buffer) == b"0123"  # type: ignore[attr-defined]


def test_a_large_archive_needs_little_memory(sshd: Sshd, tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(40 * 1024**3)  # sparse: only its size counts here
    with open_archive(settings(sshd), "clovis", str(tmp_path / "a")) as stream:
        tracemalloc.start()
        for _ in range(64):
            assert len(stream.read(256 * 1024)) == 256 * 1024
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 * 1024 * 1024


def test_an_archive_that_is_not_there_is_named(sshd: Sshd, tmp_path: Path) -> None:
    with (
        pytest.raises(ArchiveError, match=r"none\.vma\.zst is not on node clovis"),
        open_archive(settings(sshd), "clovis", str(tmp_path / "none.vma.zst")),
    ):
        pass


def test_a_node_that_breaks_off_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a", 16 * 1024 * 1024)
    with (
        running_sshd(tmp_path / "own") as server,
        pytest.raises(RemoteUnreachable, match=r"node clovis .* broke off"),
        open_archive(settings(server), "clovis", str(tmp_path / "a")) as stream,
    ):
        stream.read(1024)
        server.signal_sessions(9)
        while stream.read(256 * 1024):
            pass


def test_a_node_with_another_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "other") as other:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{other.port} {sshd.host_key}\n")
        wrong = settings(sshd).model_copy(
            update={"nodes": {"clovis": other.address}, "known_hosts": known_hosts}
        )
        with (
            pytest.raises(SshRefused, match="nothing was sent") as caught,
            open_archive(wrong, "clovis", "/x"),
        ):
            pass
    told = caught.value
    assert other.address in told.message and told.exit_code == 4
    for public in (other.directory / "host.pub", sshd.directory / "host.pub"):
        assert printed(public) in told.message
    assert f"{known_hosts} (BACKUPSVC_SSH__KNOWN_HOSTS)" in told.hint


def printed(public: Path) -> str:
    return subprocess.run(
        ["ssh-keygen", "-lf", public], check=True, capture_output=True, text=True
    ).stdout.split()[1]


def test_a_node_that_nobody_has_met_is_refused_and_the_file_named_that_lacks_it(
    sshd: Sshd, tmp_path: Path
) -> None:
    (tmp_path / "known_hosts").touch()
    wrong = settings(sshd).model_copy(update={"known_hosts": tmp_path / "known_hosts"})
    with (
        pytest.raises(SshRefused, match="known is none") as caught,
        open_archive(wrong, "clovis", "/x"),
    ):
        pass
    assert (
        "ssh_host_ed25519_key.pub" in caught.value.hint
        and str(tmp_path / "known_hosts") in caught.value.hint
    )


def test_law_2_a_kernel_is_not_believed_nor_passed_over_when_another_machine_may_answer(
    sshd: Sshd, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(
        f"{sshd.known_hosts.read_text().split()[0]} {keygen(tmp_path / 'other')}\n"
    )
    with pytest.raises(SshRefused):
        kernel.ports(
            NodeConnections(settings(sshd).model_copy(update={"known_hosts": known_hosts})),
            "clovis",
            "vmbr9",
        )
    silent = NodeConnections(
        settings(sshd).model_copy(update={"nodes": {"clovis": f"127.0.0.1:{free_port()}"}})
    )
    found = kernel.ports(silent, "clovis", "vmbr9")
    assert found is not None and found.ports is None and "could not be asked" in found.said


@pytest.mark.parametrize("setting", ["key_file", "user"])
def test_a_login_that_a_node_does_not_accept_is_refused_at_once(
    sshd: Sshd, tmp_path: Path, setting: str
) -> None:
    keygen(tmp_path / "stranger")
    wrong = {"key_file": tmp_path / "stranger", "user": "nobody-of-that-name"}
    refused = settings(sshd).model_copy(update={setting: wrong[setting]})
    with (
        pytest.raises(SshRefused, match="does not accept the key") as caught,
        open_archive(refused, "clovis", "/x"),
    ):
        pass
    assert "authorized_keys" in caught.value.hint and "BACKUPSVC_SSH__NODES" in caught.value.hint


def test_a_server_without_sftp_is_told(tmp_path: Path) -> None:
    with (
        running_sshd(tmp_path / "bare", sftp=False) as server,
        pytest.raises(RemoteUnreachable, match="offers no SFTP") as caught,
        open_archive(settings(server), "clovis", "/x"),
    ):
        pass
    assert "sshd_config" in caught.value.hint


def test_reading_leaves_no_thread_behind(sshd: Sshd, tmp_path: Path) -> None:
    write(tmp_path / "a", 1024 * 1024)
    before = threading.active_count()
    with open_archive(settings(sshd), "clovis", str(tmp_path / "a")) as stream:
        stream.read(10)
    wait_until(lambda: threading.active_count() <= before, threading.enumerate)


# --- one connection a node ------------------------------------------------------------------------


def test_questions_and_archives_share_one_login(tmp_path: Path) -> None:
    digest = write(tmp_path / "a", 300_000)
    with (
        running_sshd(tmp_path / "own") as server,
        closing(NodeConnections(settings(server))) as nodes,
    ):
        kernel.ports(nodes, "clovis", "vmbr9")
        logins = server.sessions()
        for _ in range(3):
            with open_on(nodes, "clovis", str(tmp_path / "a")) as stream:
                assert hashlib.sha256(stream.read()).hexdigest() == digest
            kernel.ports(nodes, "clovis", "vmbr9")
        assert server.sessions() == logins != []


def test_a_login_that_died_unnoticed_is_made_anew(tmp_path: Path) -> None:
    digest = write(tmp_path / "a", 300_000)
    with (
        running_sshd(tmp_path / "own") as server,
        closing(NodeConnections(settings(server))) as nodes,
    ):
        kernel.ports(nodes, "clovis", "vmbr9")
        server.signal_sessions(9)
        with open_on(nodes, "clovis", str(tmp_path / "a")) as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == digest


def test_an_archive_given_up_in_the_middle_leaves_the_login_usable(tmp_path: Path) -> None:
    digest = write(tmp_path / "a", 16 * 1024 * 1024)
    with (
        running_sshd(tmp_path / "own") as server,
        closing(NodeConnections(settings(server))) as nodes,
    ):
        with open_on(nodes, "clovis", str(tmp_path / "a")) as stream:
            stream.read(1024)
        logins = server.sessions()
        with open_on(nodes, "clovis", str(tmp_path / "a")) as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == digest
        assert server.sessions() == logins


def test_a_node_that_says_nothing_lets_no_other_node_wait(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        addresses = {"clovis": f"127.0.0.1:{mute.getsockname()[1]}", "clotilde": sshd.address}
        with closing(
            NodeConnections(settings(sshd).model_copy(update={"nodes": addresses}))
        ) as nodes:
            waiting = threading.Thread(target=kernel.ports, args=(nodes, "clovis", "vmbr9"))
            waiting.start()
            called, _ = mute.accept()
            with called:
                assert kernel.ports(nodes, "clotilde", "vmbr9") is not None
                assert waiting.is_alive()
            waiting.join()


def test_a_login_that_was_made_ahead_serves_whoever_needs_it(tmp_path: Path) -> None:
    with (
        running_sshd(tmp_path / "own") as server,
        closing(NodeConnections(settings(server))) as nodes,
    ):
        nodes.prepare("clovis")
        wait_until(server.sessions, threading.enumerate)
        kernel.ports(nodes, "clovis", "vmbr9")
        assert len(server.sessions()) == 1


def test_a_login_that_could_not_be_made_ahead_is_told_to_whoever_needs_it(
    sshd: Sshd, tmp_path: Path
) -> None:
    keygen(tmp_path / "stranger")
    with closing(
        NodeConnections(settings(sshd).model_copy(update={"key_file": tmp_path / "stranger"}))
    ) as nodes:
        nodes.prepare("clovis")
        nodes.prepare("a node without SSH")
        with (
            pytest.raises(SshRefused, match="does not accept the key"),
            open_on(nodes, "clovis", "/x"),
        ):
            pass


@pytest.mark.slow
def test_a_login_that_comes_after_the_end_is_closed(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "own") as server:
        nodes = NodeConnections(settings(server))
        nodes.close()
        nodes.prepare("clovis")
        wait_until(
            lambda: not [one for one in threading.enumerate() if one.name == "login clovis"],
            threading.enumerate,
        )
        wait_until(lambda: not server.sessions(), server.sessions)
