"""``backupsvc ha``: would high availability do its work, and would the backups follow?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backupsvc.cli import ha_failovers
from backupsvc.cli.ha_drill import drill
from backupsvc.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policies.ha.facts import Group, Rule
    from policies.ha.failovers import Failovers
    from policies.ha.resources import ResourceStatus
    from policies.ha.status import HaReport

app = typer.Typer(no_args_is_help=True)
_WORDS = {True: "yes", False: "no", None: "unknown"}


app.command("drill")(drill)
app.command("failovers")(ha_failovers.failovers)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether HA would take over what it manages: its votes, its nodes, and for each guest
    whether it could really run elsewhere, and whether its backup would follow.

    Exit 0 only if nothing was found that keeps HA or a backup from that, and nothing that matters
    is unknown.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.operations.ha_drill.result import summary
    from backupsvc.report import failovers
    from backupsvc.report.ha import ask, last_drills

    with open_service() as service:
        found = ask(service)
        drills = {vmid: summary(one) for vmid, one in last_drills(service, found).items()}
        since = int(service.clock.now()) - ha_failovers.DAYS * 86400
        # a cluster without anything under HA is asked nothing more
        taken = failovers.ask(service, since) if found.resources else None
        timezone = service.policy.timezone
    if as_json:
        told = failovers.as_dict(taken) if taken else None
        emit_json(as_dict(found, drills) | {"failovers": told})
    else:
        show(found, drills, taken, timezone)
    raise typer.Exit(0 if found.well else 1)


def as_dict(found: HaReport, drills: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """Given what is said, and the last drill of each guest that had one, return it as ``--json``
    prints it: null is what is not known, spans are in seconds.
    """
    quorum, crs = found.quorum, found.rebalancing
    return {
        "well": found.well,
        "quorum": {
            "clustered": quorum.clustered,
            "quorate": quorum.quorate,
            "votes": quorum.votes,
            "votes_online": quorum.online,
            "votes_needed": quorum.needed,
            "survives_node_loss": quorum.survives,
        },
        "master": found.master,
        "armed": found.armed,
        "armed_state": found.armed_state or None,
        "nodes": [
            {
                "node": one.name,
                "status": one.state,
                "votes": one.votes,
                "master": one.master,
                "lrm": str(one.lrm.life),
                "lrm_word": one.lrm.word or None,
                "lrm_age_seconds": one.lrm.age,
                "drift_seconds": one.drift,
            }
            for one in found.nodes
        ],
        "resources": [_resource(one, drills) for one in found.resources],
        **_placing(found.groups, found.rules),
        "rebalancing": None
        if crs is None
        else {"mode": crs.mode, "on_start": crs.on_start, "automatic": crs.automatic},
        "problems": [{"what": one.what, "action": one.action} for one in found.problems],
        "notes": list(found.notes),
    }


def _resource(one: ResourceStatus, drills: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    backups = {there.node: there for there in one.backups}
    return {
        "sid": one.sid,
        "vmid": one.vmid,
        "name": one.name,
        "node": one.node,
        "wanted": one.wanted,
        "state": one.state or None,
        "can_move": one.can_move,
        "reasons": list(one.reasons),
        "backup_follows": one.backup_follows,
        "backup_reasons": list(one.backup_reasons),
        "targets": [
            {
                "node": place.node,
                "fits": place.fits,
                "reasons": list(place.reasons),
                "replica_age_seconds": place.replica_age,
                "backup_follows": backups[place.node].follows if place.node in backups else None,
            }
            for place in one.places
        ],
        "last_drill": drills.get(one.vmid) if one.vmid is not None else None,
        "notes": list(one.notes),
    }


def _placing(
    groups: Sequence[Group] | None, rules: Sequence[Rule] | None
) -> dict[str, list[dict[str, Any]] | None]:
    """What says where resources may run: groups before PVE 9, rules since."""
    told_groups = [
        {
            "group": one.name,
            "nodes": _ranked(one.nodes),
            "restricted": one.restricted,
            "nofailback": one.nofailback,
        }
        for one in groups or ()
    ]
    told_rules = [
        {
            "rule": one.name,
            "resources": list(one.resources),
            "nodes": _ranked(one.nodes),
            "strict": one.strict,
            "together": one.together,
            "followed": one.followed,
            "errors": one.errors or None,
        }
        for one in rules or ()
    ]
    # null where they were not read, which is not the same as none
    return {
        "groups": None if groups is None else told_groups,
        "rules": None if rules is None else told_rules,
    }


def _ranked(nodes: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"node": name, "priority": rank} for name, rank in nodes.items()]


def show(
    found: HaReport,
    drills: Mapping[int, dict[str, Any]],
    taken: Failovers | None = None,
    timezone: str = "UTC",
) -> None:
    """Given what is said, the last drills, and what HA took over, print it for a person: votes,
    nodes, guests, then what is wrong with its next action, then what to know.
    """
    from backupsvc.cli.output import say, table

    quorum = found.quorum
    say(
        f"quorum: {_WORDS[quorum.quorate]}, {quorum.online} of {quorum.votes} votes, "
        f"{quorum.needed} needed; outlives the loss of a node: {_WORDS[quorum.survives]}"
    )
    say(f"master: {found.master or 'none'}; armed: {found.armed_state or _WORDS[found.armed]}")
    table(
        ("node", "status", "votes", "LRM", "clock"),
        [
            (
                one.name,
                one.state,
                one.votes,
                f"{one.lrm.life} ({one.lrm.word})" if one.lrm.word else str(one.lrm.life),
                "-" if one.drift is None else f"{one.drift:+d} s",
            )
            for one in found.nodes
        ],
    )
    if not found.resources:
        say("no guest is under HA")
    else:
        say()
        heads = ("resource", "name", "node", "wanted", "state", "can move", "fits on")
        rows = [
            (
                one.sid,
                one.name or "-",
                one.node or "-",
                one.wanted,
                one.state or "-",
                _WORDS[one.can_move],
                ", ".join(place.node for place in one.places if place.fits) or "-",
                _WORDS[one.backup_follows],
            )
            for one in found.resources
        ]
        table((*heads, "backup follows"), rows)
        for vmid, drilled in drills.items():
            say(f"last drill of {vmid}: {_drilled(drilled)}")
    if taken:
        say()
        ha_failovers.show(taken, timezone)
    _tell(found)


def _drilled(one: Mapping[str, Any]) -> str:
    home = {True: "home again", False: f"left on {one['ended_on']}", None: "not known to be home"}
    least = "at least " if one["at_least"] else ""
    worth = "" if one["worth"] == "measured" else f", {one['worth']}"
    return (
        f"{one['time']}, to {one['target']} ({one['how']}, {one['state']}), {home[one['back_home']]}, "
        f"interrupted {least}{one['interruption_seconds']:.1f} s{worth} ({one['operation']})"
    )


def _tell(found: HaReport) -> None:
    from backupsvc.cli.output import say
    from policies.i18n import names

    for problem in found.problems:
        say()
        say(problem.what)
        if problem.action:
            say(f"  -> {problem.action}")
    rules = []
    for rule in found.rules or ():
        whom, where = names(rule.resources), names(sorted(rule.nodes))
        said = f"{'only on' if rule.strict else 'rather on'} {where}"
        if rule.together is not None:
            said = "stay together" if rule.together else "stay apart"
        off = "" if rule.followed else " (not followed)"
        rules.append(f"rule {rule.name}: {whom} {said}{off}")
    told = [
        *found.notes,
        *(f"{one.sid}: {note}" for one in found.resources for note in one.notes),
        *(f"{one.sid}: {'; '.join(one.reasons)}" for one in found.resources if one.left_alone),
        *(
            f"group {one.name}: {names(sorted(one.nodes))}"
            f"{', and no other node' if one.restricted else ''}"
            for one in found.groups or ()
        ),
        *rules,
    ]
    if told:
        say()
    for line in told:
        say(line)
