"""What is said about SSH settings before anybody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backupsvc.errors import RemoteUnreachable, UsageError
from backupsvc.remote.connections import NodeConnections
from backupsvc.remote.jump import Jump
from backupsvc.remote.nodes import open_archive
from backupsvc.remote.ssh import Peer, open_client
from backupsvc.settings import ProbeSettings, SshSettings

from .sshd import free_port, keygen, running_sshd


def peer(address: str = "127.0.0.1", **changes: Any) -> Peer:
    known: dict[str, Any] = {
        "what": "the probe",
        "user": "root",
        "key_file": None,
        "setting": "BACKUPSVC_PROBE__HOST",
    }
    return Peer(address=address, **(known | changes))


@pytest.mark.parametrize(
    ("address", "host", "port", "name"),
    [
        ("probe", "probe", 22, "probe"),
        ("probe:2222", "probe", 2222, "[probe]:2222"),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, "[2001:db8::1]:2222"),
        ("[2001:db8::1]", "2001:db8::1", 22, "2001:db8::1"),
    ],
)
def test_an_address_is_host_and_port(address: str, host: str, port: int, name: str) -> None:
    found = peer(address)
    assert (found.host, found.port, found.key_name) == (host, port, name)


@pytest.mark.parametrize("address", ["probe:ssh", ":22"])
def test_an_address_that_is_none_is_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError, match="is not host:port"):
        _ = peer(address).port


def test_a_node_without_ssh_is_wrong_usage_that_names_the_setting() -> None:
    with (
        pytest.raises(UsageError, match="no SSH is configured for node clovis") as caught,
        open_archive(NodeConnections(SshSettings()), "clovis", "/x"),
    ):
        pass
    assert "BACKUPSVC_SSH__NODES" in caught.value.hint


def test_a_missing_key_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no SSH key is configured for the probe"):
        open_client(peer(f"127.0.0.1:{free_port()}"))
    with pytest.raises(UsageError, match="is not a file"):
        open_client(peer(f"127.0.0.1:{free_port()}", key_file=tmp_path / "none"))


@pytest.mark.parametrize("pinned", ["ssh-ed25519", "nonsense AAAA", "ssh-ed25519 not-base64!"])
def test_a_pinned_host_key_that_is_none_is_wrong_usage(tmp_path: Path, pinned: str) -> None:
    keygen(tmp_path / "user")
    with pytest.raises(UsageError, match="host key"):
        open_client(peer(f"127.0.0.1:{free_port()}", key_file=tmp_path / "user", pinned=pinned))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ],
)
def test_a_key_file_that_holds_no_key_is_wrong_usage_and_no_outage_that_one_waits_for(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "key").write_text(text)
    with running_sshd(tmp_path / "sshd") as server:
        asked = peer(
            server.address, user=server.user, key_file=tmp_path / "key", pinned=server.host_key
        )
        with pytest.raises(
            UsageError, match=r"the SSH key .* for the probe cannot be used"
        ) as caught:
            open_client(asked)
    assert "ssh-keygen" in caught.value.hint


def test_a_known_hosts_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known_hosts"):
        open_client(peer(f"127.0.0.1:{free_port()}", known_hosts=tmp_path / "none"))


def test_a_probe_that_is_off_is_named_and_found_out_only_when_it_is_needed(tmp_path: Path) -> None:
    keygen(tmp_path / "user")
    port = free_port()
    with Jump(ProbeSettings(host=f"127.0.0.1:{port}", key_file=tmp_path / "user")) as jump:
        with pytest.raises(
            RemoteUnreachable,
            match=rf"the probe \(root@127\.0\.0\.1:{port}\) cannot be reached by SSH",
        ) as caught:
            jump.connect("192.168.10.8", 80, 1)
        assert caught.value.exit_code == 3 and caught.value.hint
