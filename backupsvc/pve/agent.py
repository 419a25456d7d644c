"""The QEMU guest agent: is it there, what does it say, run a command inside.

Generic calls are wrapped in ``result`` and may be a 200 that carries an error; exec is not wrapped
(pve-facts 8.5). No guest's agent is asked anything while a lock says that the guest is being dumped
or snapshot: it may stand frozen just then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backupsvc.clock import Clock, polls
from backupsvc.errors import AgentHeld, PveError
from backupsvc.pve.client import Client
from backupsvc.pve.guests import Guests, GuestStatus
from policies.pve import texts

# locks under which PVE freezes and thaws through the agent
HOLDING = frozenset({"backup", "snapshot"})
LOOK_AGE = 1.0  # seconds for which a look at a guest's lock serves for the calls that follow it
UNPRINTABLE = 596  # how an agent's text with a character above U+00FF arrives (pve-facts 1.7)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command inside the guest did. ``exitcode`` is None when a signal ended it."""

    exitcode: int | None
    out: str
    err: str
    signal: int | None = None
    truncated: bool = False


class Agent:
    """The agents of all guests, by node and VMID."""

    def __init__(self, client: Client, clock: Clock, guests: Guests) -> None:
        self._client, self._clock, self._guests = client, clock, guests
        self._seen: dict[tuple[str, int], tuple[float, GuestStatus]] = {}

    def state(self, node: str, vmid: int) -> GuestStatus:
        """Given a guest, return its state now. Raise PveNotFound if that node has no such guest."""
        status = self._guests.status(node, vmid)
        self._seen[node, vmid] = self._clock.monotonic(), status
        return status

    def held(self, node: str, vmid: int) -> bool:
        """Given a guest, return whether a dump or a snapshot of it runs, so that its agent is not
        to be asked.
        """
        at, status = self._seen.get((node, vmid), (0.0, None))
        # a look of a moment ago serves: a check would else cost two calls each time
        if status is None or not 0 <= self._clock.monotonic() - at < LOOK_AGE:
            status = self.state(node, vmid)
        return status.lock in HOLDING

    def port(self, node: str, vmid: int) -> AgentPort:
        """Given a guest, return its own agent, to be asked without naming the guest again."""
        return AgentPort(self, node, vmid)

    def ping(self, node: str, vmid: int) -> bool:
        """Given a guest, return whether its agent answers; a silent one costs 3 s.

        Raise PveError if none is configured, AgentHeld while a dump of the guest runs.
        """
        try:
            self._ask("POST", node, vmid, "ping")
        except PveError as error:
            # 596 is an answer that PVE could not pass on, and no dead node (pve-facts 1.7)
            if texts.NO_AGENT_ANSWER.search(error.text) or error.status == UNPRINTABLE:
                return False
            raise
        return True

    def osinfo(self, node: str, vmid: int) -> dict[str, Any]:
        """Given a guest, return what its agent says of the operating system (``pretty-name``,
        ``kernel-release`` ...).
        """
        # the guest may answer anything: what is not of the promised form is as good as nothing
        found = self._ask("GET", node, vmid, "get-osinfo")
        return dict(found) if isinstance(found, dict) else {}

    def hostname(self, node: str, vmid: int) -> str:
        """Given a guest, return the host name that it has inside."""
        found = self._ask("GET", node, vmid, "get-host-name")
        name = found.get("host-name") if isinstance(found, dict) else None
        return name if isinstance(name, str) else ""

    def interfaces(self, node: str, vmid: int) -> list[dict[str, Any]]:
        """Given a guest, return its network interfaces with their addresses, as the agent lists
        them.
        """
        found = self._ask("GET", node, vmid, "network-get-interfaces")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def frozen(self, node: str, vmid: int) -> bool:
        """Given a guest, return whether its agent says that its file systems are frozen (needs
        VM.GuestAgent.Audit alone).

        Raise PveError if the agent does not answer or says neither, AgentHeld while a dump of the
        guest runs.
        """
        said = self._ask("POST", node, vmid, "fsfreeze-status")
        # a third word would pass for thawed, and a frozen guest be left so
        if said not in ("frozen", "thawed"):
            raise PveError(
                f"the agent of guest {vmid} on {node} says {said!r} of its file systems",
                text=str(said),
            )
        return bool(said == "frozen")

    def thaw(self, node: str, vmid: int) -> None:
        """Given a guest, have its agent thaw its file systems (needs VM.GuestAgent.FileSystemMgmt).
        Twice does no harm.
        """
        self._ask("POST", node, vmid, "fsfreeze-thaw")

    def read_file(self, node: str, vmid: int, path: str) -> str:
        """Given a guest and the absolute path of a small file in it, return its text.

        Raise PvePermissionDenied without VM.GuestAgent.FileRead (or .Unrestricted), PveError if the
        agent is silent or refuses.
        """
        self._stand_back(node, vmid, "file-read")
        # not wrapped (pve-facts 8.5)
        answer = self._client.get(f"nodes/{node}/qemu/{vmid}/agent/file-read", {"file": path})
        return _guest_text(answer.row().text("content"))

    def exec(self, node: str, vmid: int, command: list[str], timeout: float) -> ExecResult:
        """Given a command as a list of words and a deadline in seconds, run it inside the guest and
        return what it did.

        Raise PveError if the agent refuses it, or if it still runs at the deadline (it is then left
        running).
        """
        self._stand_back(node, vmid, command[0])
        path = f"nodes/{node}/qemu/{vmid}/agent"
        pid = self._client.post(f"{path}/exec", {"command": command}).row().need_integer("pid")
        for _ in polls(self._clock, timeout, most=1.0):
            # a dump has begun meanwhile, and may have frozen the guest
            if self.held(node, vmid):
                continue
            # Never asked twice after a lost answer: the agent hands a result out once (pve-facts
            # 8.5).
            answer = self._client.get(f"{path}/exec-status", {"pid": pid}, retry=False).row()
            if answer.boolean("exited"):
                cut = answer.boolean("out-truncated") or answer.boolean("err-truncated")
                return ExecResult(
                    exitcode=answer.integer_if_any("exitcode"),
                    out=_guest_text(answer.text("out-data")),
                    err=_guest_text(answer.text("err-data")),
                    signal=answer.integer_if_any("signal"),
                    truncated=cut,
                )
        raise PveError(
            f"{command[0]} still runs in guest {vmid} on {node} after {timeout:g} s",
            "give the check a longer timeout",
        )

    def _ask(self, method: str, node: str, vmid: int, what: str) -> Any:
        self._stand_back(node, vmid, what)
        path = f"nodes/{node}/qemu/{vmid}/agent/{what}"
        answer = (self._client.post(path) if method == "POST" else self._client.get(path)).row()
        # what stands in it are the guest's own words, whatever type it gives them
        result = answer.fields.get("result")
        # with status 200: PVE wraps what the agent says, errors too (pve-facts 8.5)
        if isinstance(result, dict) and isinstance(result.get("error"), dict):
            said = str(result["error"].get("desc") or result["error"].get("class") or "")
            raise PveError(
                f"the agent of guest {vmid} on {node} refused {what}: {said}", status=200, text=said
            )
        return result

    def _stand_back(self, node: str, vmid: int, what: str) -> None:
        if self.held(node, vmid):
            raise AgentHeld(
                f"guest {vmid} on {node} is being dumped, so its agent was not asked for {what}",
                "wait until the dump is over; `qm config` on the node shows the guest's lock",
            )


@dataclass(frozen=True, slots=True)
class AgentPort:
    """One guest's agent."""

    agent: Agent
    node: str
    vmid: int

    def ping(self) -> bool:
        """Return whether it answers."""
        return self.agent.ping(self.node, self.vmid)

    def osinfo(self) -> dict[str, Any]:
        """Return what it says of the operating system."""
        return self.agent.osinfo(self.node, self.vmid)

    def exec(self, command: list[str], timeout: float) -> ExecResult:
        """Run a command inside and return what it did."""
        return self.agent.exec(self.node, self.vmid, command, timeout)


def _guest_text(data: str) -> str:
    """Given output where PVE turned each byte into one character, return the text that the guest
    wrote (pve-facts 8.6).
    """
    try:
        return data.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:  # it is text already: a PVE that decodes by itself
        return data
