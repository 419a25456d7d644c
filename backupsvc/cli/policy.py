"""``backupsvc policy``: check a site's policy, show it with its defaults, and say what it makes
happen next.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.options import AsJson

if TYPE_CHECKING:
    from policies.model import Policy

app = typer.Typer(no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="The policy; without it the one in force (BACKUPSVC_POLICY)."
    ),
]
_GUEST = (
    "vmid",
    "name",
    "tier",
    "role",
    "network",
    "address",
    "boot_timeout",
    "check_timeout",
    "memory",
    "settle",
    "thaw",
)
# its first 14 characters are the day
_LOCAL = "%a %Y-%m-%d %H:%M:%S %Z"


@app.command("check")
def check(file: File = None, as_json: AsJson = False) -> None:
    """Say whether a policy is right; if not, say in which line, what is wrong and what is allowed
    (exit code 2).
    """
    from backupsvc.cli.output import emit_json, say

    policy = _load(file)
    warnings = _warnings(policy)
    if as_json:
        counts = {"jobs": len(policy.jobs), "guests": len(policy.guests)}
        emit_json({"valid": True, **_head(policy), **counts, "warnings": warnings})
        return
    say(f"{policy.source}: the policy of {policy.site} is right")
    for job in policy.jobs:
        guests = _guests_of(job.guests, job.exclude)
        say(
            f"  job {job.id}: {job.schedule} {policy.timezone}, {guests}, to {job.storage}, "
            f"{job.keep}"
        )
    if not policy.jobs:
        say("  no job: nothing is backed up by this service")
    say(
        f"  guests: {len(policy.guests)} listed, the others at tier {policy.default_tier} with "
        "the check agent"
    )
    bridge = (
        f"isolated bridge {policy.scratch.bridge}"
        if policy.scratch.bridge
        else "no isolated bridge: links down"
    )
    say(f"  restored copies: VMID {policy.scratch.first}-{policy.scratch.last}, {bridge}")
    for name, folder, *_ in _targets(policy):
        say(f"  copies to {name}: {folder}")
    for warning in warnings:
        say(f"warning: {warning['finding']}: {warning['subject']}: {warning['detail']}")
        say(f"  -> {warning['action']}")


@app.command("show")
def show(file: File = None, as_json: AsJson = False) -> None:
    """Show the policy as it is understood, with every default filled in."""
    from dataclasses import asdict

    from backupsvc.cli.output import emit_json
    from policies.copy_folders import kind_of

    policy = _load(file)
    if not as_json:
        _show(policy)
        return
    # the model's own words, durations in seconds
    copies = [
        {
            "name": target.name,
            "bandwidth": target.bandwidth,
            "immutable": target.immutable,
            "allow_root": target.allow_root,
            "kind": kind_of(target),
            **asdict(target.place),
        }
        for target in policy.copies
    ]
    guests = []
    for guest in policy.guests.values():
        checks = []
        for check in guest.checks:
            one = {"kind": check.kind, "name": check.name, "options": dict(check.options)}
            checks.append(one | {"timeout": check.timeout})
        guests.append({word: getattr(guest, word) for word in _GUEST} | {"checks": checks})
    told: dict[str, Any] = {
        "language": policy.language,
        "scratch": asdict(policy.scratch),
        "jobs": [asdict(job) for job in policy.jobs],
        "tiers": {name: asdict(tier) for name, tier in policy.tiers.items()},
        "default_tier": policy.default_tier,
        "guests": guests,
        "prune": asdict(policy.prune),
        "exemptions": [asdict(exemption) for exemption in policy.exemptions],
        "copies": copies,
        "max_clock_drift": policy.max_clock_drift,
    }
    emit_json(_head(policy) | told)


@app.command("next")
def following(
    file: File = None,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="How far to look ahead.")] = 7,
    as_json: AsJson = False,
) -> None:
    """List the coming occurrences of every job, in the policy's time zone and in UTC, and what
    opens each of them.
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.clock import SystemClock

    policy = _load(file)
    now = int(SystemClock().now())
    coming, changes = _occurrences(policy, now, days), _clock_changes(policy, now, days)
    if as_json:
        emit_json({**_head(policy), "days": days, "occurrences": coming, "clock_changes": changes})
        return
    if coming:
        rows = [
            (one["local"], one["at"], one["job"], one["opened_by"], one["clock_change"] or "")
            for one in coming
        ]
        table(("local time", "UTC", "job", "opened by", "that day"), rows)
    else:
        say(f"no job is due within {days} days")
    for change in changes:
        say(f"{change['local']}: {change['words']}")


def _load(file: Path | None) -> Policy:
    """Given a file, or None for the policy in force, return it. Raise UsageError if there is none,
    PolicyError if it is wrong.
    """
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from policies.site import load_policy

    # as every command finds it, so that what is checked is what is in force
    if file is None:
        with open_service() as service:
            return service.policy
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the policy {file} cannot be read: {error.strerror}", "give the file of a policy"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"the policy {file} is not UTF-8 text", "write it in UTF-8") from None
    return load_policy(text, str(file))


