"""One try at a call, and what it ended with instead of an answer: whom to ask next, what to say,
and who was silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import requests
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from backupsvc.errors import BackupsvcError, PveUnreachable
from backupsvc.pve.answers import (
    ABOUT_SILENT_NODE,
    GATEWAY,
    NO_CONNECTION,
    BadAnswer,
    Caller,
    error_for,
    unreachable,
)
from backupsvc.pve.trust import Trust
from policies.breaker import Place, places
from policies.pve import texts

_A_NODE = 2  # words of its place
_ABOUT_HOST = (
    "is the node up, pveproxy running, and port 8006 open from here? BACKUPSVC_PVE__HOST says "
    "whom to ask"
)


@dataclass(frozen=True, slots=True)
class Host:
    """A node's API and what proves it."""

    name: str
    port: int
    trust: Trust

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(slots=True)
class Asked:
    """A call: whether it may be made ``again`` after it failed, which hosts were ``tried``, and
    which are ``useless`` for it.
    """

    method: str
    path: str
    again: bool
    tried: set[Host] = field(default_factory=set)
    useless: set[Host] = field(default_factory=set)


@dataclass(slots=True)
class Failed:
    """What one try ended with instead of an answer.

    ``transient`` if a second try, or another host, may fare better; ``unsent`` if the request
    certainly never left this machine; ``answered`` if whoever was asked did answer; ``timed_out``
    if nobody knows yet who was silent, ``silent`` who it was; ``quick`` if that passes soon, such
    as a daemon's restart; ``busy`` if its node answers, so that the same host may do so soon.
    """

    error: BackupsvcError
    transient: bool = False
    unsent: bool = False
    answered: bool = False
    timed_out: bool = False
    silent: Place | None = None
    quick: bool = False
    busy: bool = False

    @property
    def words(self) -> str:
        """What to say of the silence to those who ask later, of whom nothing is sent."""
        return self.error.message.partition("; ")[0]

    def blame(self, silent: Place, path: str) -> None:
        """Given who was found to be silent, remember it. What hangs in a node that answers hangs
        through every other host.
        """
        in_a_node = silent == places(silent[0], path)[-1] and silent[1] != ""
        self.silent, self.transient, self.busy = silent, not in_a_node, in_a_node
        if isinstance(self.error, PveUnreachable):
            self.error.node = _node(silent)

    @property
    def useless(self) -> bool:
        """Whether the same call is not made again through this host."""
        if self.busy:
            return False
        return self.timed_out or (self.silent is not None and not self.quick)


def joined(failures: list[Failed]) -> Failed:
    """Given what each host that was tried ended with, return the one failure to tell; it names them
    all.
    """
    *before, last = failures
    # an answer is the news, whoever was silent before it
    if not before or not isinstance(last.error, PveUnreachable):
        return last
    message = "; ".join(dict.fromkeys(failure.error.message for failure in failures))
    nodes = {
        failure.error.node for failure in failures if isinstance(failure.error, PveUnreachable)
    }
    error = PveUnreachable(message, last.error.hint, node=nodes.pop() if len(nodes) == 1 else "")
    return Failed(
        error, transient=any(failure.transient for failure in failures), unsent=last.unsent
    )


def failure_of(answer: BadAnswer, caller: Caller) -> Failed:
    """Given an answer of 400 or more, return the failure: 595 and 596 are the host's word that the
    node does not answer it.
    """
    failed = Failed(error_for(answer, caller), transient=unreachable(answer, caller))
    # a proxy's word, or that of a daemon that restarts: it says nothing of the node (pve-facts 1.6)
    if answer.status in GATEWAY:
        return failed
    failed.answered = not failed.transient
    if failed.transient and caller.node:
        failed.timed_out = (
            answer.status != NO_CONNECTION
            and texts.CONNECTION_TIMED_OUT.search(answer.reason) is not None
        )
        failed.silent = (caller.host, caller.node) if answer.status == NO_CONNECTION else None
        failed.quick = texts.CONNECTION_REFUSED.search(answer.reason) is not None
    return failed


def not_asked(place: Place, words: str, asked: Asked) -> Failed:
    """Given who is not asked and why, return the failure of a call that was not made; in the words
    of the one that was.
    """
    message = (
        words
        if asked.method == "GET"
        else f"{words}; nothing was sent ({asked.method} {asked.path})"
    )
    hint = _ABOUT_HOST if len(place) == 1 else ABOUT_SILENT_NODE
    return Failed(PveUnreachable(message, hint, node=_node(place)), unsent=True, silent=place)


def disconnected(host: Host, error: requests.exceptions.ConnectionError, caller: Caller) -> Failed:
    """Given a connection that did not come about or broke off, return the failure."""
    # urllib3's own verdict alone: what stands in the chain of contexts may be of another call
    reason = getattr(error.args[0], "reason", None) if error.args else None
    unsent = isinstance(reason, NewConnectionError | ConnectTimeoutError)
    # first: urllib3 counts it among the connections that could not be made
    if _caused_by(error, NameResolutionError):
        hint = "correct BACKUPSVC_PVE__HOST, or the name service"
        return Failed(PveUnreachable(f"there is no host called {host.name}", hint), unsent=unsent)
    # what it is sent is swallowed, or no way leads there
    if unsent and not _caused_by(error, ConnectionRefusedError):
        return Failed(
            no_answer("cannot be reached", caller, unsent=True),
            transient=True,
            unsent=True,
            silent=(str(host),),
        )
    what = "refuses connections" if unsent else "broke the connection off"
    return Failed(no_answer(what, caller, unsent=unsent), transient=True, unsent=unsent)


def _node(place: Place) -> str:
    return place[1] if len(place) == _A_NODE else ""


def no_answer(what: str, caller: Caller, *, unsent: bool = False) -> PveUnreachable:
    """Given what a host did and who asked, return the error; it says whether a change may have been
    carried out.
    """
    known = "nothing was sent" if unsent else "whether it was carried out is not known"
    asked = "" if caller.call.startswith("GET ") else f"; {known}"
    return PveUnreachable(f"{caller.host} {what} ({caller.call}){asked}", _ABOUT_HOST)


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Given an error of requests, return whether an error of that kind is at its bottom."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop()
        if isinstance(item, kind):
            return True
        # a chain of contexts may lead back to where it began
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            queue += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return False
