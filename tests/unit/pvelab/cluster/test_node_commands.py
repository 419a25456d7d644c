"""The commands that a node's SSH endpoint carries out: those that read archives, on archives, and
no others.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.remote.summing import summed_there
from pvelab.vmm.node_commands import DUMP, Refused, translate
from pvelab.vmm.nodes import NodeAccess, NodeSsh
from pvelab.vmm.probe import answers_ssh
from tests.unit.pvelab.vmm.test_node_ssh import connect


@pytest.fixture
def root(tmp_path: Path) -> Path:
    dump = tmp_path / "node" / "var" / "lib" / "vz" / "dump"
    dump.mkdir(parents=True)
    (dump / "archive.zst").write_bytes(
        subprocess.run(["zstd", "-c"], input=b"good", capture_output=True, check=True).stdout
    )
    (dump / "bad.zst").write_bytes(b"no zstd at all")
    (tmp_path / "node" / "secret").write_text("secret")
    (dump / "way-out").symlink_to(tmp_path / "node" / "secret")
    return tmp_path / "node"


@pytest.fixture
def access(root: Path, tmp_path: Path) -> Iterator[NodeAccess]:
    endpoint = NodeSsh("clovis", tmp_path / "ssh", root)
    yield endpoint.start()
    endpoint.stop()


def run(access: NodeAccess, command: str) -> tuple[int, str]:
    """Exit code and everything that was said."""
    with connect(access) as client:
        _, out, err = client.exec_command(command)
        text = out.read() + err.read()
        return out.channel.recv_exit_status(), text.decode()


def summing(path: str) -> str:
    """The line that the service sends to have a file summed where it lies."""
    sent: list[str] = []

    def begin(use: Any) -> Any:
        return use(SimpleNamespace(exec_command=lambda command, timeout: sent.append(command)))

    with suppress(TypeError):  # nothing answers here
        summed_there(begin, path, 0, lambda: None)
    return sent[0]


def test_archives_are_looked_at_under_the_path_that_a_node_gives_them(
    access: NodeAccess, root: Path
) -> None:
    archive = root / DUMP[1:] / "archive.zst"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert run(access, f"sha256sum {DUMP}/archive.zst") == (0, f"{digest}  {DUMP}/archive.zst\n")
    assert run(access, f"sha256sum {archive}") == (0, f"{digest}  {DUMP}/archive.zst\n")
    assert run(access, f"stat -c '%s %n' {DUMP}/archive.zst") == (
        0,
        f"{archive.stat().st_size} {DUMP}/archive.zst\n",
    )
    assert run(access, summing(f"{DUMP}/archive.zst")) == (
        0,
        f"{digest}  -\n{archive.stat().st_size}\n",
    )
    assert run(access, f"ls -1 {DUMP}") == (0, "archive.zst\nbad.zst\nway-out\n")
    assert run(access, f"zstd -tq {DUMP}/archive.zst") == (0, "")
    code, said = run(access, f"zstd -t {DUMP}/bad.zst")
    assert code != 0
    assert f"{DUMP}/bad.zst" in said


def test_sftp_goes_on_as_before(access: NodeAccess, root: Path) -> None:
    with (
        connect(access) as client,
        client.open_sftp() as sftp,
        sftp.open(str(root / DUMP[1:] / "bad.zst")) as file,
    ):
        assert file.read() == b"no zstd at all"


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "cat /var/lib/vz/dump/archive.zst",
        "sh -c 'ls /var/lib/vz/dump'",
        "sha256sum /etc/passwd",
        summing("/etc/passwd"),
        summing(f"{DUMP}/way-out"),
        summing(f"{DUMP}/$(touch owned)/../../secret"),
        summing(f"{DUMP}/a; cat /etc/passwd"),
        summing("x") + "; cat /etc/passwd",
        "f=/etc/passwd;" + summing(f"{DUMP}/archive.zst"),
        "sha256sum /var/lib/vz/dump/../../../../secret",
        "sha256sum /var/lib/vz/dump/way-out",
        "sha256sum /var/lib/vz/dumpster",
        "sha256sum",
        "zstd -d /var/lib/vz/dump/archive.zst",
        "zstd /var/lib/vz/dump/archive.zst",
        "zstd -t --rm /var/lib/vz/dump/archive.zst",
        "ls --hyperlink /var/lib/vz/dump",
        "stat -f /var/lib/vz/dump",
        "ls '/var/lib/vz/dump",
    ],
)
def test_anything_else_is_refused(root: Path, asked: str) -> None:
    with pytest.raises(Refused):
        translate(asked, root)


def test_no_shell_sees_what_the_client_sends(access: NodeAccess, root: Path) -> None:
    code, said = run(access, f"ls {DUMP}; touch {root}/made")
    assert code != 0
    assert not (root / "made").exists()
    assert "only files below" in said


def test_an_endpoint_returns_on_its_port_with_its_host_key(root: Path, tmp_path: Path) -> None:
    endpoint = NodeSsh("clovis", tmp_path / "again", root)
    try:
        first = endpoint.start()
        endpoint.stop()
        assert not answers_ssh(first.host, first.port)
        assert endpoint.start() == first
    finally:
        endpoint.stop()
