"""A circuit breaker: whether somebody who did not answer is asked again yet, as a value that each
event replaces by the next.

It is closed at first: whoever wants to ask may. Silence opens it for a pause, in which nobody is
made to wait for an answer that will not come. When the pause is over one caller may try
(half-open): an answer closes it, more silence opens it for longer. All times are seconds of a clock
that never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_DOUBLINGS = 16  # more of them would pass any longest pause
# part of a pause by which it may be shorter, so that processes that failed together do not come
# back together
_JITTER = 0.25
# what of a node may hang alone: a storage whose server is gone, one guest
_PARTS = frozenset({"storage", "qemu", "lxc"})

# (host,), (host, node) or (host, node, part of its API); an empty host stands for every host
Place = tuple[str, ...]
EVERY_HOST = ""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long silence keeps callers away: after the first time, and at most (each time doubles
    it).
    """

    first: float
    longest: float


# A command that reads asks nobody twice who was silent once: it lasts no ten minutes. What lives
# longer looks again.
ONE_COMMAND = Pauses(600.0, 600.0)
LONG_LIVED = Pauses(5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one place. ``until`` is when it may be asked again, ``words`` what is to be
    said until then.

    ``trying``: the pause is over and somebody asks just now.
    """

    failures: int = 0
    until: float = 0.0
    words: str = ""
    trying: bool = False


CLOSED = Breaker()


def may_ask(breaker: Breaker, now: float) -> bool:
    """Given a breaker, return whether the place may be asked at this moment."""
    return breaker.failures == 0 or now >= breaker.until


def asking(breaker: Breaker, now: float, longest: float) -> Breaker:
    """Given a breaker that lets somebody ask, return it while he does: others are kept away, at
    most for ``longest`` seconds.
    """
    return breaker if breaker.failures == 0 else replace(breaker, until=now + longest, trying=True)


def undecided(breaker: Breaker, now: float) -> Breaker:
    """Given a breaker and that a try showed neither life nor silence (somebody else was at fault),
    let the next one try.
    """
    return replace(breaker, until=now, trying=False) if breaker.trying else breaker


def silent(breaker: Breaker, now: float, words: str, pauses: Pauses, share: float) -> Breaker:
    """Given a breaker and that the place did not answer, return it open. ``share`` (0 to 1, drawn
    at random) shortens the pause.

    Those who began to ask before it opened and fail after that do not lengthen the pause.
    """
    if breaker.failures and not breaker.trying and now < breaker.until:
        return breaker
    longest = min(pauses.longest, pauses.first * 2 ** min(breaker.failures, _DOUBLINGS))
    return Breaker(breaker.failures + 1, now + longest * (1 - _JITTER * share), words)


def places(host: str, path: str) -> tuple[Place, ...]:
    """Given a host and the path of a call, return whoever must answer for it to succeed, from the
    outermost in.
    """
    parts = path.strip("/").split("/")
    if parts[0] != "nodes" or len(parts) < 2:
        return (host,), (host, "", "/".join(parts[:2]))
    node, rest = parts[1], parts[2:]
    inner = "/".join(rest[: 2 if rest and rest[0] in _PARTS else 1])
    return (host,), (EVERY_HOST, node), (host, node), (host, node, inner)
