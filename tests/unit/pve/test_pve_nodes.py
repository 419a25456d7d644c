"""PVE's ``unknown`` is not ``offline``: a node whose pvestatd is silent is asked itself, once."""

from __future__ import annotations

import pytest

from backupsvc.errors import PveUnreachable
from backupsvc.pve import Pve
from backupsvc.pve.nodes import ANSWER_AGE
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import FakePve, Reply, refuse

DEAD = Reply(status=595, reason="No route to host", raw="")


def listed(fake: FakePve, **status: str) -> None:
    fake.on("GET", "/nodes", [{"node": name, "status": word} for name, word in status.items()])


def asked(fake: FakePve, node: str) -> int:
    return sum(request.path.startswith(f"/nodes/{node}/") for request in fake.requests)


def test_a_node_of_unknown_status_that_answers_is_online_and_one_that_does_not_is_not(
    fake: FakePve, pve: Pve
) -> None:
    listed(fake, a="online", b="unknown", c="unknown", d="offline")
    fake.on("GET", "/nodes/b/version", {"version": "9.2.11"})
    fake.on("GET", "/nodes/c/version", DEAD)
    found = {node.name: (node.online, node.unknown) for node in pve.cluster.nodes()}
    assert found == {"a": (True, False), "b": (True, True), "c": (False, True), "d": (False, False)}


def test_each_is_asked_once_in_a_minute_and_those_whose_state_is_known_never(
    fake: FakePve, pve: Pve, clock: SteppingClock
) -> None:
    listed(fake, a="online", b="unknown", c="unknown", d="offline")
    fake.on("GET", "/nodes/b/version", {"version": "9.2.11"})
    fake.on("GET", "/nodes/c/version", DEAD)
    fake.on("GET", "/nodes/a/storage", [])
    fake.on("GET", "/nodes/b/storage", [])
    fake.on("GET", "/storage", [])
    for _ in range(3):
        pve.cluster.nodes()
        pve.storage.seen()
    versions = [request.path for request in fake.requests if request.path.endswith("/version")]
    assert sorted(versions) == ["/nodes/b/version", "/nodes/c/version"]
    assert (asked(fake, "c"), asked(fake, "d")) == (1, 0)
    clock.time += ANSWER_AGE
    pve.cluster.nodes()
    assert asked(fake, "b") > 3, "whether pvestatd is back is asked again"


def test_a_refusal_is_an_answer(fake: FakePve, pve: Pve) -> None:
    listed(fake, b="unknown")
    fake.on("GET", "/nodes/b/version", refuse(403, "Permission check failed"))
    assert [node.online for node in pve.cluster.nodes()] == [True]


def test_the_storages_of_a_node_whose_pvestatd_is_silent_are_listed(
    fake: FakePve, pve: Pve
) -> None:
    listed(fake, b="unknown", d="offline")
    fake.on("GET", "/nodes/b/version", {"version": "9.2.11"})
    fake.on("GET", "/storage", [])
    fake.on(
        "GET",
        "/nodes/b/storage",
        [{"storage": "local", "type": "dir", "content": "backup", "active": 1, "enabled": 1}],
    )
    assert [(one.node, one.name) for one in pve.storage.seen().storages] == [("b", "local")]


def test_an_answer_about_the_nodes_serves_for_as_long_as_asked(
    fake: FakePve, pve: Pve, clock: SteppingClock
) -> None:
    listed(fake, a="online")
    pve.cluster.nodes()
    pve.cluster.nodes(max_age=30)
    assert len(fake.requests) == 1
    clock.time += 30
    pve.cluster.nodes(max_age=30)
    pve.cluster.nodes()
    assert len(fake.requests) == 3


def membership(fake: FakePve, quorate: int) -> None:
    fake.on("GET", "/cluster/status", [{"type": "cluster", "name": "c", "quorate": quorate}])


@pytest.mark.parametrize("quorate", [0, 1])
def test_whom_a_host_without_quorum_calls_offline_is_asked_itself(
    fake: FakePve, pve: Pve, quorate: int
) -> None:
    listed(fake, a="online", b="offline", c="offline")
    membership(fake, quorate)
    fake.on("GET", "/nodes/b/version", {"version": "9.2.11"})
    fake.on("GET", "/nodes/c/version", DEAD)
    fake.on("GET", "/nodes/b/network", [])
    found = {node.name: (node.online, node.unknown) for node in pve.cluster.nodes()}
    assert found == {"a": (True, False), "b": (not quorate, False), "c": (False, False)}
    pve.cluster.nodes()
    assert asked(fake, "c") == 1 - quorate
    if quorate:
        with pytest.raises(PveUnreachable, match="says that node b is offline"):
            pve.cluster.bridges("b")
        return
    assert pve.cluster.bridges("b") == [], (
        "it is the host that was cut off, and the rest of the cluster works"
    )
    with pytest.raises(PveUnreachable, match="says that node c is offline"):
        pve.cluster.bridges("c")
    assert asked(fake, "c") == 1


def test_where_the_token_may_not_ask_for_quorum_the_hosts_word_counts(
    fake: FakePve, pve: Pve
) -> None:
    listed(fake, a="online", b="offline")
    fake.on("GET", "/cluster/status", refuse(403, "Permission check failed (/, Sys.Audit)"))
    assert [node.online for node in pve.cluster.nodes()] == [True, False]
    assert asked(fake, "b") == 0
