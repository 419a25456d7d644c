"""From what went wrong on the wire to the error tree, with PVE's own text and the reader's next
action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from backupsvc.errors import (
    BackupsvcError,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    PveTokenRefused,
    PveUnreachable,
)
from policies.pve import texts

# pveproxy's pseudo codes when it cannot reach a call's node, and a proxy's or a restarting daemon's
# (pve-facts 1.6)
NODE_SILENT = frozenset(range(595, 600))
NO_CONNECTION = 595  # among them: no way to the node, or nobody who listens there
ABOUT_SILENT_NODE = (
    "is the node up, and are pveproxy and pvedaemon running there? `pvecm nodes` shows who is in "
    "the cluster"
)
GATEWAY = frozenset({502, 503, 504})

# PVE's words -> what to do. The first that matches wins.
_HINTS: tuple[tuple[texts.Text, str], ...] = (
    (
        texts.ABOUT_QUORUM,
        "the cluster has lost quorum, so it refuses every change: bring a node or a QDevice back "
        "(pvecm status)",
    ),
    (
        texts.ABOUT_NODE,
        "the cluster has no node of that name: see `pvecm nodes`, and the policy's node names",
    ),
    (
        texts.ABOUT_LOCK,
        "another task holds the guest: wait for it, or see /etc/pve/qemu-server on the node (qm "
        "unlock)",
    ),
    (texts.ABOUT_VMID, "the VMID is taken: choose another one"),
    *((text, "free space on the storage, or choose another one") for text in texts.FULL),
    (
        texts.ABOUT_DIGEST,
        "somebody else changed the guest's configuration meanwhile: run the command again",
    ),
    (
        texts.ABOUT_TIMEOUT,
        "the node was too busy or another task held the lock: run the command again",
    ),
    (texts.ABOUT_AGENT, "install and enable the QEMU guest agent in the guest"),
    (
        texts.ABOUT_CONFIG,
        "that node has no such guest: it has moved, was deleted, or never was there",
    ),
    (texts.ABOUT_VOLUME, "that archive is gone: list the archives anew"),
    (texts.ABOUT_STORAGE, "correct the storage's name in the policy, or create it in PVE"),
    (texts.ABOUT_STORAGE_OFF, "enable the storage on that node, or name another one in the policy"),
)


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """An HTTP answer of 400 or more. ``reason`` is the status line's text, ``message`` the JSON
    body's (PVE 8.3 and later).
    """

    status: int
    reason: str
    message: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, reason: str, body: Mapping[str, Any]) -> BadAnswer:
        """Given a status line and the JSON body, as far as there is one, return the answer."""
        named = body.get("errors")
        texts_of = named.items() if isinstance(named, dict) else ()
        errors = {str(name): str(text) for name, text in texts_of}
        return cls(status, reason, str(body.get("message") or ""), errors)

    @property
    def text(self) -> str:
        """PVE's own words, on one line: the longer of its two places, and each parameter's
        error.
        """
        # the reason phrase is cut at the first line feed, the body's message is whole
        # (pve-facts 1.3, 1.8)
        said = (self.message or self.reason).strip()
        details = [
            f"{name}: {text.strip()}"
            for name, text in self.errors.items()
            if text.strip() not in said
        ]
        return "; ".join(" ".join(part.split()) for part in [said, *details])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked what of whom: ``call`` is like ``GET /version``; ``token`` is the token's id, never
    its secret.
    """

    host: str
    token: str
    call: str

    @property
    def node(self) -> str:
        """The node that must answer it, "" if any will do."""
        parts = self.call.partition(" ")[2].strip("/").split("/")
        return parts[1] if parts[0] == "nodes" and len(parts) > 1 else ""

    @property
    def about_agent(self) -> bool:
        """Whether the call goes into a guest, through its agent."""
        return "/agent/" in self.call


