"""A cluster of modelled guests that can be broken."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from backupsvc.lab.faults import effects
from backupsvc.lab.faults.model import Fault
from backupsvc.lab.kernel import Lab
from tests.unit.lab.guests.conftest import api as api
from tests.unit.lab.guests.conftest import lab as lab
from tests.unit.lab.guests.conftest import release as release


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
