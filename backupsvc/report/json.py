"""The report, and the shorter status, as JSON values. Times are ISO 8601 in UTC, durations seconds,
sizes bytes.
"""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.inventory import departed
from backupsvc.report import failovers
from backupsvc.report.document import Document, GuestLine
from policies.compliance.facts import BroughtBack
from policies.model import Exemption, Proof


def status(document: Document) -> dict[str, Any]:
    """Given a report, return what ``pra status --json`` prints."""
    return {
        "site": document.policy.site,
        "cluster": document.facts.cluster,
        "at": iso(document.generated_at),
        "simulated": document.facts.simulated,
        "status": document.status,
        "guests": [_guest(line) for line in document.guests],
        "findings": [
            {
                "id": line.finding.id,
                "severity": str(line.finding.severity),
                "subject": line.finding.subject,
                "vmid": line.finding.vmid,
                "detail": line.finding.detail,
                "action": line.finding.action,
                "under": line.finding.under or None,
                "exemption": _exemption(line.exemption) if line.exemption else None,
            }
            for line in document.findings
        ],
        "tombstones": [departed.as_dict(one) for one in document.facts.tombstones],
        "gaps": [
            {"kind": gap.kind, "subject": gap.subject, "text": gap.text, "reason": gap.reason}
            for gap in document.gaps
        ],
    }


def full(document: Document) -> dict[str, Any]:
    """Given a report, return all of it."""
    period = document.period
    return status(document) | {
        "month": period.month,
        "period": {
            "start": iso(period.start),
            "end": iso(period.end),
            "over": period.over,
            "timezone": document.policy.timezone,
        },
        "generated_at": iso(document.generated_at),
        "language": document.language,
        "versions": {"backupsvc": document.version, "pve": document.facts.release},
        "policy": {"source": document.policy.source, "sha256": document.policy.digest},
        "totals": totals(document),
        "proofs": [_proof(proof) for proof in document.proofs],
        "restores": [_restore(one) for one in document.restores],
        "failovers": failovers.as_dict(document.failovers) if document.failovers else None,
        "exemptions": [
            _exemption(line.exemption) | {"expired": line.expired} for line in document.exemptions
        ],
        "losses": [
            {
                "nodes": sorted(found.loss.nodes),
                "recoverable": [one.vmid for one in found.guests if one.recoverable],
                "unknown": [one.vmid for one in found.guests if one.recoverable is None],
                "not_recoverable": [one.vmid for one in found.guests if one.recoverable is False],
                "critical_tiers": list(found.critical),
                "critical_well": found.well,
                "quorate": found.quorum.quorate,
                "serial_seconds": found.serial,
                "parallel_seconds": found.parallel,
                "unmeasured": list(found.unmeasured),
            }
            for found in document.losses()
        ],
        "limits": list(document.limits),
    }


def totals(document: Document) -> dict[str, int]:
    """Given a report, return the numbers of its first page."""
    return {
        "guests": len(document.guests),
        "proven_in_time": document.met("proof"),
        "rpo_met": document.met("rpo"),
        "rto_met": document.met("rto"),
        "backups_due": sum(line.due for line in document.guests),
        "backups_taken": sum(line.taken for line in document.guests),
        "backups_failed": sum(line.failed for line in document.guests),
        "restore_tests": len(document.proofs),
        "restores": len(document.restores),
    }


def _guest(line: GuestLine) -> dict[str, Any]:
    item = line.assessment
    objectives = {objective.name: objective for objective in item.objectives}
    return {
        "vmid": item.vmid,
        "name": item.name,
        "role": line.role,
        "node": item.node,
        "tier": item.tier,
        "status": str(item.status),
        "last_backup": _time(item.last_backup),
        "last_proven": _time(item.last_proven),
        "rpo_seconds": item.rpo,
        "rpo_recorded_seconds": item.rpo_recorded,
        "rpo_objective_seconds": objectives["rpo"].objective,
        "rto_seconds": item.rto,
        "rto_objective_seconds": objectives["rto"].objective,
        "proof_age_seconds": item.proof_age,
        "proof_age_objective_seconds": objectives["proof"].objective,
        "proof_rung": str(item.last_good.rung) if item.last_good else None,
        "archives": item.archives,
        "unreachable_archives": item.unreachable,
        "copies": item.copies,
        "depth_days": item.depth,
        "last_test": _proof(item.last_test) if item.last_test else None,
        "objectives": [
            {
                "name": objective.name,
                "objective": objective.objective,
                "measured": objective.measured,
                "status": str(objective.status),
                "reason": objective.reason,
            }
            for objective in item.objectives
        ],
        "reasons": [objective.reason for objective in item.objectives if objective.status != "met"],
        "month": {"due": line.due, "taken": line.taken, "failed": line.failed, "tests": line.tests},
    }


def _exemption(item: Exemption) -> dict[str, Any]:
    return {
        "finding": item.finding,
        "vmid": item.vmid,
        "owner": item.owner,
        "reason": item.reason,
        "until": item.until,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "operation": proof.operation,
        "vmid": proof.vmid,
        "volid": proof.volid,
        "node": proof.node,
        "archive_time": iso(proof.archive_ctime),
        "verdict": str(proof.verdict),
        "rung": str(proof.rung),
        "started": iso(proof.started),
        "ended": iso(proof.ended),
        "rto_seconds": proof.rto,
        "scratch": {"vmid": proof.scratch_vmid, "node": proof.scratch_node},
        "reasons": list(proof.reasons),
        "stages": [{"name": stage.name, "seconds": stage.seconds} for stage in proof.stages],
        "checks": [
            {"name": check.name, "outcome": str(check.outcome), "detail": check.detail}
            for check in proof.checks
        ],
        "isolation": {"stripped": list(proof.stripped), "asserted": list(proof.asserted)},
    }


def _restore(one: BroughtBack) -> dict[str, Any]:
    return {
        "operation": one.operation,
        "how": str(one.how),
        "vmid": one.vmid,
        "original": one.original,
        "clone": one.clone,
        "name": one.name,
        "asked_by": one.by,
        "ended": iso(one.ended),
        "node": one.node,
        "volid": one.volid,
        "archive_time": iso(one.archive_ctime),
        "archive_proven": one.proven,
        "state": str(one.state),
        "started": one.started,
        "verdict": one.verdict or None,
        "reasons": list(one.said),
        "seconds": one.seconds,
        "came_of_it": one.word,
        "undoes": one.undoes or None,
        "undone": {
            "operation": one.taken_back.operation,
            "state": str(one.taken_back.state),
            "time": _time(one.taken_back.at),
        }
        if one.taken_back
        else None,
        "in_place": str(one.standing) if one.standing else None,
        "confirmed": {"words": one.words, "by": one.words_by, "time": _time(one.words_at)}
        if one.words
        else None,
    }


def _time(epoch: int | None) -> str | None:
    return None if epoch is None else iso(epoch)
