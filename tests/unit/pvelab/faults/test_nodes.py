"""A node that dies by a fault, and returns when the fault is cleared."""

from __future__ import annotations

import pytest

from pvelab.faults import effects
from pvelab.kernel import Lab, LabError
from tests.unit.pvelab.faults.conftest import Break
from tests.unit.pvelab.guests.conftest import HOME, Api


def test_a_dead_node_answers_595_and_returns_when_the_fault_is_cleared(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    fault = broken("node-death", node="clovis")
    assert (api.ask("GET", f"{HOME}/time").status, lab.machine_status(104), fault.struck) == (
        595,
        "stopped",
        1,
    )
    with pytest.raises(LabError, match="offline already"):
        broken("node-death", node="clovis")
    effects.clear(lab, fault.id)
    assert api.ask("GET", f"{HOME}/time").status == 200
    assert lab.faults.all() == []