def error_for(answer: BadAnswer, caller: Caller) -> BackupsvcError:
    """Given an answer and who asked, return the error to raise."""
    if answer.status == 401:
        return PveTokenRefused(
            f"{caller.host} does not accept the token {caller.token}: "
            f"{answer.text or 'no reason given'}",
            "check BACKUPSVC_PVE__TOKEN (user@realm!name=secret): does the token exist, is it "
            "expired, is its secret right? `pveum user token list USER` shows a user's tokens",
        )
    if answer.status == 403:
        # no role helps here: what is root@pam's alone is given to no token (pve-facts 1.9)
        if texts.NO_TOKEN_CALL.search(answer.text):
            hint = "PVE gives this call to no API token at all"
        elif texts.DENIED_BARE.search(answer.text) or texts.PRIVILEGE.search(answer.text):
            hint = grant_for(answer.text, caller.token)
        else:
            hint = "correct what PVE names there, or give the token's role more rights"
        return PvePermissionDenied(
            f"{caller.host} forbids {caller.call} to the token {caller.token}: {answer.text}", hint
        )
    if unreachable(answer, caller):
        return PveUnreachable(
            f"{caller.host} could not get an answer to {caller.call}: {answer.status} "
            f"{answer.text}",
            ABOUT_SILENT_NODE,
            node=caller.node if answer.status in NODE_SILENT else "",
        )
    kind = PveNotFound if texts.MISSING.search(answer.text) else PveError
    return kind(
        f"{caller.host} refused {caller.call}: {answer.text or f'status {answer.status}'}",
        hint_for(answer.text)
        or "if PVE's words do not tell, `journalctl -u pvedaemon -u pveproxy` on the node may",
        status=answer.status,
        text=answer.text,
        errors=dict(answer.errors) or parameter_errors(answer.message),
    )


def unreachable(answer: BadAnswer, caller: Caller) -> bool:
    """Given an answer of 400 or more and who asked, return whether it says that nobody answered.

    596 on an agent call mostly does not: as ``Broken pipe`` an agent's text with a character above
    U+00FF arrives. A node that cannot be connected to, or takes a call and says nothing, is silent
    there too, and no guest's agent (pve-facts 1.6, 1.7).
    """
    if answer.status in NODE_SILENT and caller.about_agent:
        return (
            answer.status == NO_CONNECTION
            or texts.CONNECTION_TIMED_OUT.search(answer.reason) is not None
        )
    return answer.status in GATEWAY or answer.status in NODE_SILENT


def parameter_errors(message: str) -> dict[str, str]:
    """Given the message of a 400 that PVE nested in a 500, return the parameters it names
    (pve-facts 1.5).
    """
    lines = message.splitlines()
    if not lines or not texts.PARAMETERS_NESTED.search(lines[0]):
        return {}
    return {
        name: text.strip()
        for name, colon, text in (line.partition(":") for line in lines[1:])
        if colon
    }


def grant_for(text: str, token: str) -> str:
    """Given PVE's words and the token, return how to grant what is missing; a privilege-separated
    token needs it twice.
    """
    # the one 403 without a path: creating or restoring a guest (pve-facts 1.3)
    path, privilege = "/vms", "VM.Allocate"
    if found := texts.PRIVILEGE.search(text):
        path, privilege = found[1], found[2].replace("|", " or ")
    # law 2: which bridge a token may use is never answered with the one that it was refused
    if privilege == "SDN.Use":
        return (
            "give no everyday token a production bridge: `backupsvc doctor` names the bridge for "
            "copies and what the token lacks on it; a lost guest is brought back by a second token "
            "(`backupsvc doctor --role --restore BRIDGE`)"
        )
    user = token.partition("!")[0]
    return (
        f"give a role with {privilege} on {path} (or above it) to the user and to its token: "
        f"pveum acl modify {quote(path)} --users '{user}' --tokens '{token}' --roles ROLE"
    )


def hint_for(text: str) -> str:
    """Given PVE's words, return the next action, "" if they are not known."""
    return next((hint for known, hint in _HINTS if known.search(text)), "")
