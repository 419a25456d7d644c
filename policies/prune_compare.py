"""Compare our keep rules' marks with PVE's own dry run (prunebackups), before law 3, lineage and the
exclusion of hollow archives come in: on the same archives the two must say the same.

Where they do not, something is not as the policy believes: the node counts days in another time
zone, its clock or its rules changed, or PVE's release counts anew. Whatever it is, nothing of that
guest goes until somebody has looked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policies import retention
from policies.jobs import job_for
from policies.model import Archive, Mark, Marked, Marks, Policy
from policies.pve import prune_backups

DIFFERS = "prune-differs"
_SHOWN = 3  # archives that a sentence names


@dataclass(frozen=True, slots=True)
class Question:
    """One dry run of PVE's: on which storage, through which node, by which rules; ``archives`` are
    those that our rules judged there by the same rules, of ``vmids``.
    """

    node: str
    storage: str
    keep: str
    vmids: tuple[int, ...]
    archives: tuple[Archive, ...]


def questions(
    marked: Iterable[Marked], policy: Policy, *, every: bool = False
) -> tuple[Question, ...]:
    """Given a decision over all that is listed, return what PVE is to be asked: about the guests
    that would lose something, or with ``every`` about all that a job covers.

    A storage is asked once for each set of rules, however many guests they judge.
    """
    marks = Marks.of(marked)
    losing = {
        archive.vmid
        for archive, (mark, _) in zip(marks.archives, marks.said, strict=True)
        if mark is Mark.REMOVE
    }
    keeps: dict[int, str] = {}
    groups: dict[tuple[str, str, str], list[Archive]] = defaultdict(list)
    for archive in marks.archives:
        vmid = archive.vmid
        if vmid is None or not (every or vmid in losing):
            continue
        if vmid not in keeps:
            job = job_for(policy, vmid)
            keeps[vmid] = job.keep if job else ""
        if prune_backups.parse_keep(keeps[vmid]).counts():  # else PVE keeps everything
            place = "" if archive.shared else archive.node
            groups[place, archive.storage, keeps[vmid]].append(archive)
    return tuple(
        Question(
            archives[0].node,
            storage,
            keep,
            tuple(sorted({one.vmid for one in archives if one.vmid is not None})),
            tuple(archives),
        )
        for (_, storage, keep), archives in groups.items()
    )


def differing(question: Question, answer: Mapping[str, str], timezone: str) -> dict[int, str]:
    """Given a question and PVE's mark of each archive that it listed of these guests, by volid,
    return the guests of which it says anything else than our rules, each with the sentence.
    """
    keep = prune_backups.parse_keep(question.keep)
    ours: dict[int, list[Marked]] = defaultdict(list)
    for one in retention.mark_all(question.archives, keep, timezone):
        if one.archive.vmid is not None:
            ours[one.archive.vmid].append(one)
    by = f"PVE's own dry run on storage {question.storage} of {question.node}, by {question.keep}"
    found: dict[int, str] = {}
    for vmid, marked in sorted(ours.items()):
        # what PVE does not list it cannot mark: neither word can be held against the other
        unknown = sorted(one.archive.volid for one in marked if one.archive.volid not in answer)
        if unknown:
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            found[vmid] = (
                f"{DIFFERS}: {by} does not know {', '.join(unknown[:_SHOWN])}{more}: what is "
                "there changed meanwhile, or is not shown"
            )
            continue
        apart = [one for one in marked if answer[one.archive.volid] != one.mark]
        if apart:
            told = ", ".join(
                f"{one.archive.volid} ({answer[one.archive.volid]}, where our rules say {one.mark})"
                for one in apart[:_SHOWN]
            )
            more = f" and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
            found[vmid] = f"{DIFFERS}: {by} marks {told}{more}"
    return found


def unasked(question: Question, why: str) -> dict[int, str]:
    """Given a question that PVE did not answer, and why, return what is said of each guest."""
    said = (
        f"{DIFFERS}: PVE's own dry run for storage {question.storage} on {question.node} could "
        f"not be compared: {why}"
    )
    return dict.fromkeys(question.vmids, said)


def explanation(one: Marked, theirs: str | None) -> str:
    """Given an archive's final mark and what PVE's own dry run says of it (None: nothing), return
    in words what happens to it and why.
    """
    fate = {
        Mark.KEEP: "stays",
        Mark.REMOVE: "would be removed",
        Mark.PROTECTED: "stays, as it is protected in PVE",
        Mark.RENAMED: "stays, as PVE never removes a file of such a name",
    }[one.mark]
    rule, *held = one.reasons or ("no rule speaks of it",)
    said = f"it {fate}: {rule}"
    if held:
        said += f"; but {'; '.join(held)}"
    if theirs is None:
        return f"{said} (PVE's own dry run was not asked about it, or does not list it)"
    return f"{said} (PVE's own dry run says {theirs}{', too' if theirs == one.mark else ''})"
