"""What a real server answered (``tests/golden/recorded_real``): the fake builds its rows from it,
and is held to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

RECORDED = Path(__file__).parents[1] / "golden" / "recorded_real"
RECORDED_AT = 1_795_423_000.0  # a second of the recording


@dataclass(frozen=True)
class Exchange:
    """A recorded call and its answer: ``path`` is decoded, without /api2/json and the query;
    ``body`` is the envelope, {} where the answer was no JSON.
    """

    scene: str
    number: int
    method: str
    path: str
    status: int
    reason: str
    body: dict[str, Any]


@cache
def scene(name: str) -> tuple[Exchange, ...]:
    """Given a scene's name, return its exchanges in their order."""
    entries = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return tuple(_exchange(name, entry) for entry in entries if "request" in entry)


def exchanges() -> Iterator[Exchange]:
    """Every exchange of every scene."""
    for file in sorted(RECORDED.glob("*.json")):
        yield from scene(file.stem)


def data(name: str, number: int) -> Any:
    """Given a scene and an exchange's number in it, return the data of that answer."""
    found = next(exchange for exchange in scene(name) if exchange.number == number)
    return found.body["data"]


def _exchange(name: str, entry: dict[str, Any]) -> Exchange:
    asked, said = entry["request"], entry.get("response", {})
    path = unquote(asked["path"].removeprefix("/api2/json").partition("?")[0]).strip("/")
    body = said.get("json") or {}
    return Exchange(
        name, entry["n"], asked["method"], path, said.get("status", 0), said.get("reason", ""), body
    )
