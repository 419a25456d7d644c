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
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

from backupsvc.pve.cluster import PveJob
from pvelab.schema.endpoints import api
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import ROUTES, VirtualCluster
from tests.fakes.made import config_of, copy_of, job_row
from tests.fakes.pve_server import FakePve
from tests.fakes.recorded import exchanges
from tests.fakes.state import Refusal
from tests.fakes.tls import make_certificate
from tests.unit.pvelab.conformance import endpoints

Call = tuple[str, str, dict[str, Any]]
Place = tuple[str, ...]
FAKES = Path(__file__).parents[2] / "fakes"
SCHEMA = {(one["method"], one["path"]): one for one in endpoints.SCHEMA["endpoints"]}
NOON = 1_773_086_400

ENDED = {"GET node_tasks", "GET cluster_tasks"}  # whose rows of ended tasks hold more
# by what other rows of one answer are told apart: a node has other keys than a guest
KINDS: dict[str, tuple[str, ...]] = {
    "GET resources": ("type", "status"),
    "GET node_list": ("status",),
    "GET cluster_status": ("type",),
    "GET content": ("content",),
    "GET status": ("status",),
    "GET task_status": ("status",),
}
# objects whose keys are names of paths, disks and interfaces
NAMED = {("GET permissions", "data"), ("GET status", "blockstat"), ("GET status", "nics")}
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
    ended, failed = cluster.tasks
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
        "nodes/n1/qemu/102/status/current", "nodes/n2/qemu/103/status/current", f"nodes/n1/tasks/{ended}/status",
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


def name_of(method: str, path: str) -> str:
    """The fake's name for a call, "" if it does not know it."""
    for pattern, known, handler in ROUTES:
        if method == known and pattern.fullmatch(path):
            return f"{method} {handler.__name__.strip('_')}"
    return ""


def masked(key: str) -> str:
    """Keys that are numbered are one: net0, net1."""
    return re.sub(r"\d+$", "[n]", key)


def kind_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "whole", float: "fraction", str: "text", list: "list"}
    return "null" if value is None else kinds.get(type(value), "object")


def objects(call: str, value: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every object in an answer's envelope: its place, with what tells it from others there, and
    what stands in it.
    """
    if isinstance(value, list):
        for item in value:
            yield from objects(call, item, place)
    if isinstance(value, dict) and place and (call, place[-1]) in NAMED:
        for item in value.values():
            yield from objects(call, item, (*place, "*"))
    elif isinstance(value, dict):
        apart = KINDS.get(call, ()) if place == ("data",) else ()
        kind = [str(value.get(key)) for key in apart]
        kind += ["ended"] if call in ENDED and "endtime" in value else []
        yield (*place, f"({' '.join(kind)})"), {masked(key): item for key, item in value.items()}
        for key, item in value.items():
            yield from objects(call, item, (*place, masked(key)))


@cache
def recorded() -> dict[str, dict[Place, list[dict[str, Any]]]]:
    """Every object of every good answer of the real server to a call that the fake knows."""
    found: dict[str, dict[Place, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for one in exchanges():
        call = name_of(one.method, one.path)
        if call and one.status == 200:
            for place, row in objects(call, one.body):
                found[call][place].append(row)
    return found


@cache
def promised(call: str, path: str) -> frozenset[str]:
    """The keys that PVE's schema names for an answer to a call."""
    returns = returned(call, path)
    rows = returns.get("items", returns)
    return frozenset(map(masked, rows.get("properties", {})))


def returned(call: str, path: str) -> dict[str, Any]:
    """PVE's schema of an answer, {} if the call is not among those whose schema is known."""
    method, found = call.partition(" ")[0], api().find(call.partition(" ")[0], f"/{path}")
    known: dict[str, Any] = SCHEMA.get((method, found[0].path), {}) if found else {}
    return known.get("returns") or {}


def differences(call: str, path: str, body: dict[str, Any]) -> Iterator[str]:
    """Where an answer has keys that it should not have, lacks some, or has them of a type that the
    real server never answered.
    """
    for place, row in objects(call, body):
        said, at = recorded()[call].get(place, []), f"{call} {place[-2] if place[1:] else ''}"
        like = said or beside(call, place)
        known = {key for one in like for key in one}
        schema = promised(call, path) if place[:-1] == ("data",) else frozenset()
        for key in row.keys() - known - schema:
            yield f"{at} invents {key}"
        for key in known - row.keys():
            if said and all(key in one for one in said):
                yield f"{at} lacks {key}"
        for key in row.keys() & known:
            kinds = {kind_of(one[key]) for one in like if key in one}
            if kind_of(row[key]) not in kinds | ({"whole"} if "fraction" in kinds else set()):
                yield f"{at} has {key} as {kind_of(row[key])}, not {' or '.join(sorted(kinds))}"


def beside(call: str, place: Place) -> list[dict[str, Any]]:
    """What stands in the same place but is of another kind."""
    every = recorded()[call].items()
    return [one for at, rows in every if at[:-1] == place[:-1] for one in rows]


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
