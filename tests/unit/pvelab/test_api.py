"""Every call that the lab answers is handled in one package, and handled only there."""

from __future__ import annotations

import pkgutil

import pvelab.api
from pvelab.kernel import ROUTES, Handler


def home(handler: Handler) -> str:
    """The module of a handler, also of one that is a function with an argument given."""
    return getattr(handler, "func", handler).__module__


def test_the_modules_of_that_package_are_those_that_handle_calls() -> None:
    modules = {
        found.name
        for found in pkgutil.walk_packages(pvelab.api.__path__, "pvelab.api.")
        if not found.ispkg
    }
    assert {home(handler) for handler in ROUTES.values()} == modules
