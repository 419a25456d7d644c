"""``backupsvc restore``: bring a lost guest back under its own VMID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.completing import vmids
from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJsonUnasked, DryRunOfPlan, Yes
from backupsvc.clock import iso
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.operations.restore.planning import Plan, Wish
    from backupsvc.operations.surroundings import Found

Guest = Annotated[int, typer.Argument(help="The guest to bring back.", autocompletion=vmids)]
At = Annotated[
    str | None, typer.Option("--at", help="From the newest archive until this date or time.")
]
FromArchive = Annotated[
    str | None, typer.Option("--archive", help="From this archive (its volid).")
]
Newest = Annotated[
    bool,
    typer.Option("--newest", help="From the newest archive, proven or not."),
]
OnNode = Annotated[
    str | None, typer.Option("--node", help="On this node; it must be able to read the archive.")
]
ToStorage = Annotated[
    str | None, typer.Option("--storage", help="Put all disks here; default: where each was.")
]
Into = Annotated[
    int | None,
    typer.Option("--as", metavar="VMID", help="Under this other VMID, which must be free."),
]
Clone = Annotated[
    bool,
    typer.Option(
        "--clone",
        help="With --as: with MAC addresses and a UUID of its own, links down, and not started.",
    ),
]
Start = Annotated[
    bool, typer.Option("--start/--no-start", help="Start the guest once it is restored.")
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="WORDS",
        help='That its original is off, in words ("108 is off"), where it may still be alive.',
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for quorum if the cluster has lost it.")
]
Around = Annotated[
    bool,
    typer.Option(
        "--surroundings",
        help="Then put back what was around it, as `catalog config put-back` does.",
    ),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="In place of the guest that is there, which is shut down and kept, under another VMID.",
    ),
]
ConfirmName = Annotated[
    str | None,
    typer.Option(
        "--confirm-name",
        metavar="NAME",
        help="With --replace: the name of the guest that is shut down, where it cannot be typed.",
    ),
]
AcceptUnchecked = Annotated[
    bool,
    typer.Option(
        "--accept-unchecked",
        help="With --replace: go on where nothing can be asked before the switch.",
    ),
]
ForceStop = Annotated[
    bool,
    typer.Option(
        "--force-stop", help="With --replace: switch off a guest that does not shut down."
    ),
]


def restore(
    vmid: Guest,
    at: At = None,
    archive: FromArchive = None,
    newest: Newest = False,
    node: OnNode = None,
    storage: ToStorage = None,
    into: Into = None,
    clone: Clone = False,
    start: Start = True,
    confirm: Confirm = None,
    replace: Replace = False,
    confirm_name: ConfirmName = None,
    accept_unchecked: AcceptUnchecked = False,
    force_stop: ForceStop = False,
    wait: Wait = True,
    surroundings: Around = False,
    yes: Yes = False,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRunOfPlan = False,
    as_json: AsJsonUnasked = False,
) -> None:
    """Restore a guest that no longer exists, from its newest archive of which a restore was proven,
    else from its newest. Never overwrites a guest that exists: ``--replace`` shuts it down, keeps it,
    and puts the restored one into its place under another VMID, once its name was typed.

    Shows the plan and asks; without a terminal it needs --yes. A "no" restores nothing, and exits 1.
    Where its original may be alive (a silent node, somebody who answers at its address) no "yes"
    suffices: it asks for words. A lost quorum is waited for, and never brought about. Once started,
    the guest is asked by its checks: exits 0 if they passed, 1 if not or if that is not known.
    """
    from backupsvc.cli.driving import check_options, require_answerable
    from backupsvc.cli.put_back import check_options_of_restore
    from backupsvc.operations.restore.choice import Wanted
    from backupsvc.operations.restore.planning import Wish

    check_options(enqueue, follow, dry_run)
    wish = Wish(Wanted(at, archive, newest, node), storage, start, into, clone, confirm)
    how = {"enqueue": enqueue, "follow": follow, "dry_run": dry_run, "as_json": as_json}
    if replace:
        from backupsvc.cli.replace import replace_guest
        from backupsvc.operations.replace.planning import Allowed

        _must_fit(vmid, wish, replace=True)
        replace_guest(vmid, wish, Allowed(accept_unchecked, force_stop), name=confirm_name, **how)
    if confirm_name is not None or accept_unchecked or force_stop:
        raise UsageError(
            "--confirm-name, --accept-unchecked and --force-stop go with --replace",
            "leave them out",
        )
    _must_fit(vmid, wish, replace=False)
    # before the cluster is asked: a plan that nobody can agree to is of no use
    require_answerable(f"guest {vmid} was not restored", unasked=yes or as_json or dry_run)
    if surroundings:
        check_options_of_restore(clone=clone, left_alone=enqueue and not follow)
    restore_guest(vmid, wish, unasked=yes or as_json, wait=wait, put_back=surroundings, **how)


def restore_guest(
    vmid: int,
    wish: Wish,
    *,
    unasked: bool,
    wait: bool,
    put_back: bool,
    enqueue: bool,
    follow: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Carry out ``restore`` without ``--replace``. Raise typer.Exit with its exit code."""
    from backupsvc.cli.driving import drive_one
    from backupsvc.cli.output import emit_json, foresee
    from backupsvc.cli.put_back import after_restore
    from backupsvc.cli.session import open_service
    from backupsvc.operations.restore import around
    from backupsvc.operations.restore.planning import look_ahead, open_restore
    from backupsvc.operations.restore.result import plan_as_dict, restore_outcome

    with open_service(enqueue=enqueue) as service:
        # a dry run gathers all that stands in the way, the run itself ends at the first of it
        plan = look_ahead(service, vmid, wish, gather=dry_run)
        missing = around.of_plan(service, plan)
        if dry_run:
            if as_json:
                emit_json({"dry_run": True} | plan_as_dict(plan) | around.as_dict(missing))
            else:
                foresee((*lines(plan), *around.lines(missing)), plan.blockers)
            raise typer.Exit(plan.blockers[0].exit_code if plan.blockers else 0)
        if plan.without_quorum and not wait:
            raise plan.without_quorum
        planned = _agreed(plan, missing, unasked=unasked, as_json=as_json, put_back=put_back).memory
        ended = drive_one(
            service,
            lambda: open_restore(service, plan.target, planned),
            plan.target,
            enqueue=enqueue,
            follow=follow,
            as_json=as_json,
        )
        result, back = restore_outcome(ended.operation), None
        if put_back and not result["error"]:
            back = after_restore(service, plan, missing, enqueue=enqueue, quiet=as_json)
    if as_json:
        came_back = {"put_back": back.as_dict() if back else None}
        emit_json(result | around.as_dict(missing) | came_back | ended.workers)
    else:
        _show(result, None if back else missing)
        if back:
            back.show()
    raise typer.Exit(ended.code or (back.code if back else 0))


