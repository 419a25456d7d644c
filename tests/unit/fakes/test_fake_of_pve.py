"""The fake of PVE, held to what a real server answered to the same calls: every key and its type,
of a refusal its status and its words.

What no server was recorded saying is held to PVE's own schema. The fake may not invent a key, and
may not leave out one that the real server always told.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from backupsvc.pve.cluster import PveJob
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import ROUTES, VirtualCluster
from tests.fakes.made import archive, config_of, copy_of, job_row
from tests.fakes.pve_server import FakePve
from tests.fakes.recorded import exchanges
from tests.fakes.state import Refusal
from tests.fakes.tls import make_certificate
from tests.unit.fakes.comparison import differences, name_of, recorded, returned
from tests.unit.operations.cluster import DUMP, Cluster, Scripted, ended
from tests.unit.operations.farm import Farm
from tests.unit.pvelab.conformance import endpoints
from tests.unit.report.worlds import World

Call = tuple[str, str, dict[str, Any]]
FAKES = Path(__file__).parents[2] / "fakes"
NOON = 1_773_086_400

# what differs on purpose, and why
ON_PURPOSE = {
    "GET version data invents simulated": "so that the service knows that nothing here is real",
    "GET task_status data lacks tokenid": "a person has none; every recorded task was a token's",
    "GET status data lacks agent": "it is an option; every guest of the recording had it",
}
# where a real server answers otherwise than its schema says (03_vzdump_ok 84)
BEYOND_SCHEMA = {"GET defaults"}


def populated() -> VirtualCluster:
    """A cluster with something of everything in it."""
    cluster = VirtualCluster(SteppingClock(float(NOON)), ("n1", "n2", "n3"))
    cluster.offline = {"n3"}
    cluster.add(101, config_of(101) | {"onboot": "1"}, running=True).later = {"memory": "1024"}
    cluster.add(102, copy_of(102), running=True)
    cluster.add(103, {"lock": "create"}, node="n2")
    cluster.add(104, config_of(104), node="n3")
    cluster.ha = {101}
    cluster.jobs = [job_row(PveJob("j", True, "21:00", "local", guests=(101,), next_run=1))]
    volid = cluster.add_archive("n1", 101, NOON - 86_400, "of yesterday")
    cluster.archives["n1", volid]["protected"] = 1
    cluster.add_archive("n1", 101, NOON - 3600, "of today")
    cluster.task_of("vzdump", 101, "OK")
    cluster.task_of("qmrestore", 103, "got no right", "root@pam", "n2")
    return cluster


def asked(cluster: VirtualCluster) -> Iterator[Call]:
    """Every call that the fake knows, in an order in which each finds something."""
    over, failed = cluster.tasks
    runs = cluster.task_of("vzdump", 101, None)
    _, newest = (volid for _, volid in cluster.archives)
    for path in (
        "version", "nodes", "cluster/resources", "cluster/status", "cluster/tasks",
        "cluster/backup", "cluster/ha/resources", "cluster/ha/status/current",
        "nodes/n1/version", "access/permissions", "storage",
        "nodes/n1/network", "nodes/n1/time", "nodes/n1/storage", "nodes/n1/storage/local/status",
        "nodes/n1/vzdump/defaults", "nodes/n1/tasks", "nodes/n2/tasks",
        "nodes/n1/qemu/101/config", "nodes/n1/qemu/102/config", "nodes/n2/qemu/103/config",
        "nodes/n1/qemu/101/pending", "nodes/n1/qemu/101/status/current",
        "nodes/n1/qemu/102/status/current", "nodes/n2/qemu/103/status/current", f"nodes/n1/tasks/{over}/status",
        f"nodes/n1/tasks/{runs}/status", f"nodes/n2/tasks/{failed}/status",
        f"nodes/n2/tasks/{failed}/log",
    ):  # fmt: skip
        yield "GET", path, {}
    yield "GET", "cluster/nextid", {"vmid": 900}
    for content in ({"content": "images", "vmid": 101}, {"content": "backup"}):
        yield "GET", "nodes/n1/storage/local/content", content
    yield "GET", "nodes/n1/storage/local/prunebackups", {"prune-backups": "keep-last=1"}
    yield "GET", "nodes/n1/vzdump/extractconfig", {"volume": newest}
    yield "DELETE", f"nodes/n1/tasks/{runs}", {}
    for what in ("fsfreeze-status", "fsfreeze-thaw"):
        yield "POST", f"nodes/n1/qemu/101/agent/{what}", {}
    yield "POST", "nodes/n1/vzdump", {"vmid": 101, "notes-template": "x"}
    yield "POST", "nodes/n2/vzdump", {"vmid": 101, "notes-template": "of another node's guest"}
    yield "POST", "nodes/n1/qemu", {"vmid": 900, "archive": newest}
    yield "PUT", "nodes/n1/qemu/102/config", {"tags": "a"}
    yield "POST", "nodes/n1/qemu/102/status/start", {}
    yield "POST", "nodes/n1/qemu/101/status/stop", {}
    cluster.clock.sleep(5.0)
    yield "DELETE", "nodes/n1/qemu/101", {}
    yield "DELETE", f"nodes/n1/storage/local/content/{newest}", {}


def answers(cluster: VirtualCluster) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every call, its path, and the envelope that answers it."""
    for method, path, params in asked(cluster):
        said = cluster.answer(method, path, params)
        yield name_of(method, path), path, {"data": said.data, **said.beside}


