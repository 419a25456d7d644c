"""What the catalog knows of proofs: every restore test's result, append-only, and what it says of
the archive.
"""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog.archive_rows import find, lift, withdraw
from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.rows import proof_of, proof_row
from backupsvc.catalog.tables import PROOF
from policies.model import Proof, Verdict


class ProofRepository:
    """The catalog's proofs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def record(self, proof: Proof) -> bool:
        """Given what a restore test found, record it and raise its archive's rung; only a proven
        verdict moves the date of proof.

        A failed test withdraws what an earlier one had proven of the archive (the history keeps
        both): what fails today is not what law 3 must hold on to. A simulated test says nothing
        about the archive (law 5). Return False, and change nothing,
        if that operation has already recorded its proof of that archive: a step that is resumed
        after a crash records once. An archive that the catalog does not know is no obstacle to
        keeping its proof.
        """
        try:
            with self._database.write() as connection:
                connection.execute(insert(PROOF).values(proof_row(proof)))
                row = find(connection, proof.node, proof.volid)
                # The proof is kept in any case. It says nothing of another file that has the name
                # by now, nor against what was found after it.
                same = (
                    row is not None
                    and row.ctime == proof.archive_ctime
                    and proof.ended >= (row.rung_at or 0)
                )
                if row is not None and same and proof.verdict is not Verdict.SIMULATED:
                    if proof.verdict is Verdict.FAILED:
                        withdraw(connection, row, proof.rung, proof.ended)
                    else:
                        lift(
                            connection,
                            row,
                            proof.rung,
                            proof.ended,
                            proven=proof.verdict is Verdict.PROVEN,
                        )
        # the operation and its archive are unique: an earlier try of this step wrote it
        except IntegrityError:
            return False
        return True

    @retried
    def find(
        self,
        *,
        vmid: int | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> list[Proof]:
        """Return the proofs of a guest (None: of all) that ended in [``since``, ``until``) in epoch
        seconds, newest first.
        """
        query = select(PROOF).order_by(PROOF.c.ended.desc(), PROOF.c.number.desc()).limit(limit)
        if vmid is not None:
            query = query.where(PROOF.c.vmid == vmid)
        if since is not None:
            query = query.where(PROOF.c.ended >= since)
        if until is not None:
            query = query.where(PROOF.c.ended < until)
        with self._database.read() as connection:
            return [proof_of(row) for row in connection.execute(query)]
