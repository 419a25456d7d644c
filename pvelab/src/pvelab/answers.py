"""The answers of the commands for programs: one JSON object, whose first key says which one it
is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA_VERSION = 1  # raised when a key goes, or means something else; a new key raises nothing


def emit(command: str, value: Mapping[str, Any]) -> None:
    """Given a command's name, print its answer with the version of its shape; the same whether it
    is pvelab's or forwarded.
    """
    print(json.dumps({"schema": f"lab {command}/{SCHEMA_VERSION}", **value}))
