"""What has come of a job's run: in one line, as an outcome, and which operations it opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backupsvc.catalog import Catalog
from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Night


def night_summary(operation: Operation) -> str | None:
    """Given a night, return in one line what has come of it so far; None if it is no night, or nothing has come of it yet."""
    said: Any = operation.data.get("results") or {}
    parts = [said[name] for name in ("backups", "retention", "tests") if name in said]
    return "; ".join(parts) or None


def children(catalog: Catalog, night: Operation) -> list[Operation]:
    """Given a night, return the operations that it opened."""
    ids = _opened(night)
    return [found for id in ids if (found := catalog.operation(str(id)))]


def failed_children(catalog: Catalog, night: Operation) -> list[Operation]:
    """Given a night, return those of its operations that ended and are not done."""
    good = (OperationState.OPEN, OperationState.DONE)
    return [child for child in children(catalog, night) if child.state not in good]


def _opened(night: Operation) -> list[str]:
    ids = night.data.get("children")
    return [str(id) for id in ids.values()] if isinstance(ids, Mapping) else []


def last_nights(catalog: Catalog, jobs: Iterable[str], known: Mapping[str, Night]) -> dict[str, Night]:
    """Given jobs' ids, return the last ended night of each that had one, by its operation's id. ``known`` is asked first."""
    ended = (catalog.last_ended("night", f"{job}@") for job in jobs)
    return {found.id: known.get(found.id) or night_outcome(catalog, found) for found in ended if found}


def night_outcome(catalog: Catalog, ended: Operation) -> Night:
    """Given an ended night, return what came of it, by the operations that it opened."""
    return outcomes.of_night(ended, children(catalog, ended))
