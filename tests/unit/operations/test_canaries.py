"""When immutable targets are tried again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.operations.copy import canaries
from policies.model import Canary, CopyTarget, Directory
from policies.site import load_policy
from tests.catalogs import new_catalog

NOW, DAY = 1_800_000_000, 86400
PROMISED = CopyTarget("offsite", Directory("/copies"), immutable=True)
PLAIN = CopyTarget("usb", Directory("/mnt/usb"))


@pytest.mark.parametrize(
    ("ages", "again"),
    [
        ((), True),
        ((29,), False),
        ((31,), True),
        ((31, 29), False),
        ((29, 31), False),
        ((-1,), True),
    ],
)
def test_an_immutable_target_is_tried_once_in_thirty_days(
    tmp_path: Path, ages: tuple[int, ...], again: bool
) -> None:

    with Catalog.open(new_catalog(tmp_path)) as catalog:
        for age in sorted(ages, reverse=True):
            catalog.copies.record_canary(
                Canary("offsite", "/copies", NOW - age * DAY, False, False, "no")
            )
        catalog.copies.record_canary(Canary("usb", "/mnt/usb", NOW, True, True, ""))
        service: Any = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: float(NOW)),
            catalog=catalog,
            policy=replace(load_policy("site: x", "x"), copies=(PROMISED, PLAIN)),
        )
        assert canaries.due(service) == ([PROMISED] if again else [])


def test_what_was_tried_is_recorded_and_the_last_word_counts(tmp_path: Path) -> None:

    (tmp_path / "usb").mkdir()
    target = CopyTarget("usb", Directory(str(tmp_path / "usb")), immutable=True)
    with Catalog.open(new_catalog(tmp_path)) as catalog:
        service: Any = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: float(NOW)),
            catalog=catalog,
            policy=replace(load_policy("site: x", "x"), copies=(target,)),
            nodes=None,
            settings=SimpleNamespace(ssh=None),
        )
        tried = canaries.try_target(service, target)
        assert (tried.overwritten, tried.deleted, tried.held) == (True, True, False)
        assert catalog.copies.canaries() == [tried]
        later = replace(tried, at=NOW + 1, overwritten=False, deleted=False)
        catalog.copies.record_canary(later)
        assert catalog.copies.canaries() == [later]
        assert later.held
