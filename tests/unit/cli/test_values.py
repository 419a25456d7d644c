"""Values in words: no brackets, quotes or names of a program's own notation."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from backupsvc.cli.values import in_words, label
from policies.model import OperationState


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        ([], "none"),
        ({}, "none"),
        (["a", "b"], "a, b"),
        (("it is full", "it is off"), "it is full; it is off"),
        ({"vmid": 9000, "node": "clovis"}, "vmid 9000, node clovis"),
        ({"took_over": None, "disks": ["scsi0", "scsi1"]}, "took over none, disks (scsi0, scsi1)"),
        (12.3456789, "12.346"),
        (2.0, "2"),
        (OperationState.OPEN, "open"),
        (Colour.RED, "red"),
        ("it's", "it's"),
    ],
)
def test_a_value_is_told_in_words(value: Any, words: str) -> None:
    assert in_words(value) == words


def test_a_key_is_a_word() -> None:
    assert label("missing_disks") == "missing disks"
