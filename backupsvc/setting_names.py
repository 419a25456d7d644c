"""The names of the variables that settings are read from: which there can be, and which of them a
misspelt one is nearest to.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

PREFIX, DEEPER = "BACKUPSVC_", "__"
# docker-compose.yml's own: which file it mounts as the policy
FOREIGN = frozenset({"BACKUPSVC_POLICY_FILE"})


def unknown(model: type[BaseModel], names: Iterable[str]) -> list[str]:
    """Given the model of all settings and the environment's names, return those with our prefix
    that no setting is read from.

    Capital and small letters are alike, as where the values are read.
    """
    ours = sorted(name for name in names if name.upper().startswith(PREFIX))
    return [
        name for name in ours if name.upper() not in FOREIGN and not _known(model, _parts(name))
    ]


def nearest(model: type[BaseModel], name: str) -> str:
    """Given a name that is unknown, return the most similar one that there is; a map's own key (a
    node) is kept.
    """
    parts = _parts(name)
    inside = parts[1] if len(parts) > 1 else "node"
    candidates = [PREFIX + DEEPER.join(path).upper() for path in _paths(model, inside)]
    return difflib.get_close_matches(name.upper(), candidates, n=1, cutoff=0.0)[0]


def _parts(name: str) -> list[str]:
    return name[len(PREFIX) :].lower().split(DEEPER)


def _known(model: type[BaseModel], parts: list[str]) -> bool:
    field = model.model_fields.get(parts[0])
    if field is None or "" in parts:
        return False
    return len(parts) == 1 or _inside(field.annotation, parts[1:])


def _inside(annotation: Any, parts: list[str]) -> bool:
    """Whether a part of a setting is named so: a group's field, or under a map's key whatever one
    of its values has.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _known(annotation, parts)
    value = _value_of_map(annotation)
    return value is not None and (len(parts) == 1 or _inside(value, parts[1:]))


def _paths(model: type[BaseModel], key: str) -> Iterator[tuple[str, ...]]:
    """Every name that there can be, taken apart; ``key`` stands for the keys of maps."""
    for name, field in model.model_fields.items():
        group, value = field.annotation, _value_of_map(field.annotation)
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from ((name, *rest) for rest in _paths(group, key))
        elif isinstance(value, type) and issubclass(value, BaseModel):
            yield from ((name, key, *rest) for rest in _paths(value, key))
        else:
            yield (name,)


def _value_of_map(annotation: Any) -> Any:
    return typing.get_args(annotation)[1] if typing.get_origin(annotation) is dict else None
