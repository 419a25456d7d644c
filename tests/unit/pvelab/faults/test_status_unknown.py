"""A dead pvestatd: what it broadcast is forgotten, and the node itself goes on (pve-facts 9.1)."""

from __future__ import annotations

import pytest

from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break
from tests.unit.pvelab.guests.conftest import HOME, Api


def test_every_status_of_the_node_is_unknown_and_the_node_itself_answers(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    before = api("GET", "/nodes")
    fault = broken("status-unknown", node="clovis")
    for path in ("/nodes", "/cluster/resources"):
        rows = [
            row
            for row in api("GET", path)
            if row.get("node") == "clovis" and row["type"] in ("node", "qemu", "storage")
        ]
        assert rows and {row["status"] for row in rows} == {"unknown"}
        assert not any("name" in row or "maxmem" in row for row in rows)
    assert {row["status"] for row in api("GET", "/nodes") if row["node"] != "clovis"} == {"online"}
    members = {
        row["name"]: row["online"] for row in api("GET", "/cluster/status") if row["type"] == "node"
    }
    assert members["clovis"] == 1, "corosync knows nothing of pvestatd"
    assert api("GET", f"{HOME}/version")["release"] in ("9.0", "9.2")
    assert api("GET", f"{HOME}/qemu/104/status/current")["status"] == "running"
    assert {row["active"] for row in api("GET", f"{HOME}/storage")} == {1}
    effects.clear(lab, fault.id)
    assert [row["status"] for row in api("GET", "/nodes")] == [row["status"] for row in before]


def test_it_needs_a_node_that_there_is(broken: Break) -> None:
    with pytest.raises(UsageError, match="there is no node"):
        broken("status-unknown", node="nowhere")
