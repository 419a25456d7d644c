"""``ha status`` before a modelled cluster: as the reference site is set up, once its guest is
replicated, and when the node that runs it is dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pvelab.accident import give
from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.waiting import wait_until

SERVICE = "backupsvc@pve!service"
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

    _what_ha_did_by_itself(site)


def _what_ha_did_by_itself(site: Shell) -> None:
    """With a third vote HA takes the guest over, and the log tells it to who may read it."""
    (blind,) = site("ha", "failovers").out.splitlines()[1:][:1]
    assert "clovis is off" in blind
    third = ("--qdevice", "--time-factor", "60", "--drift", "lge-pve02:0")
    assert site("lab", "cluster", *third).code == 0
    there = {"node": "lge-pve02", "state": "started"}
    wait_until(lambda: there.items() <= asked(site)["resources"][0].items(), 60)
    told = site("ha", "failovers", "--json")
    assert (told.code, told.json["answer"]) == (1, "not-known")
    why = {one["node"]: one["why"] for one in told.json["not_read"]}
    assert why == {"clovis": "offline", "lge-pve02": "right"}
    assert "Sys.Syslog on /" in site("ha", "failovers").out

    assert site("lab", "fault", "node-return", "clovis").code == 0
    give(site.state / "lab", "/", "Sys.Syslog", SERVICE)
    told = site("ha", "failovers", "--json").json
    (one,) = told["failovers"]
    assert (one["sid"], one["source"], one["target"]) == ("vm:108", "clovis", "lge-pve02")
    assert one["missed"] <= one["fenced"] <= one["taken"] <= one["started"]
    assert one["last_sign"] <= one["missed"]
    assert 0 <= one["at_least_seconds"] <= one["at_most_seconds"]
    # the lab's logs begin with the lab: of the days before nothing is known
    assert {x["why"] for x in told["not_read"]} == {"short"}
    text = site("ha", "status").out
    assert "vm:108 from clovis to lge-pve02: away" in text
    assert "there may have been others" in text
    report = site("pra", "report", "--output", site.state / "report", "--json").json["files"]
    page = next(Path(path).read_text("utf-8") for path in report if path.endswith(".html"))
    assert "lge-pve02: pve-ha-crm" in page


def test_a_cluster_that_says_nothing_is_unreachable(tmp_path: Path) -> None:
    nobody = {
        "BACKUPSVC_PVE__HOST": "127.0.0.1:1",
        "BACKUPSVC_PVE__TOKEN": "svc@pve!b1=5ecre700-1111-2222-3333-444455556666",
        "BACKUPSVC_POLICY": str(Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"),
    }
    assert Shell(tmp_path, nobody)("ha", "status", "--json").code == 3
