"""Each class of errors has a kind of its own, by which catalogs know it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest

import backupsvc
from backupsvc.catalog.rows import BOOK
from backupsvc.errors import BackupsvcError
from policies.bookkeeping import Bookkeeping, StepError
from policies.error_kinds import ErrorKind
from tests.unit.policies.test_error_kinds import WRITTEN


def tree(error: type[BackupsvcError]) -> Iterator[type[BackupsvcError]]:
    yield error
    for below in error.__subclasses__():
        if below.__module__.startswith("backupsvc."):
            yield from tree(below)


def test_every_class_of_errors_names_a_kind_of_its_own_and_every_kind_has_its_class() -> None:
    for module in walk_packages(backupsvc.__path__, "backupsvc."):
        if module.name != "backupsvc.__main__" and ".migrations." not in module.name:
            import_module(module.name)
    classes = list(tree(BackupsvcError))
    assert [one.__name__ for one in classes if "kind" not in vars(one)] == []
    kinds = [one.kind for one in classes]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) | {ErrorKind.OTHER, ErrorKind.CANCELLED} == set(ErrorKind)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name])
def test_a_name_that_a_catalog_holds_is_read_as_its_kind(name: str) -> None:
    error = {"step": "boot", "message": "no", "kind": name}
    kept = BOOK.validate_python({"error": error})
    assert kept.error and kept.error.kind is not ErrorKind.OTHER and kept.error.kind.value == name
    assert BOOK.dump_python(kept, mode="json", exclude_defaults=True) == {"error": error}


def test_a_name_that_only_another_version_knows_is_read_all_the_same() -> None:
    kept = BOOK.validate_python(
        {"error": {"step": "boot", "message": "no", "kind": "WhatComesLater", "exit_code": 3}}
    )
    assert kept == Bookkeeping(error=StepError("boot", "no", kind=ErrorKind.OTHER, exit_code=3))


def test_an_error_of_which_no_kind_is_kept_is_of_none_that_is_known() -> None:
    assert BOOK.validate_python({"error": {"step": "boot", "message": "no"}}).error == StepError(
        "boot", "no"
    )
