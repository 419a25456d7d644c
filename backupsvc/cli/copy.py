"""``backupsvc copy``: bring archives off their node, and show which copies there are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.completing import vmids
from backupsvc.cli.copy_recheck import recheck
from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, Guests, IdentityFile, Targets
from backupsvc.errors import BackupsvcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupsvc.bootstrap import Service
    from backupsvc.inventory.listing import Survey
    from policies.copies_due import DueCopy

app = typer.Typer(no_args_is_help=True)

OnlyTargets = Annotated[
    list[str] | None, typer.Option("--to", help="Only this target; may be repeated.")
]
TryDryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be tried, and what was tried last.")
]
RehearseDryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say which copy would be taken; ask for no key.")
]
SyncDryRun = Annotated[bool, typer.Option("--dry-run", help="Say what is lost; forget nothing.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be copied where; copy nothing.")
]


@app.callback()
def _group() -> None:
    """Copies of archives off their node."""


@app.command()
def run(
    vmid: Guests = None,
    to: Targets = None,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy each guest's newest archive to every target of the policy, and read each copy back
    there.

    A copy that is there already is found by its manifest, and nothing travels. Exit 1 if a copy
    could not be made, 3 if a target was not reached or a storage could not be listed.
    """
    from backupsvc.cli.driving import Driven, check_options, drive_each
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.operations.copy.opening import open_copy
    from backupsvc.operations.copy.result import outcome, refused, skipped

    check_options(enqueue, follow, dry_run)
    driven: Driven[DueCopy] = Driven()
    with open_service(enqueue=enqueue) as service:
        wanted, seen = _wanted(service, vmid or [], to or [])
        found = [skipped(one) for one in wanted if one.skip]
        going = [one for one in wanted if not one.skip]
        if dry_run:
            found += [_planned(service, one) for one in going]
        elif going:
            driven = drive_each(
                service,
                going,
                partial(open_copy, service),
                lambda one: one.archive.vmid,
                enqueue=enqueue,
                follow=follow,
                as_json=as_json,
            )
            found += [refused(one, error) for one, error in driven.refused]
            found += [outcome(one, end) for one, end in driven.ended]
    # what could not be listed may hold a newer archive than the one that was copied
    blind = seen.said()
    if as_json:
        emit_json({"copies": found, "dry_run": dry_run, "not_listed": blind} | driven.workers)
    else:
        _show(found, blind)
    # a target's failure weighs more than a storage that could not be listed
    raise typer.Exit(driven.code or (3 if blind else 0))


def _planned(service: Service, due: DueCopy) -> dict[str, Any]:
    from backupsvc.operations.copy.keeping import preview
    from backupsvc.operations.copy.result import planned

    try:
        going, why = preview(service, due)
    except BackupsvcError as error:
        # what would be copied is known all the same
        going, why = [], f"what would go there is not known: {error.message}"
    return planned(due, going, why)


def _wanted(
    service: Service, only: Sequence[int], targets: Sequence[str]
) -> tuple[tuple[DueCopy, ...], Survey]:
    """What is to be copied where. Raise UsageError if the policy has no such target, PveNotFound if
    a guest that was asked for has nothing to be copied.
    """
    from backupsvc.cli.targets import chosen
    from backupsvc.errors import PveNotFound
    from backupsvc.inventory.listing import survey
    from policies.copies_due import due

    chosen(service.policy, targets)
    seen = survey(service)
    copies = service.catalog.copies.find(damaged=True)
    found = due(service.policy, seen.listed, copies, only=only, targets=targets, again=True)
    lacking = sorted(set(only) - {one.archive.vmid for one in found})
    # where a storage is out of reach it may lie there, and nothing is said to be missing (law 4)
    if lacking and not seen.said():
        which = f"guest{'s' if len(lacking) > 1 else ''} {', '.join(map(str, lacking))}"
        raise PveNotFound(
            f"the storages list no archive of {which} that could be copied; nothing was copied",
            f"see `backupsvc catalog list --vmid {lacking[0]}` what is known: an archive that was "
            "changed, or holds nothing, is worth no copy",
        )
    return found, seen


