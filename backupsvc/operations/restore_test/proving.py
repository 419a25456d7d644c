"""What a restore test remembers, read as evidence, as JSON and as an exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from backupsvc.errors import BackupsvcError, PveError, TaskFailed
from backupsvc.inventory.listing import as_dict
from backupsvc.operations import identity as lineages
from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.restore_test import reading, settling
from backupsvc.operations.restore_test.memory import RestoreTestMemory, recall
from backupsvc.operations.services import Run
from policies import causes, silence, verdict
from policies.bookkeeping import Bookkeeping
from policies.causes import Blame, Cause
from policies.check_kinds import NETWORK_KINDS
from policies.error_kinds import ErrorKind
from policies.model import Archive, CheckResult, Operation, Outcome, Proof, Rung, Stage, Verdict

_CAUSES = {ErrorKind.NO_ROOM: Cause.CAPACITY, ErrorKind.NOT_THE_COPY: Cause.NETWORK}
# they may be the archive's fault
_OF_ARCHIVE = frozenset({ErrorKind.PVE, ErrorKind.TASK_FAILED, ErrorKind.ARCHIVE})


def evidence(memory: RestoreTestMemory, book: Bookkeeping, archive: Archive) -> verdict.Evidence:
    """Given what a restore test remembers, and its archive as the catalog knows it now, return the
    evidence of its verdict.
    """
    error = book.error
    found = None
    if error:
        told = memory.blame if error.kind in _OF_ARCHIVE else None
        # what PVE said counts only where the archive was read: the platform is to blame else
        read = book.failed_at("choose", "begin", "read", "restore")
        found = told if told and read else Blame(_CAUSES.get(error.kind, Cause.PLATFORM))
    against = found if found and found.cause.against_the_archive else None
    restored = "restore" in book.seconds and not book.failed_at("restore")
    wrong = memory.wrong or ((lineages.was_changed(archive),) if archive.changed else ())
    bytes_read = reading.seen(memory, archive)
    doubts: tuple[str, ...] = ()
    if "start" in book.seconds and not book.failed_at("start"):  # else nothing of it can answer
        passed = any(
            one.kind in NETWORK_KINDS and one.outcome is Outcome.PASSED
            for one in results_of(memory)
        )
        doubts = silence.doubts(memory.silence, answered=passed, ended_early=error is not None)
    return verdict.Evidence(
        simulated=memory.simulated,
        compressed_checksum=bytes_read.checksummed,
        verified_intact=False if against and against.damaged else bytes_read.intact,
        restored=restored,
        restore_error=error.message if error and against and not wrong else None,
        cause=found.cause if found else None,
        isolation_ok="isolate" in book.seconds and not book.failed_at("isolate", "start"),
        settled=settling.kept(memory),
        wanted_rung=memory.wanted_rung,
        # what answered over the network may have been somebody else
        booted=None if doubts and memory.life == "network" else memory.booted,
        checks=silence.discounted(results_of(memory), doubts),
        answers=doubts,
        missing_disks=memory.missing_disks,
        warnings=(error.message,) if error and not against else (),
        wrong=wrong,
        basis=bytes_read.basis,
        unread=bytes_read.unread,
    )


def results_of(memory: RestoreTestMemory) -> tuple[CheckResult, ...]:
    """Given what a restore test remembers, return its check results."""
    return tuple(memory.checks.values())


def proof_of(run: Run[RestoreTestMemory], judgement: verdict.Judgement) -> Proof:
    """Given a restore test that has ended, and what its evidence comes to, return the proof."""
    memory, archive, scratch = run.memory, run.memory.chosen, run.memory.scratch
    return Proof(
        operation=run.id,
        vmid=run.vmid,
        volid=archive.volid,
        node=archive.node,
        archive_ctime=archive.ctime,
        verdict=judgement.verdict,
        rung=judgement.rung,
        started=int(run.book.entered["choose"].wall),
        ended=run.now(),
        # a time to recover is told of what was proven alone
        rto=memory.rto if judgement.verdict is Verdict.PROVEN else None,
        stages=tuple(Stage(name, value) for name, value in run.book.seconds.items()),
        checks=results_of(memory),
        stripped=memory.isolation.stripped,
        asserted=(*memory.isolation.asserted, *silence.evidence(memory.silence)),
        reasons=judgement.reasons,
        scratch_vmid=scratch.vmid if scratch else None,
        scratch_node=scratch.node if scratch else None,
        cause=str(judgement.cause) if judgement.cause else None,
    )


@contextmanager
def blaming(run: Run[RestoreTestMemory]) -> Iterator[None]:
    """Keep in an operation's memory who is to blame for what PVE says inside, by its words and by
    its task's log.
    """
    # what an earlier step was blamed with must not stand for this one
    run.memory = replace(run.memory, blame=None)
    try:
        yield
    except PveError as error:
        log = error.log if isinstance(error, TaskFailed) else ()
        run.memory = replace(run.memory, blame=causes.blame(error.text or error.message, log))
        raise


def node_to_avoid(proofs: Sequence[Proof]) -> str | None:
    """Given a guest's proofs, the newest first, return the node on which the last test could not be
    decided, if it lay there.
    """
    # only the last one: a node that failed once, and did well since, is avoided no more
    if not proofs or proofs[0].verdict is not Verdict.INCONCLUSIVE or proofs[0].cause is None:
        return None
    return proofs[0].scratch_node if Cause(proofs[0].cause).of_the_place else None


def outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended restore test, return what ``restore-test --json`` prints. Seconds are wall
    time, sizes bytes.
    """
    memory, book = recall(operation), operation.book
    proof, settled = memory.proof, memory.settled
    isolated: dict[str, Any] = {
        "stripped": list(memory.isolation.stripped),
        "asserted": list(memory.isolation.asserted),
    }
    if heard := memory.silence:
        looks: dict[str, Any] = {
            phase: asdict(look) | {"verdict": str(look.verdict), "holds": holds}
            for phase, (look, holds) in heard.looks.items()
        }
        known = {"since": heard.since, "before": looks.get("before"), "last": heard.last or None}
        known |= {phase: looks.get(phase) for phase in ("while", "after")}
        told = {key: value for key, value in known.items() if value is not None}
        isolated["silence"] = {"address": heard.address, "ports": list(heard.ports)} | told
    return {
        "operation": operation.id,
        "vmid": operation.subject,
        "archive": as_dict(memory.archive) if memory.archive else None,
        "scratch": {key: getattr(memory.scratch, key, None) for key in ("vmid", "node")},
        "verdict": str(proof.verdict if proof else Verdict.INCONCLUSIVE),
        "rung": str(proof.rung if proof else Rung.RECORDED),
        "reasons": list(proof.reasons) if proof else [],
        "cause": str(proof.cause) if proof and proof.cause else None,
        "stages": [{"name": name, "seconds": value} for name, value in book.seconds.items()],
        "checks": [
            {"name": r.name, "outcome": str(r.outcome), "detail": r.detail, "seconds": r.seconds}
            for r in results_of(memory)
        ],
        "settle": {
            "seconds": memory.settle_seconds,
            "outcome": str(settled.outcome),
            "said": list(settled.said),
            "cause": str(settled.cause) if settled.cause else None,
        }
        if settled
        else None,
        "isolation": isolated,
        "rto_seconds": proof.rto if proof else None,
        "error": error_as_dict(book.worst),
    }


def failed_hard(operation: Operation) -> BackupsvcError | None:
    """Given an ended restore test, return the error when it could not be carried out at all (exit
    code 3 or 4), else None.
    """
    error = operation.book.error
    if error is None or error.exit_code not in (3, 4):
        return None
    found = BackupsvcError(error.message, error.hint)
    found.exit_code = error.exit_code
    return found
