"""Waiting for a catalog that is locked or down: which failures pass by themselves, and what may be
done again after one.

Three cases. Nothing was sent yet (connecting, BEGIN): ``Database`` itself tries again. The
connection was cut in mid-transaction: the database rolled that back, so a ``retried`` method does
all of it again. It was cut while COMMIT was under way: nobody knows whether it was written, so only
a method for which twice is the same as once (``repeatable``) is done again. Every other raises
CatalogCut, and its caller takes up what the catalog then shows, just as after a crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError

from backupsvc.clock import SystemClock, polls
from backupsvc.errors import CatalogCut

FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0  # seconds between two attempts: at first, and at most
# PostgreSQL: serialization failure, deadlock, lock not available
_PASSING_STATES = ("40001", "40P01", "55P03")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

P = ParamSpec("P")
R = TypeVar("R")


class WithRetryTime(Protocol):
    """A database that says how many seconds it is waited for."""

    @property
    def retry_for_s(self) -> float: ...


class Repository(Protocol):
    """Anything over a database."""

    @property
    def _database(self) -> WithRetryTime: ...


S = TypeVar("S", bound=Repository)


def retried(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Given a repository's method of one transaction, return one that retries.

    A transaction that was cut and undone is done again. The method raises CatalogUnreachable when
    the database's ``retry_for_s`` is used up, or when nobody knows what was written.
    """
    return _again(method, only_undone=True)


def repeatable(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Given a repository's method for which twice is the same as once, return one that retries,
    whatever became of the first.
    """
    return _again(method, only_undone=False)


def passes(error: DBAPIError) -> bool:
    """Given a failure, tell whether it may be over in a moment."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _BUSY
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _PASSING_STATES


def passes_before_begin(error: DBAPIError) -> bool:
    """Given a failure to connect, tell whether it may be over in a moment. libpq gives no code for
    what the server said.
    """
    return passes(error) if isinstance(error.orig, sqlite3.Error) else True


def _again(
    method: Callable[Concatenate[S, P], R], *, only_undone: bool
) -> Callable[Concatenate[S, P], R]:
    @wraps(method)
    def retrying(repository: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        retry_for_s = repository._database.retry_for_s
        for passed in polls(SystemClock(), retry_for_s, first=FIRST_PAUSE_S, most=MAX_PAUSE_S):
            try:
                return method(repository, *args, **kwargs)
            except CatalogCut as cut:
                # what was perhaps written is done again only where twice is the same as once
                if passed >= retry_for_s or (only_undone and not cut.undone):
                    raise
        raise AssertionError("the last attempt returns or raises")

    return retrying
