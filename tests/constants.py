"""What must be the same after a test file as before it: the constants and functions of the product.

A file that changes one for its whole process fails whoever comes after it in the same worker, and
which files these are differs from machine to machine.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

PACKAGES = ("backupsvc", "policies", "workers", "pvelab")


def constants() -> dict[str, Any]:
    """Return the value of each constant and function of each module that is loaded, by its dotted
    name.
    """
    return {
        f"{module}.{name}": value
        for module, loaded in list(sys.modules.items())
        if module.partition(".")[0] in PACKAGES
        for name, value in list(vars(loaded).items())
        if name.lstrip("_").isupper() or isinstance(value, FunctionType)
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Given two answers of ``constants``, return the names whose value is another one now."""
    return sorted(name for name, value in before.items() if after.get(name, value) is not value)
