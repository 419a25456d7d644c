"""Select the proofs that still hold: a proof is of one archive, in its place and with its bytes,
and ends with it (law 5).

An archive that is gone, that was changed since, or that a later test found to be bad proves nothing
any more: neither how much would be lost, nor how long a restore takes, nor when that was last
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from policies import lineage, whole
from policies.model import Archive, Proof, Rung, Verdict

Key = tuple[str, str, int]  # (node, volid, ctime); the node is "" on a shared storage


def good(proof: Proof, wanted: Rung = Rung.HEALTHY) -> bool:
    """Given a restore test and the rung that its guest's tier wants, return whether it proved its
    archive when it was run.
    """
    return proof.verdict is Verdict.PROVEN and proof.rung.height >= wanted.height


def valid_proofs(
    proofs: Iterable[Proof],
    archives: Sequence[Archive],
    wanted: Callable[[int], Rung] = lambda vmid: Rung.HEALTHY,
) -> tuple[Proof, ...]:
    """Given restore tests and the archives that are listed, as the catalog knows them, return the
    good ones that still hold.

    Oldest backup first. ``wanted`` says of a VMID which rung proves it. Where the catalog says that
    an archive is unproven (it withdraws a proof when the size or the time listed for it changes, or
    when a later test fails), no test of it counts. Nor does one of a changed archive, or of another
    machine.
    """
    others = lineage.others(archives)
    unchanged = (
        one for one in archives if one.size > 0 and not one.unfit and whole.key(one) not in others
    )
    proven = {
        ("" if one.shared else one.node, one.volid, one.ctime)
        for one in unchanged
        if one.proven_at is not None
    }
    shared = {(archive.volid, archive.ctime) for archive in archives if archive.shared}
    tests: list[tuple[Key, Proof]] = []
    # A failure counts against proofs of that very archive that ended before it, never against
    # another's.
    failed: dict[Key, int] = {}
    for proof in proofs:
        # On a shared storage it is the same archive from whichever node it was restored.
        node = "" if (proof.volid, proof.archive_ctime) in shared else proof.node
        key = (node, proof.volid, proof.archive_ctime)
        tests.append((key, proof))
        if proof.verdict is Verdict.FAILED:
            failed[key] = max(failed.get(key, 0), proof.ended)
    found = [
        proof
        for key, proof in tests
        if good(proof, wanted(proof.vmid)) and key in proven and proof.ended > failed.get(key, -1)
    ]
    return tuple(sorted(found, key=lambda proof: (proof.archive_ctime, proof.ended)))