@app.command("list")
def list_copies(
    vmid: Annotated[
        int | None, typer.Option("--vmid", help="Only this guest's.", autocompletion=vmids)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the copies that were read back at their targets, and how long ago; where they are
    encrypted, also when a key was last shown to open one.
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.operations.copy.result import kit, listed
    from policies.copy_folders import folder_of

    with open_service() as service:
        # a copy is told by its folder: its target may have another name by now
        targets = {folder_of(target): target for target in service.policy.copies}
        now = service.clock.now()
        found = [
            listed(copy, targets.get(copy.route.folder), now)
            for copy in service.catalog.copies.find(vmid, damaged=True)
        ]
        done = service.catalog.copies.rehearsals()
        kits = [kit(target, done) for target in service.policy.copies if target.recipients]
    if as_json:
        emit_json({"copies": found, "kits": kits})
        return
    _show(found, [])
    for one in kits:
        if one["rehearsed"]:
            say(f"{one['target']}: key {one['key']} opened a copy last at {one['rehearsed']}")
        else:
            say(f"{one['target']}: no key was ever shown to open a copy (backupsvc copy rehearse)")


@app.command("try-delete")
def try_delete(
    to: OnlyTargets = None,
    dry_run: TryDryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try to overwrite and to delete a file of our own at each immutable target, and keep the
    refusal as evidence.

    Exit 0 if every target held, 1 if anything could be harmed. No copy is touched.
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.operations.copy.canaries import try_target
    from backupsvc.operations.copy.result import tried
    from policies.copy_folders import folder_of

    with open_service() as service:
        declared = [target for target in service.policy.copies if target.immutable]
        names = [target.name for target in declared]
        if unknown := [name for name in to or [] if name not in names]:
            raise UsageError(
                f"the policy declares no copy target {unknown[0]} immutable",
                f"those declared so are: {', '.join(names) or 'none'}",
            )
        if not names:
            raise UsageError(
                "the policy declares no copy target immutable",
                "set `immutable: true` for a target whose files nobody with our login can harm "
                "(docs/policy.md, copies)",
            )
        chosen = [target for target in declared if not to or target.name in to]
        last = {canary.folder: canary for canary in service.catalog.copies.canaries()}
        found = [
            last.get(folder_of(target)) if dry_run else try_target(service, target)
            for target in chosen
        ]
    results = [tried(target, canary) for target, canary in zip(chosen, found, strict=True)]
    if as_json:
        emit_json({"targets": results, "dry_run": dry_run})
    else:
        words = {True: "held", False: "NOT immutable", None: "never tried"}
        rows = [
            (
                *(one[key] or "" for key in ("target", "folder", "tried")),
                words[one["held"]],
                one["said"] or "",
            )
            for one in results
        ]
        table(("target", "folder", "last tried" if dry_run else "tried", "result", "said"), rows)
        if dry_run:
            say("nothing was tried")
    # of a dry run the last result is shown, and was its own run's exit code
    raise typer.Exit(any(one["held"] is False for one in results) and not dry_run)


@app.command()
def rehearse(
    to: OnlyTargets = None,
    vmid: Guests = None,
    identity: IdentityFile = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Choose as an earlier rehearsal with this seed did."),
    ] = None,
    dry_run: RehearseDryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring a random encrypted copy back from its target, decrypt it with a key that you give, read
    it whole, throw it away, and keep as evidence that the key works.

    It takes as much room under the state directory as the archive. Exit 1 if the copy is not what
    it should be, 2 if the key does not open it.
    """
    from secrets import randbits

    from backupsvc.cli.kit import identities
    from backupsvc.cli.output import bar, emit_json, say, size, tell
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import chosen
    from backupsvc.errors import UsageError
    from backupsvc.operations.copy import rehearsing
    from backupsvc.operations.copy.result import rehearsed

    with open_service() as service:
        targets = [one for one in chosen(service.policy, to or []) if one.recipients]
        if not targets:
            raise UsageError(
                "no copy target that was asked for has encrypted copies",
                "set `encrypt: age` and `recipients` for one (docs/policy.md, copies)",
            )
        # told below, so that the same choice can be made again
        number = randbits(32) if seed is None else seed
        choice = rehearsing.choose(service, targets, vmid or [], number)
        copy, done = choice.copy, None
        tell(
            f"{copy.route.volid} at {choice.target.name}, {size(copy.size)}: one of "
            f"{choice.among} encrypted copies, by seed {number}"
        )
        if not dry_run:
            keys = identities(identity)
            with bar(f"rehearsing {copy.file}", copy.size, silent=as_json) as came:
                done = rehearsing.rehearse(service, choice, keys, came)
    if as_json:
        emit_json({"rehearsal": rehearsed(choice, done), "dry_run": dry_run})
    elif done:
        say(f"decrypted and intact: {copy.route.volid}, SHA-256 {copy.sha256}")
        say(f"key {done.key} works; {done.seconds:.1f} s")
    else:
        say("nothing was brought back")


@app.command()
def sync(to: OnlyTargets = None, dry_run: SyncDryRun = False, as_json: AsJson = False) -> None:
    """Look at the targets of kind sftp and directory, and forget the copies that are there no more.

    Whoever runs it says that they may be gone: from then on `keep` rules apply again to what is
    left. Exit 3 if a target was not reached.
    """
    from backupsvc.cli.output import emit_json, say, tell_error
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import chosen
    from backupsvc.operations.copy.keeping import lost_at
    from backupsvc.operations.copy.result import listed
    from policies.model import PveStorage

    lost: list[dict[str, Any]] = []
    unseen: list[dict[str, Any]] = []
    code = 0
    with open_service() as service:
        for target in chosen(service.policy, to or []):
            if isinstance(target.place, PveStorage):
                continue  # what PVE lists is looked at by `catalog sync`
            try:
                found = lost_at(service, target)
            except BackupsvcError as error:
                unseen.append({"target": target.name, "reason": error.message, "hint": error.hint})
                code = max(code, error.exit_code)
                continue
            if not dry_run:
                service.catalog.copies.forget_lost(found)
            now = service.clock.now()
            lost += [listed(copy, target, now) | {"state": "lost"} for copy in found]
    if as_json:
        emit_json({"copies": lost, "not_seen": unseen, "dry_run": dry_run})
        raise typer.Exit(code)
    _show(lost, [])
    for one in unseen:
        tell_error(f"{one['target']} was not looked at: {one['reason']}", one["hint"])
    if lost:
        say("nothing was forgotten" if dry_run else f"{len(lost)} copies forgotten")
    raise typer.Exit(code)


app.command()(recheck)


def _show(found: list[dict[str, Any]], blind: Sequence[str]) -> None:
    from backupsvc.cli.output import say, size, table, tell, tell_error
    from policies.i18n import duration

    if not found:
        say("no copies")
    rows = [
        (
            one["vmid"],
            one["volid"],
            one["source"]["node"] or "",
            one["target"]["name"],
            one["target"]["path"],
            one["state"] if not one.get("encrypted") else f"{one['state']}, {one['rung']}",
            size(one["bytes"]) if one["bytes"] else "",
            duration(one["age"], "en") if "age" in one else one["reason"] or "",
        )
        for one in found
    ]
    last = "age" if found and "age" in found[0] else "reason"
    if rows:
        table(("VMID", "archive", "node", "target", "folder", "state", "size", last), rows)
    for one in found:
        if one["state"] == "damaged":
            tell_error(
                f"{one['volid']} at {one['target']['name']}: {one['reason']}",
                "`backupsvc copy run` makes it anew while the archive is there",
            )
        if one["state"] == "failed":
            tell_error(f"{one['volid']} to {one['target']['name']}: {one['reason']}", one["hint"])
        for name in one.get("litter", ()):
            say(f"{name} at {one['target']['name']} is of no use; the far side may remove it")
        for name in one.get("removed", ()):
            say(f"{name} at {one['target']['name']} was removed: no keep rule covers it there")
        for name in one.get("would_remove", ()):
            say(f"{name} at {one['target']['name']} would be removed: no keep rule covers it there")
        if why := one.get("nothing_removed"):
            tell(f"backupsvc: nothing was removed at {one['target']['name']}: {why}")
    for sentence in blind:
        say(f"not listed: {sentence}")
