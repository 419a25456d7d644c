"""What a restore test remembers, read as evidence, as JSON and as an exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backupsvc.errors import BackupsvcError, NoRoom, NotTheCopy, PveError, TaskFailed
from backupsvc.operations import identity as lineages
from backupsvc.operations.restore_test import reading, settling
from policies import causes, silence, verdict
from policies.causes import Blame, Cause
from policies.check_levels import NETWORK_KINDS
from policies.model import Archive, CheckResult, Operation, Outcome, Proof, Rung, Verdict

if TYPE_CHECKING:
    from backupsvc.engine.context import Run

_BY_KIND = {NoRoom.__name__: Cause.CAPACITY, NotTheCopy.__name__: Cause.NETWORK}


def evidence(data: Mapping[str, Any], archive: Archive) -> verdict.Evidence:
    """Given what an operation remembers, return it as the evidence that the verdict is decided on."""
    error = data.get("error")
    found = _blame(data)
    against = found if found and found.cause.against_the_archive else None
    done = data.get("seconds", {})
    restored = "restore" in done and not (error and error["step"] == "restore")
    wrong = tuple(data.get("wrong", ())) or ((lineages.was_changed(archive),) if archive.changed else ())
    bytes_read = reading.seen(data, archive)
    doubts = _doubts(data)
    return verdict.Evidence(
        simulated=bool(data.get("simulated")),
        compressed_checksum=bytes_read.checksummed,
        verified_intact=False if against and against.damaged else bytes_read.intact,
        restored=restored,
        restore_error=error["message"] if error and against and not wrong else None,
        cause=found.cause if found else None,
        isolation_ok="isolate" in done and not (error and error["step"] in ("isolate", "start")),
        settled=settling.kept(data),
        wanted_rung=Rung(data.get("wanted_rung", Rung.HEALTHY)),
        booted=None if doubts and data.get("life") == "network" else data.get("booted"),
        checks=silence.discounted(results_of(data), doubts),
        answers=doubts,
        missing_disks=tuple(data.get("missing_disks", ())),
        warnings=(error["message"],) if error and not against else (),
        wrong=wrong,
        basis=bytes_read.basis,
        unread=bytes_read.unread,
    )


def _blame(data: Mapping[str, Any]) -> Blame | None:
    """Who is to blame for the error that ended the test: what PVE said while the archive was read, else the platform."""
    error = data.get("error")
    if not error:
        return None
    kept = data.get("blame")
    if (
        kept
        and error["step"] in ("choose", "begin", "read", "restore")
        and error["kind"] in ("PveError", "TaskFailed", "ArchiveError")
    ):
        return Blame(Cause(kept["cause"]), kept["text"], kept["damaged"])
    return Blame(_BY_KIND.get(error["kind"], Cause.PLATFORM))


def _doubts(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Why it is not certain that what answered was the copy; nothing of a copy that was never started."""
    if "start" not in data.get("seconds", {}) or (data.get("error") or {}).get("step") == "start":
        return ()
    passed = any(one.kind in NETWORK_KINDS and one.outcome is Outcome.PASSED for one in results_of(data))
    return silence.doubts(data.get("silence"), answered=passed, ended_early=bool(data.get("error")))


def results_of(data: Mapping[str, Any]) -> tuple[CheckResult, ...]:
    """Given what an operation remembers, return its check results."""
    found = data.get("checks", {}).values()
    return tuple(CheckResult(r["name"], Outcome(r["outcome"]), r["detail"], r["seconds"], r["kind"]) for r in found)


@contextmanager
def blaming(run: Run) -> Iterator[None]:
    """Keep in an operation's memory who is to blame for what PVE says inside, by its words and by its task's log."""
    run.data.pop("blame", None)
    try:
        yield
    except PveError as error:
        log = error.log if isinstance(error, TaskFailed) else ()
        run.data["blame"] = asdict(causes.blame(error.text or error.message, log))
        raise


def node_to_avoid(proofs: Sequence[Proof]) -> str | None:
    """Given a guest's proofs, the newest first, return the node on which the last test could not be decided, if it lay there."""
    if not proofs or proofs[0].verdict is not Verdict.INCONCLUSIVE or proofs[0].cause is None:
        return None
    return proofs[0].scratch_node if Cause(proofs[0].cause).of_the_place else None


def outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended restore test, return what ``restore-test --json`` prints. Seconds are wall time, sizes bytes."""
    data: Any = operation.data
    proof = data.get("proof") or {}
    error = data.get("cleanup_error") or data.get("error")
    return {
        "operation": operation.id,
        "vmid": operation.subject,
        "archive": data.get("archive"),
        "scratch": {key: (data.get("scratch") or {}).get(key) for key in ("vmid", "node")},
        "verdict": proof.get("verdict", str(Verdict.INCONCLUSIVE)),
        "rung": proof.get("rung", str(Rung.RECORDED)),
        "reasons": proof.get("reasons", []),
        "cause": proof.get("cause"),
        "stages": [{"name": name, "seconds": value} for name, value in (data.get("seconds") or {}).items()],
        "checks": [
            {"name": r.name, "outcome": str(r.outcome), "detail": r.detail, "seconds": r.seconds} for r in results_of(data)
        ],
        "settle": data.get("settled"),
        "isolation": (data.get("isolation") or {"stripped": [], "asserted": []})
        | ({"silence": data["silence"]} if data.get("silence") else {}),
        "rto_seconds": proof.get("rto"),
        "error": {key: error[key] for key in ("step", "message", "hint", "exit_code")} if error else None,
    }


def failed_hard(operation: Operation) -> BackupsvcError | None:
    """Given an ended restore test, return the error when it could not be carried out at all (exit code 3 or 4), else None."""
    error: Any = operation.data.get("error")
    if not error or error["exit_code"] not in (3, 4):
        return None
    found = BackupsvcError(error["message"], error["hint"])
    found.exit_code = error["exit_code"]
    return found
