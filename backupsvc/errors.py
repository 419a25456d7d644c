"""Everything that can go wrong, as one tree. Catch the base that says what you mean.

    BackupsvcError                  base; carries .hint (the reader's next action), .exit_code and .kind
    ├── UsageError                  wrong usage, settings or policy                                   exit 2
    ├── Unreachable                 a system that is needed cannot be reached                         exit 3
    │   ├── PveUnreachable          no answer: refused, timed out, no such host, 595-599; carries .node
    │   ├── PveAnswerUnreadable     what answered is of another type than PVE's API says: nothing is concluded from it
    │   ├── OutOfReach              what is needed lies on a node or a storage that is known not to answer: no use to ask again
    │   ├── PveCertificateRefused   the server's certificate is not the one that was pinned
    │   ├── CatalogUnreachable      the catalog's database does not open
    │   │   └── CatalogCut          it was lost in mid-transaction; carries .undone: certainly nothing was written
    │   ├── RemoteUnreachable       SSH to a node, to the probe or to a copy's target failed
    │   └── TargetMissing           the folder that copies go to is not there, or no disk is mounted at it
    ├── Refused                     refused by a law or a permission                                  exit 4
    │   ├── LawRefused              one of the ten laws forbids it; carries .law
    │   ├── PveTokenRefused         401: the token or ticket is not accepted
    │   ├── PvePermissionDenied     403: the token lacks a privilege; carries PVE's own text
    │   ├── SshRefused              a host key is not the known one, or the login is not accepted
    │   ├── NoRoom                  there is no room for what is to be restored or copied
    │   └── TargetRefused           the folder that copies go to does not let us do something there
    ├── PveError                    PVE answered with an error; carries .status, .text and .errors    exit 1
    │   ├── PveNotFound             the guest, archive, task or storage does not exist
    │   ├── AgentHeld               a guest's agent is not asked, because a dump of the guest runs
    │   └── TaskFailed              a PVE task ended badly; carries .upid, .exitstatus and .log
    ├── CopyError                   a copy did not come to be, or is not what was sent                exit 1
    ├── ArchiveError                an archive cannot be read; carries .offset when it is known       exit 1
    └── OperationFailed             an operation ended without its result; carries .operation         exit 1
        ├── NotTheCopy              an address is not the copy's alone: what answers there proves nothing
        └── LeaseLost               another process drives the operation by now; nothing was written

    policies.model.PolicyError      a policy is wrong (below this package, so outside the tree)       exit 2

``kind`` is what the catalog keeps of an error's class: each class, here and elsewhere, names one of
its own.

A message says what happened and to which guest, archive or node; a hint says what to do. Neither
ever holds a secret (law 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.error_kinds import ErrorKind


class BackupsvcError(Exception):
    """Base of all errors that the service raises on purpose."""

    kind = ErrorKind.ANY
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class UsageError(BackupsvcError):
    """The command line, the settings or the policy are wrong."""

    kind = ErrorKind.USAGE
    exit_code = 2


class Unreachable(BackupsvcError):
    """A system that is needed cannot be reached."""

    kind = ErrorKind.UNREACHABLE
    exit_code = 3


class PveUnreachable(Unreachable):
    """The cluster's API does not answer. ``node`` is the node that is silent, where it is known
    that the fault is one node's.
    """

    kind = ErrorKind.PVE_UNREACHABLE

    def __init__(self, message: str, hint: str = "", *, node: str = "") -> None:
        super().__init__(message, hint)
        self.node = node


class PveAnswerUnreadable(Unreachable):
    """What answered is no answer of the API: it names the call, the key, what should stand there
    and what does.
    """

    kind = ErrorKind.PVE_ANSWER_UNREADABLE


class OutOfReach(Unreachable):
    """An archive lies where nothing answers: it is not gone, and asking again at once is of no
    use.
    """

    kind = ErrorKind.OUT_OF_REACH


class PveCertificateRefused(Unreachable):
    """The API's certificate is not trusted, so nothing was sent."""

    kind = ErrorKind.PVE_CERTIFICATE_REFUSED


class CatalogUnreachable(Unreachable):
    """The catalog's database cannot be opened."""

    kind = ErrorKind.CATALOG_UNREACHABLE