def test_every_answer_has_the_keys_and_types_of_the_recorded_ones_and_no_others() -> None:
    found = [
        line for call, path, body in answers(populated()) for line in differences(call, path, body)
    ]
    assert sorted({line for line in found if line not in ON_PURPOSE}) == []
    assert set(found) >= ON_PURPOSE.keys(), "what no longer differs need not be named"


def by_script() -> VirtualCluster:
    """The cluster by script of the operations' tests."""
    return Scripted(Cluster(listings=[[archive(108, 1)]], result=ended("OK", "a line")))


def of_a_night() -> VirtualCluster:
    """The cluster of a night, a dump of which runs."""
    farm = Farm(SteppingClock())
    farm.leave(101, NOON)
    farm.task_of("vzdump", 101, None)
    return farm


OTHERS: dict[str, tuple[Callable[[], VirtualCluster], int, str]] = {
    "by script": (by_script, 108, DUMP),
    "of a night": (of_a_night, 101, ""),
    "of the report": (lambda: World().served(), 108, ""),
}


@pytest.mark.parametrize("which", OTHERS)
def test_every_cluster_of_the_tests_answers_so_too(which: str) -> None:
    make, vmid, upid = OTHERS[which]
    cluster, found = make(), set[str]()
    for path in (
        "version", "nodes", "cluster/resources", "cluster/status", "cluster/tasks",
        "cluster/backup", "cluster/ha/resources", "access/permissions", "storage",
        "nodes/clovis/network", "nodes/clovis/storage", "nodes/clovis/storage/local/status",
        "nodes/clovis/storage/local/content", "nodes/clovis/storage/local/prunebackups",
        "nodes/clovis/vzdump/defaults", "nodes/clovis/tasks",
        f"nodes/clovis/qemu/{vmid}/config", f"nodes/clovis/qemu/{vmid}/status/current",
        *([f"nodes/clovis/tasks/{upid}/{what}" for what in ("status", "log")] if upid else ()),
    ):  # fmt: skip
        said = cluster.answer("GET", path, {"content": "backup", "prune-backups": "keep-last=1"})
        body = {"data": said.data, **said.beside}
        found |= set(differences(name_of("GET", path), path, body))
    assert found - ON_PURPOSE.keys() == set()


def test_what_the_comparison_would_miss_is_noticed() -> None:
    body = {call: (path, body) for call, path, body in answers(populated())}
    path, rows = body["GET node_list"]
    rows["data"][0] |= {"invented": 1, "uptime": "long"}
    del rows["data"][0]["ssl_fingerprint"]
    assert sorted(differences("GET node_list", path, rows)) == [
        "GET node_list data has uptime as text, not whole",
        "GET node_list data invents invented",
        "GET node_list data lacks ssl_fingerprint",
    ]


def test_every_call_of_the_fake_is_asked_here_and_was_recorded() -> None:
    every = {f"{method} {handler.__name__.strip('_')}" for _, method, handler in ROUTES}
    assert {call for call, _, _ in answers(populated())} == every
    assert every - recorded().keys() == set()


@pytest.mark.parametrize("call", sorted({name_of(*one[:2]) for one in asked(populated())}))
def test_every_answer_fits_pves_own_schema(call: str) -> None:
    for name, path, body in answers(populated()):
        if name == call and name not in BEYOND_SCHEMA:
            assert list(endpoints.misfit(returned(call, path), body["data"])) == []