def _warnings(policy: Policy) -> list[dict[str, Any]]:
    """Given a policy, return what is right in it and yet keeps guests from ever being proven:
    nothing asks their service.
    """
    from policies import i18n
    from policies.service_checks import ANY, Unasked, default_demoted, demoted

    found = [(f"{item.vmid} {item.name}".strip(), item) for item in demoted(policy)]
    if default_demoted(policy):
        found.append(
            ("every guest that is not listed", Unasked(0, "", policy.default_tier, ("agent",), ANY))
        )
    warnings: list[dict[str, Any]] = []
    for subject, item in found:
        values = {
            "checks": i18n.names(item.checks),
            "suggested": i18n.names(item.suggested),
            "tier": item.tier,
        }
        key = "no-service-check" if item.checks else "no-service-check.none"
        detail, action = i18n.finding(key, i18n.ENGLISH, **values)
        one = {
            "finding": "no-service-check",
            "vmid": item.vmid or None,
            "subject": subject,
            "detail": detail,
            "action": action,
        }
        warnings.append(one)
    return warnings


def _head(policy: Policy) -> dict[str, Any]:
    return {
        "site": policy.site,
        "source": policy.source,
        "digest": policy.digest,
        "timezone": policy.timezone,
    }


def _occurrences(policy: Policy, now: int, days: int) -> list[dict[str, Any]]:
    """Given a policy, return its jobs' occurrences of the coming days, soonest first."""
    from datetime import datetime

    from backupsvc.clock import iso
    from policies.pve.calendar_event import occurrences, time_of_day, zone

    place = zone(policy.timezone)
    due = [
        (at, job)
        for job in policy.jobs
        for at in occurrences(job.schedule, policy.timezone, now, now + days * 86400)
    ]
    # by its date: a change earlier that day, or later on the last one, is of that day too
    changing = {
        change["local"][:14]: change["words"]
        for change in _clock_changes(policy, now - 86400, days + 2)
    }
    found = []
    for at, job in sorted(due, key=lambda pair: (pair[0], pair[1].id)):
        local = f"{datetime.fromtimestamp(at, place):{_LOCAL}}"
        # what is due at a time of day has an entry of beat's; the tick finds all else
        opened_by = "crontab entry" if time_of_day(job.schedule) else "tick"
        one = {"job": job.id, "at": iso(at), "local": local, "epoch": at, "opened_by": opened_by}
        found.append(one | {"clock_change": changing.get(local[:14])})
    return found


def _clock_changes(policy: Policy, now: int, days: int) -> list[dict[str, Any]]:
    """Given a policy, return when its clocks change within the coming days, each with a
    sentence.
    """
    from datetime import datetime

    from backupsvc.clock import iso
    from policies.pve.calendar_event import clock_changes, zone

    place, found = zone(policy.timezone), []
    for at, seconds in clock_changes(policy.timezone, now, now + days * 86400):
        words = f"clocks go {'forward' if seconds > 0 else 'back'} by {span(abs(seconds))}"
        found.append(
            {
                "at": iso(at),
                "local": f"{datetime.fromtimestamp(at, place):{_LOCAL}}",
                "seconds": seconds,
                "words": words,
            }
        )
    return found


def _show(policy: Policy) -> None:
    from backupsvc.cli.output import say, table

    say(
        f"site {policy.site}, time zone {policy.timezone}, reports in {policy.language}, from "
        f"{policy.source}"
    )
    scratch = policy.scratch
    memory = f"at most {scratch.memory} MiB" if scratch.memory else "as archived"
    say(
        f"restored copies: VMID {scratch.first}-{scratch.last}, bridge "
        f"{scratch.bridge or 'none (links down)'}, storage {scratch.storage or 'any'}, node "
        f"{scratch.node or 'any'}, memory {memory}, settle {span(scratch.settle)}"
    )
    jobs = [
        (j.id, j.schedule, _guests_of(j.guests, j.exclude), j.storage, j.mode, j.compress, j.keep)
        for j in policy.jobs
    ]
    table(("job", "schedule", "guests", "storage", "mode", "compress", "keep"), jobs, "Jobs")
    tiers = [
        (t.name, span(t.rpo), span(t.rto), span(t.proof_age), t.proof_rung, t.copies, t.depth)
        for t in policy.tiers.values()
    ]
    table(
        ("tier", "RPO", "RTO", "proof age", "proven at", "copies", "days of history"),
        tiers,
        f"Tiers (default: {policy.default_tier})",
    )
    if policy.copies:
        table(("target", "folder", "KiB/s", "immutable"), _targets(policy), "Copies")
    guests = [
        (
            g.vmid,
            g.name or "-",
            g.tier,
            g.network,
            g.address,
            ", ".join(c.name for c in g.checks) or "none",
        )
        for g in policy.guests.values()
    ]
    table(
        ("VMID", "name", "tier", "network", "address", "checks"),
        guests,
        "Guests (all others: default tier, check agent)",
    )


def _targets(policy: Policy) -> list[tuple[object, ...]]:
    from policies.copy_folders import folder_of

    return [
        (t.name, folder_of(t), t.bandwidth or "unlimited", "yes" if t.immutable else "no")
        for t in policy.copies
    ]


def _guests_of(guests: tuple[int, ...] | None, exclude: tuple[int, ...]) -> str:
    if guests is not None:
        return f"{len(guests)} guests"
    return f"all guests but {', '.join(map(str, exclude))}" if exclude else "all guests"


def span(seconds: int) -> str:
    """Given seconds, return them as a policy writes a duration, in the largest units that fit:
    ``36h``, ``1h30m``, ``7d``.
    """
    text = ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if unit == "d" and seconds % length:
            continue  # 36h reads better than 1d12h
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