def _must_fit(vmid: int, wish: Wish, *, replace: bool) -> None:
    """Raise UsageError for options that do not go together."""
    if wish.wanted.newest and wish.wanted.volid is not None:
        raise UsageError(
            "--newest and --archive each say which archive is taken", "leave one of them out"
        )
    if wish.clone and wish.into in (None, vmid):
        raise UsageError(
            f"--clone makes another machine of guest {vmid}, which needs another VMID",
            "name one with --as",
        )
    if replace and (wish.clone or not wish.start or wish.confirm is not None or wish.into == vmid):
        raise UsageError(
            "--clone, --no-start, --confirm and the guest's own VMID do not go with --replace",
            f"`backupsvc restore {vmid} --replace --dry-run` says what would be done",
        )


def _agreed(plan: Plan, missing: Found, *, unasked: bool, as_json: bool, put_back: bool) -> Plan:
    """Show the plan, ask whether it shall be carried out, and return it. Raise typer.Exit if not,
    LawRefused if its original may be alive and nobody says in words that it is off.
    """
    from backupsvc.cli.output import ask, ask_words, can_ask, tell, tell_error
    from backupsvc.operations.restore import around
    from policies.restore_guard import fits, words

    planned, lost = plan.memory, plan.without_quorum
    if unasked:
        # where nobody is asked, the plan is not shown; what may go wrong is, and what is newer
        for risk in (*planned.cautions, *planned.unheard, *planned.room):
            tell(f"backupsvc: WARNING: {risk}")
        for newer in planned.passed_over:
            tell(f"backupsvc: {newer}")
    else:
        for line in (*lines(plan), *around.lines(missing)):
            tell(line)
    agreed = True
    if plan.unconfirmed:
        if as_json or not can_ask():
            raise plan.unconfirmed
        for one in plan.doubts:
            tell(f"backupsvc: STOP: {one.said}")
        tell("  -> a guest must never run twice: see that it is off there (console, IPMI, power)")
        # whoever types them has agreed as well
        typed = ask_words(f'If you have seen that, type "{words(plan.vmid)}"')
        agreed = fits(typed, plan.vmid)
        plan = plan.confirmed(typed) if agreed else plan
    elif not unasked:
        agreed = ask(f"Restore it{', and put back what was around it' if put_back else ''}?")
    if not agreed:
        tell("nothing was restored")
        raise typer.Exit(1)
    if lost:
        tell_error(f"{lost.message}; it goes on when quorum is back", lost.hint)
    return plan


