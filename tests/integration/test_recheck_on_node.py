"""Archives read anew on a node behind a real OpenSSH server: what was good once is summed there,
and what the node says of other bytes proves nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from backupsvc.inventory.archive_bytes import unchanged_on_node
from backupsvc.operations import build_engine
from backupsvc.operations.recheck.opening import open_recheck
from backupsvc.operations.recheck.result import outcome
from backupsvc.remote import nodes as remote
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import Settings, SshSettings
from policies.model import Archive, Policy, Rung, Scratch
from tests.fakes.made import archive
from tests.unit.archives.build import CLUSTER, Vma, pattern, zst
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.worlds import World, world
from tests.unit.remote.sshd import Sshd, running_sshd

BYTES = zst(Vma({"drive-scsi0": pattern(3 * CLUSTER)}).bytes())
HASH = hashlib.sha256(BYTES).hexdigest()
ITEM = replace(archive(108, 1), size=len(BYTES))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("shell")) as server:
        yield server


@pytest.fixture
def there(tmp_path: Path) -> Path:
    path = tmp_path / ITEM.volid.rpartition("/")[2]
    path.write_bytes(BYTES)
    return path


def site(sshd: Sshd, there: Path, catalog_url: str) -> World:
    made = world(catalog_url)
    nothing: Any = MappingProxyType({})
    made.policy = Policy("s", "UTC", "en", (), nothing, nothing, Scratch(9000, 9009), "standard")
    ssh = SshSettings(
        nodes={"clovis": sshd.address},
        user=sshd.user,
        key_file=sshd.key_file,
        known_hosts=sshd.known_hosts,
    )
    made.settings = Settings(state_dir=there.parent / "state", ssh=ssh)
    made.nodes = NodeConnections(ssh)
    made.pve = Cluster()
    made.pve.storage.volume_path = lambda node, volid: str(there)
    made.engine = build_engine(made)
    made.catalog.archives.observe([ITEM], scope=[], at=1)
    return made


@pytest.fixture
def by_shell(shell: Sshd, there: Path, sqlite_url: str) -> Iterator[World]:
    made = site(shell, there, sqlite_url)
    with closing(made.catalog), closing(made.nodes):
        yield made


def known(site: World) -> Archive:
    found = site.catalog.archives.get(ITEM.node, ITEM.volid)
    assert found
    return found


def read(site: World) -> dict[str, Any]:
    site.clock.sleep(60)
    opened = open_recheck(site, known(site))
    assert opened
    return outcome(ITEM, site.engine.drive_one(opened))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that travelled."""
    found: list[str] = []
    real = remote.open_archive

    def opened(nodes: NodeConnections, node: str, path: str) -> Any:
        found.append(path)
        return real(nodes, node, path)

    monkeypatch.setattr(remote, "open_archive", opened)
    return found


def test_what_was_found_good_once_is_summed_on_its_node_and_nothing_travels(
    by_shell: World, there: Path, streamed: list[str]
) -> None:
    first = read(by_shell)
    assert (first["state"], first["how"], streamed) == ("intact", "read from clovis", [str(there)])
    before = known(by_shell).checked_at
    again = read(by_shell)
    assert (again["state"], again["sha256"], again["bytes"]) == ("intact", HASH, len(BYTES))
    assert (again["how"], len(streamed)) == ("summed on clovis", 1)
    assert (
        known(by_shell).rung is Rung.INTACT and before and known(by_shell).checked_at == before + 60
    )


@pytest.mark.parametrize("kept", ["size", "nothing"])
def test_law_5_an_archive_that_rotted_since_is_read_whole_and_damaged(
    by_shell: World, there: Path, streamed: list[str], kept: str
) -> None:
    read(by_shell)
    half = len(BYTES) // 2
    rotten = BYTES[:half] + bytes([BYTES[half] ^ 1]) + BYTES[half + 1 :]
    there.write_bytes(rotten if kept == "size" else BYTES[:half])
    found = read(by_shell)
    assert (found["state"], len(streamed)) == ("damaged", 2)
    assert known(by_shell).damaged and known(by_shell).rung is Rung.RECORDED
    # and once it is whole again, only a reading says so
    there.write_bytes(BYTES)
    assert read(by_shell)["state"] == "intact" and len(streamed) == 3


def test_law_5_a_hash_that_was_recorded_of_bytes_that_nobody_read_proves_nothing(
    by_shell: World, streamed: list[str]
) -> None:
    by_shell.catalog.archives.annotate(ITEM.node, ITEM.volid, sha256=HASH, size=len(BYTES))
    assert not unchanged_on_node(by_shell, "clovis", known(by_shell), lambda: None)
    assert read(by_shell)["how"] == "read from clovis" and streamed


def test_law_5_what_was_changed_is_never_summed(by_shell: World) -> None:
    read(by_shell)
    item = known(by_shell)
    assert unchanged_on_node(by_shell, "clovis", item, lambda: None)
    for other in ({"changed": "size"}, {"damaged": "torn"}, {"sha256": "0" * 64}, {"sha256": None}):
        assert not unchanged_on_node(by_shell, "clovis", replace(item, **other), lambda: None)


@pytest.mark.slow
def test_where_the_login_is_no_shell_it_travels_each_time(
    tmp_path: Path, there: Path, sqlite_url: str, streamed: list[str]
) -> None:
    with running_sshd(tmp_path / "sftp", extra="ForceCommand internal-sftp") as server:
        made = site(server, there, sqlite_url)
        with closing(made.catalog), closing(made.nodes):
            assert [read(made)["how"] for _ in range(2)] == ["read from clovis"] * 2
    assert len(streamed) == 2
