"""The settings in force as the variables that they could be read from again: what may be written down
anywhere, what is secret, and which files they name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from backupsvc.setting_names import DEEPER, PREFIX

# of this machine, which has its own catalog and broker, or of this moment
_OWN = frozenset(
    {"state_dir", "policy", "catalog", "broker", "lab", "simulated", "listen", "tick", "log"}
)


@dataclass(frozen=True, slots=True)
class Values:
    """Variables by name: ``plain`` ones with their values, ``secret`` ones with theirs, ``files`` with
    the files that they name, of which ``keys`` are secret too.
    """

    plain: dict[str, str] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    keys: dict[str, Path] = field(default_factory=dict)


def of(settings: BaseModel) -> Values:
    """Given settings, return those that differ from what they are without any variable."""
    found = Values()
    for path, value in _set(settings):
        if path[0] in _OWN:
            continue
        name = PREFIX + DEEPER.join(path).upper()
        if isinstance(value, SecretStr):
            found.secret[name] = value.get_secret_value()
        elif isinstance(value, Path):
            (found.keys if "key_file" in path else found.files)[name] = value
        elif isinstance(value, dict):
            found.plain[name] = json.dumps(value, default=str, sort_keys=True)
        else:
            found.plain[name] = str(value)
    return found


def _set(model: BaseModel, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        value, path = getattr(model, name), (*above, name)
        if isinstance(value, BaseModel):
            yield from _set(value, path)
        elif isinstance(value, dict) and any(isinstance(one, BaseModel) for one in value.values()):
            for key, one in value.items():
                yield from _set(one, (*path, str(key)))
        elif value not in (None, "", {}, SecretStr(""), type(model).model_fields[name].default):
            yield path, value
