"""Only calls that put something back around the guest itself reach PVE, whatever a kept set or a
catalog says.
"""

from __future__ import annotations

from typing import Any

import pytest

from backupsvc.errors import LawRefused
from backupsvc.pve.fields import Answer
from backupsvc.pve.surroundings import Running, Surroundings
from policies.model import Scratch
from policies.surroundings import Call, find
from tests.unit.policies.surroundings.worlds import BACK, FULL, config

SCRATCH = Scratch(9000, 9099)


class Client:
    """Notes what it is asked, and answers what a test says."""

    def __init__(self, data: Any = None) -> None:
        self.data, self.asked = data, list[tuple[str, str, dict[str, Any]]]()

    def get(self, path: str) -> Answer:
        return Answer("x", f"GET {path}", self.data)

    def put(self, path: str, params: dict[str, Any]) -> None:
        self.asked.append(("PUT", path, params))

    def post(self, path: str, params: dict[str, Any]) -> None:
        self.asked.append(("POST", path, params))


def around(client: Any) -> Surroundings:
    return Surroundings(client, lambda: SCRATCH)


def call(method: str, path: str, /, **params: str) -> Call:
    return Call(method, path, tuple(params.items()))


def all_calls() -> list[Call]:
    conf = "guests/qemu-108.conf"
    now = config(BACK, {conf: FULL[conf].replace("tags: b;a", "tags: c")})
    return [one for item in find(config(FULL), now, 108, archive="") for one in item.calls]


def test_every_call_that_is_ever_shown_is_made_as_it_was_shown() -> None:
    client = Client()
    calls = all_calls()
    assert len(calls) == 17
    for one in calls:
        around(client).put_back(one, 108)
    assert client.asked == [(one.method, one.path, dict(one.params)) for one in calls]


def test_law_1_what_is_about_another_guest_is_not_made() -> None:
    client = Client()
    for one in all_calls():
        with pytest.raises(LawRefused, match="is no call that puts back guest 109"):
            around(client).put_back(one, 109)
    assert client.asked == []


@pytest.mark.parametrize(
    "wrong",
    [
        call("DELETE", "cluster/backup/x", vmid="108"),
        call("PUT", "nodes/n1/qemu/108/config", delete="net0"),
        call("PUT", "nodes/n1/qemu/108/config", net0="virtio,bridge=vmbr0"),
        call("PUT", "nodes/n1/qemu/108/config", tags="a", force="1"),
        call("POST", "nodes/n1/qemu/108/status/stop"),
        call("PUT", "nodes/n1/qemu/108/firewall/options", delete="enable"),
        call("PUT", "nodes/../qemu/108/firewall/options", enable="1"),
        call("POST", "nodes/n1/qemu/108/firewall/ipset/../rules", cidr="x"),
        call("PUT", "pools", poolid="x", vms="108", delete="1"),
        call("PUT", "pools", poolid="x", vms="108,109"),
        call("PUT", "access/acl", path="/", roles="Administrator", users="x@pve"),
        call("PUT", "access/acl", path="/vms/108", roles="x", users="x@pve", delete="1"),
        call("POST", "cluster/backup", id="x", vmid="108", script="/x"),
        call("PUT", "cluster/backup/x", vmid="108", storage="x"),
        call("POST", "cluster/ha/resources", sid="vm:1080"),
        call("PUT", "cluster/ha/rules/x/y", type="node-affinity", resources="vm:108"),
        call("POST", "cluster/replication", id="109-0", type="local", target="n2"),
        call("PUT", "access/password", path="/vms/108"),
    ],
)
def test_law_1_no_other_call_is_made(wrong: Call) -> None:
    client = Client()
    with pytest.raises(LawRefused):
        around(client).put_back(wrong, 108)
    with pytest.raises(LawRefused):
        twice = Call("PUT", "pools", (("poolid", "x"), ("vms", "108"), ("vms", "108")))
        around(client).put_back(twice, 108)
    assert client.asked == []


def test_law_2_nothing_is_put_around_a_copy() -> None:
    client = Client()
    with pytest.raises(LawRefused, match="scratch range"):
        around(client).put_back(call("POST", "cluster/ha/resources", sid="vm:9001"), 9001)
    assert client.asked == []


def test_where_pve_looks_at_a_digest_it_is_asked_and_sent() -> None:
    client = Client({"digest": "abc", "tags": "x"})
    tags = call("PUT", "nodes/n1/qemu/108/config", tags="a")
    assert around(client).digest(tags) == "abc"
    assert around(client).digest(call("PUT", "pools", poolid="x", vms="108")) is None
    around(client).put_back(tags, 108, "abc")
    assert client.asked[-1][2] == {"tags": "a", "digest": "abc"}


def test_whether_a_guest_runs_is_read_at_that_moment() -> None:
    client = Client({"status": "running", "lock": "backup"})
    assert around(client).running("n1", "qemu", 108) == Running(True, "backup")
    client.data = {"status": "stopped"}
    assert around(client).running("n1", "lxc", 108) == Running(False, "")
