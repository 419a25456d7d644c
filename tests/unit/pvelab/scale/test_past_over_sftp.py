"""A node's SFTP shows the archives that are only computed, and writes one when it is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from pvelab.hypervisors import SimulatedPlatform
from pvelab.kernel import Lab
from pvelab.vmm.nodes import SSHD
from tests.unit.pvelab.guests.conftest import Api

pytestmark = pytest.mark.skipif(
    not Path(SSHD).is_file(), reason="OpenSSH's server is not installed"
)
NODE = "pve02"


@pytest.fixture
def sftp(lab: Lab) -> Iterator[paramiko.SFTPClient]:
    platform = SimulatedPlatform(lab.run_dir)
    ssh = platform.start_appliances(lab)["ssh"]
    host, _, port = ssh["nodes"][NODE].partition(":")
    with paramiko.SSHClient() as client:
        client.load_host_keys(ssh["known_hosts"])
        client.connect(
            host,
            int(port),
            ssh["user"],
            key_filename=ssh["key_file"],
            allow_agent=False,
            look_for_keys=False,
        )
        with client.open_sftp() as files:
            yield files
    platform.close()
    assert not (lab.run_dir / "past").exists()


def dump(lab: Lab) -> Path:
    return lab.nodes[NODE].dir / "var" / "lib" / "vz" / "dump"


def told(lab: Lab) -> dict[str, tuple[int, int]]:
    rows = Api(lab)("GET", f"/nodes/{NODE}/storage/local/content", content="backup")
    return {row["volid"].partition("/")[2]: (row["size"], row["ctime"]) for row in rows}


def seen(sftp: paramiko.SFTPClient, lab: Lab) -> dict[str, tuple[int, int]]:
    rows = sftp.listdir_attr(str(dump(lab)))
    return {
        row.filename: (row.st_size or 0, int(row.st_mtime or 0))
        for row in rows
        if row.filename.endswith(".zst")
    }


def test_a_listing_holds_what_the_api_lists_and_makes_no_file(
    lab: Lab, sftp: paramiko.SFTPClient
) -> None:
    assert len(told(lab)) > 1000
    assert seen(sftp, lab) == told(lab)
    assert (
        len(sftp.listdir(str(dump(lab))))
        == len(set(sftp.listdir(str(dump(lab)))))
        == len(told(lab))
    )
    assert list(dump(lab).iterdir()) == []


def test_an_archive_is_written_when_it_is_opened_and_listed_once_then(
    lab: Lab, sftp: paramiko.SFTPClient
) -> None:
    name, (size, _) = sorted(told(lab).items())[5]
    with sftp.open(f"{dump(lab)}/{name}") as file:
        content = file.read()
    assert len(content) == size
    assert (
        hashlib.sha256((dump(lab) / name).read_bytes()).digest() == hashlib.sha256(content).digest()
    )
    names = sftp.listdir(str(dump(lab)))
    assert names.count(name) == 1
    assert len([each for each in names if each.endswith(".zst")]) == len(told(lab))


def test_a_computed_archive_is_looked_at_and_one_that_never_was_is_not_there(
    lab: Lab, sftp: paramiko.SFTPClient
) -> None:
    name, (size, _) = sorted(told(lab).items())[7]
    assert sftp.stat(f"{dump(lab)}/{name}").st_size == size
    with pytest.raises(FileNotFoundError):
        sftp.stat(f"{dump(lab)}/vzdump-qemu-10001-1999_01_01-21_00_00.vma.zst")


def test_other_directories_are_listed_as_they_are(lab: Lab, sftp: paramiko.SFTPClient) -> None:
    assert sorted(sftp.listdir(str(lab.nodes[NODE].dir / "var" / "lib" / "vz"))) == ["dump"]