class CatalogCut(CatalogUnreachable):
    """The catalog was lost in mid-transaction. ``undone``: certainly nothing of it was written;
    else nobody knows.
    """

    kind = ErrorKind.CATALOG_CUT

    def __init__(self, message: str, hint: str = "", *, undone: bool = True) -> None:
        super().__init__(message, hint)
        self.undone = undone


class RemoteUnreachable(Unreachable):
    """SSH to a node, to the probe or to a copy's target failed."""

    kind = ErrorKind.REMOTE_UNREACHABLE


class TargetMissing(Unreachable):
    """The folder that copies go to is not there, or no disk is mounted at it: nothing was
    written.
    """

    kind = ErrorKind.TARGET_MISSING


class Refused(BackupsvcError):
    """A law or a permission forbids it."""

    kind = ErrorKind.REFUSED
    exit_code = 4


class LawRefused(Refused):
    """One of the ten laws forbids the step; nothing was changed."""

    kind = ErrorKind.LAW_REFUSED

    def __init__(self, law: int, message: str, hint: str = "") -> None:
        super().__init__(f"{message} (law {law})", hint)
        self.law = law


class NoRoom(Refused):
    """There is no room, or no VMID, for what is to be restored at this moment; or none for a copy
    at its target.
    """

    kind = ErrorKind.NO_ROOM


class PveTokenRefused(Refused):
    """PVE does not accept the token."""

    kind = ErrorKind.PVE_TOKEN_REFUSED


class PvePermissionDenied(Refused):
    """The token lacks a privilege for this call."""

    kind = ErrorKind.PVE_PERMISSION_DENIED


class SshRefused(Refused):
    """A machine shows another SSH host key than the known one, or does not accept our login.
    Waiting changes neither.
    """

    kind = ErrorKind.SSH_REFUSED


class TargetRefused(Refused):
    """The folder that copies go to does not let our login do something there. Waiting does not
    change that.
    """

    kind = ErrorKind.TARGET_REFUSED


class PveError(BackupsvcError):
    """PVE answered with an error of its own.

    ``status`` is the HTTP status, ``text`` PVE's own words, ``errors`` its map of parameter errors.
    """

    kind = ErrorKind.PVE

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int = 0,
        text: str = "",
        errors: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status, self.text, self.errors = status, text, dict(errors or {})


class PveNotFound(PveError):
    """What was asked for does not exist."""

    kind = ErrorKind.PVE_NOT_FOUND


class AgentHeld(PveError):
    """A dump of the guest runs, so its agent was not asked: a question between freeze and thaw may
    upset both.
    """

    kind = ErrorKind.AGENT_HELD


class TaskFailed(PveError):
    """A PVE task ended with anything but OK or warnings."""

    kind = ErrorKind.TASK_FAILED

    def __init__(
        self, message: str, hint: str = "", *, upid: str, exitstatus: str, log: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint, text=exitstatus)
        self.upid, self.exitstatus, self.log = upid, exitstatus, tuple(log)


class CopyError(BackupsvcError):
    """A copy did not come to be: the target lost or changed bytes, broke its word, or has something
    else under the name.
    """

    kind = ErrorKind.COPY


class ArchiveError(BackupsvcError):
    """An archive cannot be read. ``offset`` is where, in bytes of the VMA or tar stream, when it is
    known.
    """

    kind = ErrorKind.ARCHIVE

    def __init__(self, message: str, hint: str = "", *, offset: int | None = None) -> None:
        super().__init__(message, hint)
        self.offset = offset


class OperationFailed(BackupsvcError):
    """An operation ended without its result. ``operation`` is its id, for ``backupsvc operations
    show``.
    """

    kind = ErrorKind.OPERATION_FAILED

    def __init__(self, message: str, hint: str = "", *, operation: str = "") -> None:
        super().__init__(message, hint)
        self.operation = operation


class NotTheCopy(OperationFailed):
    """Somebody else answers at the address of a copy, or the probe cannot tell the copy there from
    others.
    """

    kind = ErrorKind.NOT_THE_COPY


class LeaseLost(OperationFailed):
    """Another process drives the operation by now, or it has ended: this one must not touch it any
    more.
    """

    kind = ErrorKind.LEASE_LOST
