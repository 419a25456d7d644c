"""What a person types to bring guests back by hand, a page a guest, for the day when neither this
service nor its machine is there.

The pages are text, in English, and ask for nothing but Proxmox VE's own commands (``qmrestore``,
``pct restore``), ``age`` and ``sha256sum``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from policies.amounts import size
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.compliance.objectives import tier_of
from policies.copy_folders import folder_of
from policies.i18n import duration
from policies.model import (
    GuestType,
    Policy,
    PveStorage,
    SftpFolder,
)
from policies.pve.volid import file_of
from policies.segments import unpacked
from policies.what_if.decide import measured, urgency
from policies.what_if.loss import Loss
from policies.what_if.sources import Kind, Source, sources

MOST_WAYS = 6  # of one guest: the best are first, and nobody reads a year of archives by night
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE = "-" * 78


@dataclass(frozen=True, slots=True)
class Page:
    """A file of the runbook."""

    name: str
    text: str


def pages(facts: SiteFacts, policy: Policy, now: int) -> tuple[Page, ...]:
    """Given the site and the time, return the runbook: first the order in which to bring guests
    back, then a page for each guest, in that order.
    """
    items = sorted(
        (item for item in facts.guests if not (item.guest and item.guest.template)),
        key=lambda item: urgency(policy, item),
    )
    order = [
        f"{_said(facts.cluster)}: in which order to bring guests back",
        f"as it was known on {_moment(now, policy)}",
        "",
        "A guest must never run twice: restore none whose node may still be running.",
        "Without quorum Proxmox VE restores nothing: `pvecm status` says whether there is one.",
        "",
    ]
    if facts.simulated:
        order += ["SIMULATED: this is a lab, and nothing here proves anything.", ""]
    found: list[Page] = []
    total, unmeasured = 0.0, 0
    for number, item in enumerate(items, 1):
        rung = tier_of(policy, item.vmid).proof_rung
        ways = sources(facts, policy, item, (), Loss(), rung)
        # what is no file, a replica or disks that are left, no command of the pages restores
        usable = [one for one in ways if one.kind in (Kind.ARCHIVE, Kind.COPY)][:MOST_WAYS]
        found.append(Page(page_name(item), "\n".join(_page(policy, item, usable)) + "\n"))
        seconds = _measured(policy, item)
        total, unmeasured = total + (seconds or 0), unmeasured + (seconds is None)
        state = "proven" if usable and usable[0].proof else "not proven"
        order.append(
            f"{number:>4}. {item.vmid} {_said(item.name)}, tier {tier_of(policy, item.vmid).name}, "
            f"{_takes(seconds)}, {state if usable else 'NO WAY BACK IS KNOWN'}: {page_name(item)}"
        )
    order += [
        "",
        f"one after the other: {duration(total, 'en')} by measured restore tests, without "
        f"{unmeasured} that were never measured",
    ]
    return (Page("ORDER.txt", "\n".join(order) + "\n"), *found)


def page_name(item: GuestFacts) -> str:
    """Given a guest, return the name of its page's file, without anything that a file system or a
    shell takes for more than a name.
    """
    # a guest's name is written by others, and becomes a part of a path here
    name = _PLAIN.sub("-", item.name).strip("-.")[:60]
    return f"guests/{item.vmid}{f'-{name}' if name else ''}.txt"


def _page(policy: Policy, item: GuestFacts, ways: Sequence[Source]) -> Iterator[str]:
    tier = tier_of(policy, item.vmid)
    written = policy.guests.get(item.vmid)
    yield f"{item.vmid} {_said(item.name)}"
    yield _LINE
    if written and written.role:
        yield f"role:     {_said(written.role)}"
    yield (
        f"tier:     {tier.name}: back within {duration(tier.rto, 'en')}, with data no older than "
        f"{duration(tier.rpo, 'en')}"
    )
    if written and written.address:
        yield f"address:  {_said(written.address)}"
    yield f"was on:   {item.guest.node if item.guest else 'no node: it is not in the cluster'}"
    if item.needs:
        needs = item.needs
        disks = [f"{size(one.needed)} on {one.storage}" for one in needs.restored]
        yield f"needs:    {size(needs.memory)} of memory, disks of {', '.join(disks) or 'no size'}"
        if needs.bridges:
            yield f"networks: {', '.join(map(_said, needs.bridges))}"
        yield from (f"NOTE:     {_said(sentence)}" for sentence in (*needs.local, *needs.unsure))
    yield f"config:   cluster/guests/{_kind(item)}-{item.vmid}.conf, if it was kept"
    yield f"restore:  {_takes(_measured(policy, item))}"
    yield ""
    yield "FIRST see that it runs nowhere, and that nobody else has its VMID by now:"
    yield "  pvesh get /cluster/resources --type vm"
    yield "A node that does not answer may still run it. Restore over no guest that is there: take"
    yield "another VMID, as below, and `--unique 1`, which gives it other MAC addresses."
    yield ""
    if not ways:
        yield "NO WAY BACK IS KNOWN: no archive and no copy of it was within reach."
    for number, way in enumerate(ways, 1):
        yield from _way(policy, item, way, number)
    yield "THEN look at its network before it starts, and whether it is well:"
    tool = "pct" if _kind(item) == GuestType.LXC else "qm"
    yield f"  {tool} config {item.vmid}"
    yield f"  {tool} start {item.vmid}"
    for check in written.checks if written else ():
        yield f"  it is well if this passes: {_said(check.name)}"


def _way(policy: Policy, item: GuestFacts, way: Source, number: int) -> Iterator[str]:
    archive = way.archive
    assert archive is not None  # only archives and copies are ways here
    yield f"WAY {number}: {way.kind} at {_said(way.place)}, backed up {_moment(way.at, policy)}"
    yield f"  {_said(archive.volid)}, {size(archive.size)}"
    if archive.sha256:
        yield f"  SHA-256 {archive.sha256}"
    if way.proof is None:
        yield "  NOT PROVEN: no restore of it was tested, or the test did not pass"
    else:
        rto = way.proof.rto
        took = f", back in {duration(rto, 'en')}" if rto is not None else ""
        yield f"  proven on {_moment(way.proof.ended, policy)}{took}"
    for note in way.notes:
        yield f"  NOTE: {note}"
    if way.kind is Kind.ARCHIVE:
        where = "any node that has that storage" if archive.shared else archive.node
        yield f"  on {where}:"
        yield f"    {_restore(item.vmid, _kind(item), archive.volid)}"
    else:
        yield from fetch(policy, item.vmid, _kind(item), way)
    yield ""


def fetch(policy: Policy, vmid: int, type: GuestType, way: Source) -> Iterator[str]:
    """Given a guest and the copy at a target that it comes back from, yield the lines of how that
    becomes a file that PVE can restore.
    """
    copy = way.copy
    target = next(
        (one for one in policy.copies if copy and folder_of(one) == copy.route.folder), None
    )
    if copy is None or target is None:
        yield "  its target is no longer in the policy: look for it where copies were kept then"
        return
    landed = f"/var/lib/vz/dump/{file_of(copy.route.volid)}"
    # encrypted pieces go to a folder of their own, and become the archive from there
    name, to = (f"{copy.file}.*", "/root/copy/") if copy.encrypted else (copy.file, landed)
    place = target.place
    source = f"{place.path.rstrip('/')}/{name}"
    yield "  bring it to a node with room for it:"
    if copy.encrypted:
        yield f"    mkdir -m 700 -p {to}"
    if isinstance(place, SftpFolder):
        remote = shlex.quote(f"{place.user}@{place.host}:{source}")
        yield f"    scp -P {place.port} {remote} {shlex.quote(to)}"
    elif isinstance(place, PveStorage):
        yield f"    scp {shlex.quote(f'root@{place.node}:{source}')} {shlex.quote(to)}"
    else:
        yield f"    cp from {source} of the machine of this service, or of its disk,"
        yield f"    to {to}"
    if copy.encrypted:
        yield "  decrypt it there with one of the kits (KIT), piece after piece:"
        pieces = " ".join(shlex.quote(one.file) for one in unpacked(copy.file, copy.segments))
        yield f"    cd /root/copy && for f in {pieces}; do"
        yield f'      age -d -i KIT "$f" || break; done > {shlex.quote(landed)}'
    # before the restore, which may not see one flipped bit (pve-facts 7.6)
    yield f"    echo {shlex.quote(f'{copy.sha256}  {landed}')} | sha256sum -c"
    yield f"    {_restore(vmid, type, landed)}"


def _restore(vmid: int, type: GuestType, what: str) -> str:
    quoted = shlex.quote(what)
    if type == GuestType.LXC:
        return f"pct restore {vmid} {quoted}"
    return f"qmrestore {quoted} {vmid}"


def _kind(item: GuestFacts) -> GuestType:
    """As the cluster lists it, else as its archives are."""
    if item.guest:
        return item.guest.type
    kinds = (one.type for one in item.archives + item.unreachable if one.type)
    return next(kinds, GuestType.QEMU)


def _measured(policy: Policy, item: GuestFacts) -> float | None:
    latest = measured(item, tier_of(policy, item.vmid))
    return latest.rto if latest else None


def _takes(seconds: float | None) -> str:
    return "never measured" if seconds is None else f"about {duration(seconds, 'en')}"


def _moment(epoch: int, policy: Policy) -> str:
    local = datetime.fromtimestamp(epoch, ZoneInfo(policy.timezone))
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def _said(text: str) -> str:
    """A name that others gave, in one line and without what acts on a terminal."""
    return _UNSEEN.sub("?", text)
