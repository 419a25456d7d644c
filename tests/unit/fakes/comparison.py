"""How an answer of the fake of PVE is compared with what a real server answered to the same call:
every key and its type, object by object.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from pvelab.schema.endpoints import api
from tests.fakes.cluster import ROUTES
from tests.fakes.recorded import exchanges
from tests.unit.pvelab.conformance import endpoints

Place = tuple[str, ...]
SCHEMA = {(one["method"], one["path"]): one for one in endpoints.SCHEMA["endpoints"]}
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