def test_every_task_is_of_a_type_that_the_real_server_began_by_that_call() -> None:
    types = defaultdict(set)
    for one in exchanges():
        if one.status == 200 and str(one.body.get("data")).startswith("UPID:"):
            types[name_of(one.method, one.path)].add(one.body["data"].split(":")[5])
    begun = [
        (call, body["data"].split(":")[5])
        for call, _, body in answers(populated())
        if str(body["data"]).startswith("UPID:")
    ]
    assert len(begun) == 6 and all(type in types[call] for call, type in begun), begun


REFUSED: dict[str, tuple[Call, str, int]] = {
    "a VMID that is taken": (("GET", "cluster/nextid", {"vmid": 101}), "02_inventory", 45),
    "no such call": (("GET", "cluster/options", {}), "01_auth", 28),
    "no such guest": (("GET", "nodes/n1/qemu/999/status/current", {}), "02_inventory", 29),
    "a config that has changed": (
        ("PUT", "nodes/n1/qemu/102/config", {"digest": "0" * 40, "tags": "a"}),
        "05_restore_ok",
        50,
    ),
    "a guest that runs": (("DELETE", "nodes/n1/qemu/101", {}), "06_restore_errors", 543),
    "a restore over a guest": (
        ("POST", "nodes/n1/qemu", {"vmid": 101, "archive": "local:backup/x.vma.zst"}),
        "06_restore_errors",
        5,
    ),
    "an archive that is gone": (
        ("GET", "nodes/n1/vzdump/extractconfig", {"volume": "local:backup/nosuch.vma.zst"}),
        "03_vzdump_ok",
        86,
    ),
    "no such task": (
        ("GET", "nodes/n1/tasks/UPID:n1:0000FFFF:00000001:00000001:vzdump:1:root@pam:/status", {}),
        "07_tasks",
        54,
    ),
    "a protected archive": (
        ("DELETE", "nodes/n1/storage/local/content/PROTECTED", {}),
        "08_prune",
        51,
    ),
}  # fmt: skip


# of the server that was recorded, which was alone
UNRECORDED = ("595, where a node is off",)


def in_general(text: str) -> str:
    """Words without the names and numbers in them."""
    text = re.sub(r"vzdump-qemu-[\d_-]+", "ARCHIVE", text.strip())
    text = re.sub(r"'GET /\S+'", "CALL", text)
    return re.sub(r"\d+", "#", re.sub(r"'(pve|n1)'|nodes/(pve|n1)/", "NODE", text))


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_status_and_the_words_of_the_recorded_one(case: str) -> None:
    (method, path, params), scene, number = REFUSED[case]
    cluster = populated()
    protected = next(volid for (_, volid), row in cluster.archives.items() if "protected" in row)
    with pytest.raises(Refusal) as caught:
        cluster.answer(method, path.replace("PROTECTED", protected), params)
    (said,) = (one for one in exchanges() if (one.scene, one.number) == (scene, number))
    refusal = caught.value
    assert (refusal.status, in_general(refusal.text)) == (said.status, in_general(said.reason))
    assert in_general(refusal.text) == in_general(said.body["message"])
    told = {name: in_general(text) for name, text in said.body.get("errors", {}).items()}
    assert {name: in_general(text) for name, text in refusal.errors.items()} == told


def test_every_refusal_of_the_fake_is_held_to_a_recorded_one() -> None:
    made = [
        node
        for file in ("cluster", "cluster_calls", "guest_calls", "state")
        for node in ast.walk(ast.parse((FAKES / f"{file}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if getattr(node.exc.func, "id", "") in ("Refusal", "wrong")
    ]
    assert len(made) == len(REFUSED) + len(UNRECORDED)


def test_the_cluster_behind_tls_answers_what_it_answers_in_the_clients_place(
    tmp_path: Path,
) -> None:
    certificate = make_certificate(tmp_path)
    server = FakePve(certificate, populated())
    server.start()
    try:
        assert server.cluster is not None
        there, here = asked(server.cluster), answers(populated())
        for (method, path, params), (_, _, body) in zip(there, here, strict=True):
            said = requests.request(
                method,
                f"https://{server.host}/api2/json/{path}",
                params=params if method in ("GET", "DELETE") else None,
                data=params if method not in ("GET", "DELETE") else None,
                verify=str(certificate.ca),
                timeout=10,
            )
            assert (said.status_code, said.json()) == (200, json.loads(json.dumps(body))), path
    finally:
        server.stop()
