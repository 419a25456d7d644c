"""What of the answers is no restore test: a policy that is refused, and the segments of the lab's
isolated bridges.
"""

from __future__ import annotations

import pytest

from backupsvc.clock import SystemClock, polls
from backupsvc.remote.jump import Jump
from policies import silence
from tests.lab.false_proof.cells import HOME, OTHER
from tests.lab.false_proof.groups.answer import address, impostor, probe_settings
from tests.lab.false_proof.stage import Stage

pytestmark = pytest.mark.lab
SOMEBODY = "192.168.10.8"


def test_law_5_a_policy_whose_guest_is_loopback_is_refused(stage: Stage) -> None:
    with address("192.168.10.5", "127.0.0.1")(stage):
        for command in (("policy", "check"), ("restore-test", 105)):
            found = stage.shell(*command)
            assert (found.code, "loopback" in found.out + found.err) == (2, True), (
                found.out + found.err
            )


def test_law_2_a_bridge_without_ports_ends_at_its_node_and_each_node_has_a_probe(
    stage: Stage,
) -> None:
    heard = stage.lab.networks.deliveries("vmbr9")
    with (
        impostor(108)(stage),
        Jump(probe_settings(stage, HOME)) as here,
        Jump(probe_settings(stage, OTHER)) as there,
    ):
        found = {}
        for name, jump in ((HOME, here), (OTHER, there)):
            knock = jump.knock(SOMEBODY, [80])
            for _ in polls(SystemClock(), 10, first=0.2):
                # first: the table of before an answer knows of none
                answer = knock.heard()[80]
                table = silence.read(jump.ask(silence.question(SOMEBODY)) or "", SOMEBODY)
                if answer is not silence.Heard.NOTHING or (
                    table and table.state is silence.State.FAILED
                ):
                    break
            assert table is not None
            found[name] = answer, table.state in silence.SILENT_STATES
    assert found[HOME] == (silence.Heard.OPEN, False)
    assert found[OTHER][1]
    assert {(frame.node, frame.machine) for frame in heard} == {(HOME, "0"), (HOME, "908")}
    assert {(frame.node, frame.to) for frame in heard} == {(HOME, "0"), (HOME, "908")}
