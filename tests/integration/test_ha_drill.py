"""``ha drill`` before a modelled cluster: HA moves a guest away and back while its page is asked from
outside, and what keeps it from that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.pveum import ask
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
SERVICE = "backupsvc@pve!service"
ACCEPTED = """
exemptions:
  - {finding: quorum-two-votes, owner: ops, reason: there is a QDevice, until: 2099-01-01}
"""


def allowed(site: Shell, *, window: str = "00:00-24:00", jobs: str = '"2038-01-01 21:00"') -> None:
    """Let the policy have a window that is open, accept two votes, and no night that comes."""
    settings = site.state / "lab" / "settings.json"
    found = json.loads(settings.read_text(encoding="utf-8"))
    text = Path(found["policy"]).read_text(encoding="utf-8").replace('"21:00"', jobs, 1)
    text = text.replace("Europe/Paris", "Europe/Paris\nha: {drill: {window: " + window + "}}", 1)
    own = site.state / "lab" / "drill.yaml"
    own.write_text(text + ACCEPTED, encoding="utf-8")
    settings.write_text(json.dumps(found | {"policy": str(own)}), encoding="utf-8")


def grant(site: Shell) -> None:
    """What ``doctor --role`` prints for a policy with a window."""
    ask(site.state / "lab", "POST", "/access/roles", roleid="Drill", privs="Sys.Console")
    for kind, who in (("users", SERVICE.partition("!")[0]), ("tokens", SERVICE)):
        ask(site.state / "lab", "PUT", "/access/acl", **{"path": "/", "roles": "Drill", kind: who})


def home_of(site: Shell, vmid: int = 108) -> str:
    rows = ask(site.state / "lab", "GET", "/cluster/resources", type="vm")
    return next(str(row["node"]) for row in rows if row["vmid"] == vmid)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    assert shell("lab", "up", "--hypervisor", "simulated").code == 0
    disable_pve_job(shell.state)
    yield shell
    assert shell("lab", "down").code == 0


def replicated(site: Shell) -> None:
    """Let the guest's disk be ready on the other node, and rounds of HA pass quickly."""
    job = ("--zfs", "local-lvm", "--replicate", "108:lge-pve02", "--time-factor", "50")
    assert site("lab", "cluster", *job).code == 0
    wait_until(lambda: site("ha", "status", "--json").json["resources"][0]["can_move"] is True, 60)


def foreseen(site: Shell, *words: str) -> tuple[int, Any]:
    done = site("ha", "drill", 108, "--dry-run", "--json", *words)
    return done.code, done.json


def test_it_is_refused_with_each_reason_and_then_goes_there_and_back(site: Shell) -> None:
    code, told = foreseen(site)
    assert code == 4 and told["target"] is None
    for part in (
        "neither shared nor replicated",
        "names no window",
        "lacks Sys.Console on /",
        "whether quorum outlives the loss of a node is not known",
    ):
        assert any(part in why for why in told["blockers"]), told
    refused = site("ha", "drill", 108, "--json")
    assert refused.code == 4 and home_of(site) == "clovis"

    replicated(site)
    allowed(site)
    grant(site)
    code, told = foreseen(site, "--to", "lge-pve02")
    assert (code, told["blockers"], told["home"], told["simulated"]) == (0, [], "clovis", True), (
        told
    )
    assert site("ha", "drill", 108).code == 2  # nobody is there to be asked

    done = site("ha", "drill", 108, "--relocate", "--json")
    told = done.json
    assert done.code == 1, done.err  # a modelled guest proves nothing
    assert (told["state"], told["back_home"], told["ended_on"]) == ("done", True, "clovis"), told
    assert (told["worth"], told["well"], told["error"]) == ("simulated", False, None)
    for way in (told["out"], told["back"]):
        assert way["arrived"] and way["answered"] and way["samples"] > 20, told
        assert way["task"] and "qmigrate:108:" in way["task"] and way["asked"] == 1
    assert home_of(site) == "clovis"
    assert told["longest_gap_seconds"] > 0 and told["unwatched_seconds"] == 0

    (one,) = site("ha", "status", "--json").json["resources"]
    assert one["last_drill"]["operation"] == told["operation"]
    assert one["last_drill"]["back_home"] is True
    assert f"last drill of 108: {one['last_drill']['time']}" in site("ha", "status").out
    shown = site("operations", "show", told["operation"])
    assert "on lge-pve02 and home again; interrupted" in shown.out
    again = site("operations", "retry", told["operation"])
    assert again.code == 4


def test_a_service_that_is_not_heard_from_here_is_not_moved(site: Shell) -> None:
    replicated(site)
    allowed(site)
    grant(site)
    nowhere = {"BACKUPSVC_OUTSIDE": json.dumps({"192.168.10.8:80": "127.0.0.1:1"})}
    done = Shell(site.state, nowhere)("ha", "drill", 108, "--dry-run", "--json")
    assert done.code == 4
    (why,) = done.json["blockers"]
    assert "answered 0 of 10 times" in why
    ask(site.state / "lab", "PUT", "/cluster/ha/resources/vm:108", state="ignored")
    assert any("leave it alone" in why for why in foreseen(site)[1]["blockers"])
    allowed_later = site("ha", "drill", 108, "--json")
    assert allowed_later.code == 4 and home_of(site) == "clovis"