def lines(plan: Plan) -> list[str]:
    """Given a plan, return the lines that tell it to a person."""
    from policies.i18n import duration

    planned, archive, chosen = plan.memory, plan.memory.archive, plan.chosen
    machine, age = plan.lineage.identity, duration(max(0, plan.now - archive.ctime), "en")
    told = [f"SMBIOS UUID {machine.uuid}"] if machine.uuid else []
    told += [f"created {iso(machine.born)}"] if machine.born else []
    verb = "would be" if plan.blockers else "will be"
    other = f" as {plan.target}" if plan.target != plan.vmid else ""
    bridge = {
        True: "its bridge is there",
        False: "ITS BRIDGE IS MISSING",
        None: "whether its bridge is there is not known",
    }
    takes = "a time that is not known: no restore of it was measured"
    if plan.expected is not None:
        ago = duration(max(0, plan.now - plan.expected.at), "en")
        takes = f"about {duration(plan.expected.seconds, 'en')}, as measured in a restore test {ago} ago"
    risks = (
        *(*planned.warnings, *planned.cautions, *planned.unheard),
        *(*planned.room, *planned.left_out),
    )
    return [
        f"guest {plan.vmid} ({planned.name}) {verb} restored{other}"
        f"{', a clone,' if planned.clone else ''} on {planned.node}",
        f"  it is the machine: {', '.join(told) or 'nothing tells which'}",
        f"  from {archive.volid}, backed up {iso(archive.ctime)}, rung {archive.rung}",
        f"  its data are {age} old{f', and it is {chosen.state}' if chosen.proof else ''}",
        f"  disks to {planned.storage or 'the storages that they were on'}",
        *(f"  {one.nic}, {bridge[one.there]}: {planned.nics[one.nic]}" for one in plan.nics),
        f"  it takes {takes}",
        *(f"  WARNING: {risk}" for risk in risks),
        # what is left out was just said
        *(f"  otherwise than before: {one}" for one in plan.differs if one not in planned.left_out),
        *(f"  {sentence}" for sentence in planned.passed_over),
    ]


def _show(result: dict[str, Any], missing: Found | None) -> None:
    """Say how it ended; of a guest that is back, also what it had around it and lacks now, with the
    commands, unless that is put back at once.
    """
    from backupsvc.cli.output import say, tell, tell_error
    from policies.restore_verdict import IN_WORDS, Health
    from policies.surroundings import to_do

    if error := result["error"]:
        look = f"look at it with `backupsvc operations show {result['operation']}`"
        tell_error(error["message"], error["hint"] or look)
        return
    started = "and started" if result["started"] else "and not started"
    say(
        f"guest {result['vmid']} ({result['name']}) is restored on {result['node']} {started}, in "
        f"{result['restored_seconds']:.1f} s"
    )
    if result["verdict"]:
        say(f"{IN_WORDS[Health(result['verdict'])]}: {'; '.join(result['reasons'])}")
        for one in result["checks"]:
            say(f"  {one['outcome']}: {one['name']}: {one['detail']}")
    say(f"from {result['archive']['volid']}, backed up {result['archive']['time']}")
    if result["clone"]:
        say(
            f"its links are down, so that it does not meet guest {result['original']}: when it may "
            "be on the network, take link_down off its NICs in PVE, and start it there"
        )
    for sentence in (*result["warnings"], *result["left_out"]):
        tell(f"backupsvc: WARNING: {sentence}")
    if missing is None:
        return
    if missing.why_none is not None:
        tell(f"backupsvc: what was around it is not known: {missing.why_none}")
    for item in missing.items:
        say(f"{'missing around it' if to_do(item) else 'around it'}: {item.what}: {item.detail}")
        for command in item.commands:
            say(f"  {command}")
    if any(map(to_do, missing.items)):
        other = "" if result["original"] is None else f" --as {result['vmid']}"
        original = result["vmid"] if result["original"] is None else result["original"]
        tell(
            f"  -> put back what the token may: `backupsvc catalog config put-back {original}{other}`"
        )
