"""Storages that are full, slow, or whose listings come back short."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pvelab.faults.board import Board

_NAP = 0.05
Row = TypeVar("Row")


class Guard:
    """What a storage's faults do to one transfer: hold it back to a rate, or end it. ``writes``
    False: it only reads there.
    """

    def __init__(
        self,
        board: Board,
        node: str,
        storage: str,
        check_cancelled: Callable[[], None],
        *,
        writes: bool = True,
    ) -> None:
        self._board, self._node, self._storage = board, node, storage
        self._check_cancelled, self._writes = check_cancelled, writes
        # the fault's number, bytes moved and time when it first struck
        self._slow: tuple[int, int, float] | None = None

    def __call__(self, moved: int) -> None:
        """Given the bytes moved so far, return when more may be. Raise OSError (ENOSPC) when the
        storage is full.
        """
        where = {"node": self._node, "storage": self._storage}
        if self._writes and self._board.strike("storage-full", **where):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while slow := self._board.find("storage-slow", **where):
            if self._slow is None or self._slow[0] != slow.id:
                self._board.count(slow)
                self._slow = (slow.id, moved, time.monotonic())
            _, before, since = self._slow
            if moved <= before + float(slow["rate"]) * (time.monotonic() - since):
                break
            self._check_cancelled()
            time.sleep(_NAP)

    def around(self, write: Callable[[bytes], object]) -> Callable[[bytes], object]:
        """Given a function that writes, return one that does so under this guard."""
        moved = 0

        def guarded(data: bytes) -> object:
            nonlocal moved
            moved += len(data)
            self(moved)
            return write(data)

        return guarded


def is_full(board: Board, node: str, storage: str) -> bool:
    """Say whether a storage is to have no room."""
    return board.find("storage-full", node=node, storage=storage) is not None


def listed(board: Board, node: str, storage: str, rows: Sequence[Row]) -> Sequence[Row]:
    """Given the archives of a listing, return those that it still shows."""
    short = board.strike("listing-short", node=node, storage=storage) if rows else None
    return rows[: max(0, len(rows) - int(short["missing"]))] if short else rows
