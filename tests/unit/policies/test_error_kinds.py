"""The kinds of errors are read from their names."""

from __future__ import annotations

from policies.error_kinds import ErrorKind


def test_a_name_is_read_as_its_kind_and_one_that_nobody_knows_as_another() -> None:
    assert ErrorKind("TaskFailed") is ErrorKind.TASK_FAILED
    assert ErrorKind("WhatComesLater") is ErrorKind("") is ErrorKind.OTHER
