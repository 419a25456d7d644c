"""Which rung a good answer to each kind of check shows: that something lives, or that the service works.

A sign of life (the agent's ping, an open port of which nothing is asked) shows that a copy boots: an agent answers while the
database beside it is dead. Only a check of the service, one that must be answered in the service's own words, shows more.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Level(StrEnum):
    """How much a good answer shows."""

    LIFE = "sign of life"
    SERVICE = "service"


# every kind of check, and what its good answer shows
LEVELS = {"agent": Level.LIFE, "tcp": Level.LIFE, "http": Level.SERVICE, "ssh": Level.SERVICE, "ldap": Level.SERVICE}
NETWORK_KINDS = frozenset({"tcp", "http", "ssh", "ldap"})  # asked through the probe, on the isolated bridge


def level_of(kind: str) -> Level:
    """Given a kind of check, return what its good answer shows; of a kind that nobody knows, the less."""
    return LEVELS.get(kind, Level.LIFE)


def asks_service(kinds: Iterable[str]) -> bool:
    """Given the kinds of a guest's checks, return whether any of them asks its service."""
    return any(level_of(kind) is Level.SERVICE for kind in kinds)
