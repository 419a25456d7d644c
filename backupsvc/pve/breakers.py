"""Who did not answer this process, so that nobody waits for the same silence again: one breaker a
host, a node, a part of it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping

from backupsvc.clock import Clock
from policies.breaker import (
    CLOSED,
    EVERY_HOST,
    LONG_LIVED,
    ONE_COMMAND,
    Breaker,
    Pauses,
    Place,
    asking,
    may_ask,
    places,
    silent,
    undecided,
)


class Breakers:
    """What a process knows of the silence of hosts and nodes. Safe to share between threads,
    clients and services.

    ``pauses``: how long silence keeps callers away; by default for as long as a command lasts.
    """

    def __init__(
        self, clock: Clock, pauses: Pauses = ONE_COMMAND, share: Callable[[], float] = random.random
    ) -> None:
        self.pauses = pauses
        self._clock, self._share = clock, share
        self._known: dict[Place, Breaker] = {}
        self._mutex = threading.Lock()

    def refusal(self, host: str, path: str, longest: float) -> tuple[Place, str] | None:
        """Given a host and a call's path, return who is not to be asked and the words to say of it;
        None: the call may be made.

        If it may, others are kept away from whoever is tried again by it, at most for ``longest``
        seconds.
        """
        with self._mutex:
            now, asked = self._clock.monotonic(), places(host, path)
            for place in asked:
                if not may_ask(breaker := self._of(place), now):
                    return place, breaker.words
            # only now that none of them refuses: a call that is not made keeps nobody away
            for place in asked:
                if place in self._known:
                    self._known[place] = asking(self._known[place], now, longest)
            return None

    def answered(self, host: str, path: str) -> None:
        """Given a host and a call's path, remember that it was answered by whoever had to."""
        with self._mutex:
            for place in places(host, path):
                self._known.pop(place, None)

    def silent(self, host: str, path: str, place: Place, words: str) -> None:
        """Given a host, a call's path and who of its places did not answer, remember it, and that
        those before it did.
        """
        with self._mutex:
            asked = places(host, path)
            # who passed the call on to the silent one did answer
            for outer in asked[: asked.index(place)]:
                self._known.pop(outer, None)
            self._open(place, words)
        # out of the lock, which it takes itself
        self.undecided(host, path)

    def undecided(self, host: str, path: str) -> None:
        """Given a host and a call's path that failed for another reason, let the next caller try
        those that this one tried.
        """
        with self._mutex:
            for place in places(host, path):
                if place in self._known:
                    self._known[place] = undecided(self._known[place], self._clock.monotonic())

    def told(self, online: Mapping[str, bool], words: Callable[[str], str]) -> None:
        """Given what the cluster says of its nodes, remember it: those that are offline are not
        asked, by whichever host.
        """
        with self._mutex:
            for node, is_online in online.items():
                if is_online:
                    self._known.pop((EVERY_HOST, node), None)
                else:
                    self._open((EVERY_HOST, node), words(node))

    def live_long(self) -> None:
        """From now on look again after short pauses: an operation waits until a node is back. What
        was silent may be asked.
        """
        if self.pauses != LONG_LIVED:
            self.pauses = LONG_LIVED
            self.ask_again()

    def ask_again(self) -> None:
        """Forget all silence: the next call asks whoever it is for."""
        with self._mutex:
            self._known.clear()

    def _open(self, place: Place, words: str) -> None:
        self._known[place] = silent(
            self._of(place), self._clock.monotonic(), words, self.pauses, self._share()
        )

    def _of(self, place: Place) -> Breaker:
        return self._known.get(place, CLOSED)
