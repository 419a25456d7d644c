"""What people said of the machines under a VMID, and the tombstones of those that are gone (law 10).

Nothing that was said is ever changed: what is said later counts instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import GUEST_SEEN, LINEAGE_DECISION, TOMBSTONE
from policies.chains import Decision, DecisionKind, Piece, Settled
from policies.lineage import Identity
from policies.model import Guest, GuestType, Release, Tombstone

RELEASE, HOLD = "release", "hold"
_KINDS = tuple(kind.value for kind in DecisionKind)
_TOLD = ("vmid", "missing_since", "newest", "uuid", "born", "macs", "cut", "name", "seen_last")


class LineageRepository:
    """Decisions about lineages, tombstones, and when guests were seen last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def decisions(self, vmid: int | None = None) -> list[Decision]:
        """Return what was said (of one VMID, or of all), oldest first."""
        with self._database.read() as connection:
            return decisions(connection, vmid)

    def told(self, vmid: int, type: GuestType, identity: Identity, at: int) -> Identity:
        """Given a guest and what its config says of its machine at ``at`` (epoch seconds), return
        that with what people said of it.
        """
        # a VM and a container that had one VMID are two machines
        about = [one for one in self.decisions(vmid) if one.type is type]
        return replace(identity, decided=Settled(about).of(identity, at))

    @retried
    def decide(self, made: Sequence[Decision]) -> None:
        """Write down what somebody said of lineages."""
        rows = [
            {
                "vmid": one.vmid,
                "type": one.type and one.type.value,
                "kind": one.kind.value,
                "at": one.at,
                "who": one.who,
                "why": one.why,
                "pieces": {
                    "one": [asdict(piece) for piece in one.one],
                    "other": [asdict(piece) for piece in one.other],
                },
            }
            for one in made
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert(LINEAGE_DECISION), rows)

    @retried
    def tombstones(self, vmid: int | None = None) -> list[Tombstone]:
        """Return the tombstones that stand (of one VMID, or all), by VMID, the oldest first."""
        query = select(TOMBSTONE).where(TOMBSTONE.c.ended_at.is_(None))
        words = select(LINEAGE_DECISION).where(LINEAGE_DECISION.c.kind.in_((RELEASE, HOLD)))
        if vmid is not None:
            query = query.where(TOMBSTONE.c.vmid == vmid)
            words = words.where(LINEAGE_DECISION.c.vmid == vmid)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(TOMBSTONE.c.vmid, TOMBSTONE.c.number)).all()
            released: dict[int, Release] = {}
            for row in connection.execute(words.order_by(LINEAGE_DECISION.c.number)):
                # in the order in which they were said: the later word takes back the earlier
                number = int(row.pieces["tombstone"])
                released.pop(number, None)
                if row.kind == RELEASE:
                    said = row.pieces
                    released[number] = Release(
                        row.at, row.who, row.why, bool(said["wholly"]), bool(said.get("beside"))
                    )
        return [replace(_tombstone(row), released=released.get(row.number)) for row in rows]

    @retried
    def release(self, tombstone: Tombstone, said: Release, *, undo: bool = False) -> None:
        """Write down that somebody let go of a tombstone's archives, or (``undo``) takes that
        back.
        """
        row = {
            "vmid": tombstone.vmid,
            "type": tombstone.type and tombstone.type.value,
            "kind": HOLD if undo else RELEASE,
            "at": said.at,
            "who": said.who,
            "why": said.why,
            "pieces": {
                "tombstone": tombstone.number,
                "wholly": said.wholly,
                "beside": said.beside,
            },
        }
        with self._database.write() as connection:
            connection.execute(insert(LINEAGE_DECISION), [row])

    @retried
    def seen(self) -> dict[int, tuple[GuestType, str, int]]:
        """Return, by VMID, the kind, the name and the time (epoch seconds) with which a guest was
        last in a listing of the whole cluster.
        """
        with self._database.read() as connection:
            return {
                row.vmid: (GuestType(row.type), row.name, row.at)
                for row in connection.execute(select(GUEST_SEEN))
            }

    @repeatable
    def record_look(
        self,
        guests: Collection[Guest],
        at: int,
        *,
        gone: Collection[Tombstone] = (),
        back: Mapping[int, str] | None = None,
    ) -> None:
        """Given the guests that a whole cluster listed at ``at`` (epoch seconds), remember that they
        were seen; set the tombstones of those that are ``gone``, and end those (by number) that are
        ``back``, with why.

        The date of a tombstone that stands only moves back: one that was set while a clock was
        ahead must not keep for ever.
        """
        with self._database.write() as connection:
            standing = connection.execute(select(TOMBSTONE).where(TOMBSTONE.c.ended_at.is_(None)))
            there = {_told(_tombstone(row)) for row in standing}
            # one that stands is not set anew: what was said of it names its number
            new = [one for one in gone if _told(one) not in there]
            if new:
                rows = [
                    {name: getattr(one, name) for name in _TOLD}
                    | {"type": one.type and one.type.value, "ended": ""}
                    for one in new
                ]
                connection.execute(insert(TOMBSTONE), rows)
            for number, why in sorted((back or {}).items()):
                connection.execute(
                    update(TOMBSTONE)
                    # one that has ended keeps the reason that it ended for first
                    .where(TOMBSTONE.c.number == number, TOMBSTONE.c.ended_at.is_(None))
                    .values(ended_at=at, ended=why)
                )
            connection.execute(
                update(TOMBSTONE)
                .where(TOMBSTONE.c.ended_at.is_(None), TOMBSTONE.c.missing_since > at)
                .values(missing_since=at)
            )
            if guests:
                vmids = [guest.vmid for guest in guests]
                # one row a VMID, which is renewed: this is no history
                connection.execute(delete(GUEST_SEEN).where(GUEST_SEEN.c.vmid.in_(vmids)))
                connection.execute(
                    insert(GUEST_SEEN),
                    [
                        {"vmid": one.vmid, "type": one.type.value, "name": one.name, "at": at}
                        for one in guests
                    ],
                )


def decisions(connection: Connection, vmid: int | None = None) -> list[Decision]:
    """Given a connection, return what was said of the lineages of one VMID, or of all, oldest
    first.
    """
    query = select(LINEAGE_DECISION).where(LINEAGE_DECISION.c.kind.in_(_KINDS))
    if vmid is not None:
        query = query.where(LINEAGE_DECISION.c.vmid == vmid)
    return [
        Decision(
            row.vmid,
            GuestType(row.type) if row.type else None,
            DecisionKind(row.kind),
            row.at,
            row.who,
            row.why,
            tuple(Piece(**piece) for piece in row.pieces["one"]),
            tuple(Piece(**piece) for piece in row.pieces["other"]),
        )
        for row in connection.execute(query.order_by(LINEAGE_DECISION.c.number))
    ]


def _tombstone(row: Row[Any]) -> Tombstone:
    return Tombstone(
        type=GuestType(row.type) if row.type else None,
        number=row.number,
        **{name: getattr(row, name) for name in _TOLD},
    )


def _told(one: Tombstone) -> tuple[object, ...]:
    return one.vmid, one.type, one.uuid, one.born, one.macs, one.cut
