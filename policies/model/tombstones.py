"""What remains of machines that are gone from the cluster, and what people said of it."""

from __future__ import annotations

from dataclasses import dataclass

from policies.model.cluster import GuestType


@dataclass(frozen=True, slots=True)
class Release:
    """That ``who`` let go of a tombstone's archives at ``at`` (epoch seconds). ``wholly``: its time
    was over by then, so also of those that it kept; else only of what it holds beyond them.
    ``beside``: a guest stood there of which nothing told whether it is the same, so that they went
    to the rules by which that one's go.
    """

    at: int
    who: str
    why: str
    wholly: bool
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A machine that was under ``vmid`` and is gone from the cluster, told by what the config in
    its newest archive says (``uuid``, ``born``, ``macs``, ``cut`` as in a Piece of policies.chains).

    Times in epoch seconds: ``missing_since`` when a cluster that answered whole first lacked it,
    ``seen_last`` when one last had it (None: never by this catalog), ``newest`` when its newest
    archive was made. ``released`` None: nobody has let go of it. ``doubt`` says why it is not sure
    at this moment that it is gone, "" where it is; ``standing``: because a guest of its kind is
    there, and nothing tells whether that is the same machine. ``number`` is its row.
    """

    vmid: int
    type: GuestType | None
    missing_since: int
    newest: int
    uuid: str | None = None
    born: int | None = None
    macs: str = ""
    cut: int = 0
    name: str = ""
    seen_last: int | None = None
    released: Release | None = None
    doubt: str = ""
    standing: bool = False
    number: int = 0
