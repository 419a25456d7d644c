"""Whether a part of HA on a node is alive: its local resource manager (LRM), and the master."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from policies.ha.answers import Doubt
from policies.ha.facts import HaFacts
from policies.i18n import duration
from policies.pve import texts

SILENT_AFTER = 30  # seconds after which PVE calls a time stamp old (pve-facts 9.4)
_WORD = re.compile(r"\(([^,)]*)")
_ALIVE = frozenset({"active", "idle", "wait_for_agent_lock"})
_AWAY = frozenset({"lost_agent_lock", "lost agent lock"})


class Life(StrEnum):
    """What is known of it. AWAY: it is alive and takes nothing over now."""

    ALIVE = "alive"
    AWAY = "away"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Lrm:
    """A node's LRM: PVE's own word for it ("" where it says nothing), and how long ago it wrote, in
    seconds by the node's own clock.
    """

    life: Life
    word: str = ""
    age: int | None = None


def lrm(facts: HaFacts, node: str) -> Lrm:
    """Given a node, return what is known of its LRM.

    PVE compares the stamp with the clock of the node that answers: a node whose clock is off seems
    dead, or alive. By its own clock, where that was read, it is neither.
    """
    if facts.status is None or node not in facts.status.lrm:
        return Lrm(Life.UNKNOWN)
    line = facts.status.lrm[node]
    word, age = word_of(line), age_of(facts, node, facts.status.stamps.get(node))
    old = texts.CLOCK_OLD.search(line) is not None
    # what it wrote before it fell silent says nothing of now
    if node in facts.down:
        return Lrm(Life.UNKNOWN, word, age)
    if age > SILENT_AFTER if age is not None else old:
        return Lrm(Life.DEAD, word, age)
    if old or texts.CLOCK_DRIFT.search(word):
        # of a node whose clock it dislikes PVE says nothing else, and the manager knows
        word = facts.status.lrm_states.get(node, word) if age is not None else word
    life = Life.ALIVE if word in _ALIVE else Life.UNKNOWN
    away = word.endswith(" mode") or word in _AWAY
    return Lrm(Life.AWAY if away else life, word, age)


def lrm_doubt(facts: HaFacts, node: str) -> Doubt | None:
    """Given a node that is up, return why its LRM would take no guest over, None if it would."""
    found = lrm(facts, node)
    state = facts.status.node_states.get(node, "online") if facts.status else "online"
    if found.life is Life.DEAD:
        since = f" for {duration(found.age, 'en')}" if found.age is not None else ""
        return Doubt(f"its LRM has written nothing{since}")
    if found.life is Life.AWAY:
        return Doubt(f"its LRM takes nothing over now ({found.word})")
    if state != "online":
        return Doubt(f"HA counts it as {state}")
    if found.life is Life.ALIVE:
        return None
    said = f"HA says of its LRM only: {found.word}" if found.word else "HA says nothing of its LRM"
    return Doubt(said, surely=False)


def word_of(line: str) -> str:
    """Given HA's line on a node, return its word."""
    found = _WORD.search(line)
    return found[1].strip() if found else ""


def age_of(facts: HaFacts, node: str, stamp: int | None) -> int | None:
    """Given a node and the time that it wrote last, return how many seconds ago that was by its own
    clock, None if its clock or its stamp was not read, or the clock was set back since.
    """
    now = facts.node_time(node)
    if now is None or stamp is None or stamp - now > SILENT_AFTER:
        return None
    return max(0, now - stamp)
