"""The service and a modelled container: backed up, read back and verified; not restore-tested yet,
and told so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user whose lab has a container beside its guests."""
    shell = Shell(tmp_path_factory.mktemp("site"))
    up = shell("lab", "up", "--hypervisor", "simulated", "--with-container", "--json")
    assert up.code == 0, up.err
    assert "200 web-ct is on: modelled container" in up.err
    yield shell
    down = shell("lab", "down")
    assert down.code == 0, down.err


@pytest.fixture(scope="module")
def backed_up(site: Shell) -> Any:
    """The container's backup."""
    answer = site("backup", "run", "--vmid", 200, "--json")
    assert answer.code == 0, answer.out + answer.err
    return answer.json["guests"][0]


def test_a_container_is_backed_up_read_back_and_verified_over_ssh(backed_up: Any) -> None:
    assert (backed_up["status"], backed_up["name"], backed_up["verified"]) == ("ok", "web-ct", True)
    archive = backed_up["archive"]
    assert (archive["type"], archive["format"], archive["rung"]) == ("lxc", "tar.zst", "intact")
    assert backed_up["consistency"] == "crash-consistent" and backed_up["excluded_disks"] == []


def test_its_archive_is_verified_and_described_without_the_cluster(
    site: Shell, backed_up: Any
) -> None:
    (path,) = Path(site.state).rglob("vzdump-lxc-200-*.tar.zst")
    assert site("archive", "verify", path).code == 0
    told = site("archive", "info", path, "--json")
    assert told.code == 0 and '"web-ct"' in told.out and "pct.conf" in told.out
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    damaged = path.with_name("damaged.tar.zst")
    damaged.write_bytes(content)
    assert site("archive", "verify", damaged).code == 1
    damaged.unlink()


@pytest.mark.parametrize("words", ["restore-test 200", "restore-test 200 --dry-run"])
def test_that_containers_are_not_restore_tested_yet_is_refused_and_said(
    site: Shell, backed_up: Any, words: str
) -> None:
    answer = site(*words.split())
    assert answer.code == 4
    assert "is of a container, and only VMs can be restore-tested yet" in answer.err
    assert "proven" not in answer.out


def test_a_container_that_exists_is_not_restored_over(site: Shell, backed_up: Any) -> None:
    answer = site("restore", 200, "--yes")
    assert answer.code == 4
    assert "guest 200 (web-ct) exists on clovis" in answer.err
