"""A node's SSH endpoint, with a real sshd and a real client."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from pvelab.vmm.nodes import NodeAccess, NodeSsh
from pvelab.vmm.probe import answers_ssh


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeSsh]:
    endpoint = NodeSsh("clovis", tmp_path / "clovis")
    yield endpoint
    endpoint.stop()


def connect(access: NodeAccess, key: paramiko.PKey | None = None) -> paramiko.SSHClient:
    """Log in, accepting the host key of ``known_hosts_line`` only."""
    client = paramiko.SSHClient()
    name, kind, blob = access.known_hosts_line.split()
    client.get_host_keys().add(name, kind, paramiko.Ed25519Key(data=base64.b64decode(blob)))
    key = key or paramiko.Ed25519Key.from_private_key_file(str(access.key_file))
    client.connect(
        access.host,
        access.port,
        access.user,
        pkey=key,
        look_for_keys=False,
        allow_agent=False,
        timeout=10,
    )
    return client


def test_a_file_is_read_over_sftp_with_the_nodes_key_and_host_key(
    node: NodeSsh, tmp_path: Path
) -> None:
    content = os.urandom(300_000)
    (tmp_path / "archive").write_bytes(content)
    with (
        connect(node.start()) as client,
        client.open_sftp() as sftp,
        sftp.open(str(tmp_path / "archive")) as file,
    ):
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest()


def test_keys_stay_the_same_over_restarts_and_are_not_shared_between_nodes(
    node: NodeSsh, tmp_path: Path
) -> None:
    first = node.start().known_hosts_line.split()[1:]
    node.stop()
    assert node.start().known_hosts_line.split()[1:] == first
    other = NodeSsh("lge-pve02", tmp_path / "lge-pve02")
    try:
        assert other.start().known_hosts_line.split()[1:] != first
    finally:
        other.stop()


def test_another_key_is_refused(node: NodeSsh, tmp_path: Path) -> None:
    other = NodeSsh("lge-pve02", tmp_path / "lge-pve02")
    try:
        stranger = paramiko.Ed25519Key.from_private_key_file(str(other.start().key_file))
    finally:
        other.stop()
    with pytest.raises(paramiko.AuthenticationException):
        connect(node.start(), stranger)


def test_there_is_no_shell_behind_it(node: NodeSsh) -> None:
    with connect(node.start()) as client:
        _, out, _ = client.exec_command("echo shell")
        assert b"shell" not in out.read()


def test_private_keys_are_readable_by_their_owner_only(node: NodeSsh, tmp_path: Path) -> None:
    node.start()
    for name in ("host_key", "login_key"):
        assert stat.S_IMODE((tmp_path / "clovis" / name).stat().st_mode) == 0o600


def test_stopping_ends_the_server_and_its_open_connections(node: NodeSsh) -> None:
    access = node.start()
    with connect(access) as client:
        sftp = client.open_sftp()
        node.stop()
        assert not answers_ssh(access.host, access.port, timeout=0.5)
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            sftp.listdir("/")
