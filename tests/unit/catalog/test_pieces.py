"""A night opens its pieces only while it is its driver's and goes on, which is looked at in the
transaction that opens them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, EndAsked, Kept, NewOperation
from backupsvc.errors import LeaseLost
from policies.model import Operation, OperationState
from tests.waiting import HANGS

NOW = 1000
MINE, OTHERS = Driver("me", 60, NOW), Driver("another", 60, NOW + 61)
PIECE = NewOperation(
    "backup", 101, "locate", {}, occurrence="nightly@1#backup#101", exclusive_key="guest 101"
)


@pytest.fixture
def night(catalog: Catalog) -> Operation:
    opened = catalog.operations.open(
        NewOperation("night", None, "back-up", {}, occurrence="nightly@1"), NOW, MINE
    )
    assert opened
    return opened


def pieces(catalog: Catalog) -> list[Operation]:
    return catalog.operations.find(kind="backup")


def test_law_9_a_night_that_is_its_drivers_opens_a_piece_once(
    catalog: Catalog, night: Operation
) -> None:
    assert catalog.operations.open_child(PIECE, NOW, (night.id, "me"))
    assert catalog.operations.open_child(PIECE, NOW, (night.id, "me")) is None
    assert len(pieces(catalog)) == 1


def test_law_9_a_night_that_another_drives_by_now_opens_no_piece(
    catalog: Catalog, night: Operation
) -> None:
    assert catalog.operations.claim(night.id, OTHERS)
    with pytest.raises(LeaseLost, match=night.id):
        catalog.operations.open_child(PIECE, NOW + 62, (night.id, "me"))
    assert pieces(catalog) == []


def test_law_9_a_night_that_has_ended_opens_no_piece(catalog: Catalog, night: Operation) -> None:
    catalog.operations.finish(
        night.id, MINE, OperationState.CANCELLED, kept=Kept({}, night.book), error=None, note=None
    )
    with pytest.raises(LeaseLost):
        catalog.operations.open_child(PIECE, NOW, (night.id, "me"))
    assert pieces(catalog) == []


def test_a_night_that_somebody_asked_to_end_opens_no_piece_and_hears_why(
    catalog: Catalog, night: Operation
) -> None:
    catalog.operations.request_cancel(night.id, "an upgrade begins", NOW)
    with pytest.raises(EndAsked, match="an upgrade begins"):
        catalog.operations.open_child(PIECE, NOW, (night.id, "me"))
    assert pieces(catalog) == []


@pytest.fixture
def second(catalog_url: str) -> Iterator[Catalog]:
    """Another process's catalog."""
    with Catalog.open(catalog_url) as opened:
        yield opened


@pytest.mark.parametrize("who", ["somebody cancels it", "another takes it over"])
def test_law_9_who_comes_while_a_piece_is_being_opened_waits_until_it_is_there(
    catalog: Catalog, second: Catalog, night: Operation, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The night is looked at and the piece written in one transaction: what comes in between sees
    the piece afterwards.
    """
    from backupsvc.catalog import operations

    begun, seen = threading.Event(), list[list[str]]()

    def comes() -> None:
        begun.set()
        if who == "somebody cancels it":
            second.operations.request_cancel(night.id, "why", NOW + 61)
        else:
            second.operations.claim(night.id, OTHERS)
        seen.append(second.operations.open_child_ids("nightly@1"))

    other = threading.Thread(target=comes)
    looked = operations._goes_on

    def in_between(connection: object, parent: tuple[str, str]) -> None:
        looked(connection, parent)  # type: ignore[arg-type]
        other.start()
        assert begun.wait(HANGS)
        other.join(0.3)  # it has every chance to be quicker
        assert not seen, "it did not wait"

    monkeypatch.setattr(operations, "_goes_on", in_between)
    opened = catalog.operations.open_child(PIECE, NOW, (night.id, "me"))
    other.join(HANGS)
    assert opened and seen == [[opened.id]]
