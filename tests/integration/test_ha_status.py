"""``ha status`` before a modelled cluster: as the reference site is set up, once its guest is
replicated, and when the node that runs it is dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("ha"))
    assert shell("lab", "up", "--hypervisor", "simulated").code == 0
    disable_pve_job(shell.state)
    yield shell
    assert shell("lab", "down").code == 0


def asked(site: Shell) -> Any:
    done = site("ha", "status", "--json")
    assert done.code == 1, done.err
    return done.json


def test_it_says_what_it_is_before_and_after_replication_and_when_its_node_is_dead(
    site: Shell,
) -> None:
    told = asked(site)
    (one,) = told["resources"]
    assert (one["sid"], one["can_move"], one["backup_follows"]) == ("vm:108", False, True)
    assert "neither shared nor replicated" in one["reasons"][0]
    assert told["quorum"]["survives_node_loss"] is None and told["armed"] is True
    drift = {node["node"]: node["drift_seconds"] for node in told["nodes"]}
    assert abs(drift["clovis"]) < 60 < drift["lge-pve02"]
    assert {node["lrm"] for node in told["nodes"]} == {"alive"}

    job = ("--zfs", "local-lvm", "--replicate", "108:lge-pve02")
    assert site("lab", "cluster", *job).code == 0
    wait_until(lambda: asked(site)["resources"][0]["can_move"] is True)
    (target,) = asked(site)["resources"][0]["targets"]
    assert target["replica_age_seconds"] >= 0 and target["fits"] is True

    assert site("lab", "fault", "node-death", "clovis").code == 0
    told = asked(site)
    (one,) = told["resources"]
    assert told["quorum"]["quorate"] is False and one["can_move"] is False
    assert told["nodes"][0]["status"] == "offline" and told["nodes"][0]["lrm"] == "unknown"
    assert any("no quorum" in problem["what"] for problem in told["problems"])
    text = site("ha", "status")
    assert text.code == 1 and "bring a node or the QDevice back" in text.out


def test_a_cluster_that_says_nothing_is_unreachable(tmp_path: Path) -> None:
    nobody = {
        "BACKUPSVC_PVE__HOST": "127.0.0.1:1",
        "BACKUPSVC_PVE__TOKEN": "svc@pve!b1=5ecre700-1111-2222-3333-444455556666",
        "BACKUPSVC_POLICY": str(Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"),
    }
    assert Shell(tmp_path, nobody)("ha", "status", "--json").code == 3
