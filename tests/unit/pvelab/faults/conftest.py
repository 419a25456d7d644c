"""A cluster of modelled guests that can be broken."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from pvelab.faults import effects
from pvelab.faults.model import Fault
from pvelab.kernel import Lab
from tests.unit.pvelab.guests.conftest import api as api
from tests.unit.pvelab.guests.conftest import lab as lab
from tests.unit.pvelab.guests.conftest import release as release


class Break(Protocol):
    """Sets a fault."""

    def __call__(self, kind: str, **options: Any) -> Fault: ...


@pytest.fixture
def broken(lab: Lab) -> Break:
    def set_fault(kind: str, **options: Any) -> Fault:
        return effects.set_fault(lab, kind, options)

    return set_fault


def struck(lab: Lab, fault: Fault) -> int:
    """Return how often a fault struck."""
    return next(one.struck for one in lab.faults.all() if one.id == fault.id)
