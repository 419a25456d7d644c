"""Decide, just before each call, whether something that a deleted guest had around it is put back.

What the person saw may have changed since: somebody may have put it back, or have set up something
else in its place. Only what is still missing, and by the very calls that the person saw, is put
back; nothing that is there is overwritten. What is not known is never tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.cluster_config import ConfigSet
from policies.config_sources import GUESTS_FOLDER
from policies.surroundings import access, ha, jobs
from policies.surroundings.model import Call, Kind, Surrounding, command
from policies.surroundings.sections import Section, named, pairs, sections, split

_FIREWALL = (Kind.FIREWALL, Kind.ALIASES, Kind.IPSETS, Kind.RULES)
FIREWALL = frozenset({*_FIREWALL, Kind.OPTIONS})
# what must be there before: rules name aliases and sets, and options shut what no rule lets pass
_AFTER: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.IPSETS: (Kind.ALIASES,),
    Kind.RULES: (Kind.ALIASES, Kind.IPSETS),
    Kind.OPTIONS: _FIREWALL,
    Kind.HA_RULE: (Kind.HA_RESOURCE,),
}
_FILES: Mapping[Kind, frozenset[str]] = {
    Kind.POOL: frozenset({access.POOLS}),
    Kind.ACL: frozenset({access.ACL}),
    Kind.REPLICATION: frozenset({jobs.REPLICATION, jobs.NODES}),
    Kind.BACKUP: frozenset({jobs.JOBS}),
    Kind.HA_RESOURCE: frozenset({ha.RESOURCES, ha.GROUPS, ha.RULES}),
    Kind.HA_RULE: frozenset({ha.RESOURCES, ha.RULES}),
}
_STOPS = ("stopped", "disabled")  # what HA takes for a wish to stop
# lists that name other guests too: whether they name this one is told by what is still missing
_LISTS = ("resources", "vmid")


class Outcome(StrEnum):
    """What became of one thing. COMMAND: it is left to a person, with what is to be typed."""

    DONE = "done"
    THERE = "already-there"
    COMMAND = "command"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one thing, why, and the commands that are left to be typed. ``left``: somebody
    must still do or look at something. ``known`` is False where it could not be told whether
    anything is missing.
    """

    outcome: Outcome
    detail: str
    commands: tuple[str, ...] = ()
    left: bool = True
    known: bool = True


@dataclass(frozen=True, slots=True)
class Make:
    """Decision: make the first of these calls, which are all that are still missing."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a guest stands before HA gets it: whether it runs (None: not known), the word of its lock,
    "" if it has none; ``doubt`` is why it may not be well, or may not be alone, "" if nothing says
    so.
    """

    running: bool | None
    lock: str = ""
    doubt: str = ""


def files_of(kind: Kind) -> frozenset[str]:
    """Given what a thing is, return the lists of the cluster that tell whether it is missing."""
    return _FILES.get(kind, frozenset())


def to_type(calls: Iterable[Call]) -> tuple[str, ...]:
    """Given calls, return the commands that do the same."""
    return tuple(command(call) for call in calls)


def without_calls(thing: Surrounding) -> Ended:
    """Given a thing that no call puts back, return what becomes of it: nothing is done."""
    return Ended(Outcome.SKIPPED, thing.detail, left=thing.open, known=thing.known)


def left_over(thing: Surrounding, outcome: Outcome, why: str) -> Ended:
    """Given a thing that is not put back and why, return it with all of its commands."""
    return Ended(outcome, why, thing.commands)


def blocked(thing: Surrounding, before: Iterable[tuple[Surrounding, Ended]]) -> Ended | None:
    """Given a thing and what became of those before it, return why it must not be put back yet,
    None if nothing speaks against it.
    """
    open_ones = [
        other.what
        for other, end in before
        if other.kind in _AFTER.get(thing.kind, ())
        and end.left
        and end.outcome not in (Outcome.DONE, Outcome.THERE)
    ]
    if not open_ones:
        return None
    why = f"it comes after {', '.join(dict.fromkeys(open_ones))}, of which something is left to do"
    return left_over(thing, Outcome.SKIPPED, why)


def may(
    thing: Surrounding, calls: Sequence[Call], held: Mapping[str, frozenset[str] | None]
) -> Ended | None:
    """Given a thing, the calls that are still missing, and what the token holds at the paths that
    they need (None: not known), return why they are left to a person; None if the token may.
    """
    lacking = [
        one for one in thing.rights if (held[one.path] or frozenset()).isdisjoint(one.privileges)
    ]
    if not lacking:
        return None
    what = ", ".join(map(str, lacking))
    known = [one for one in lacking if held[one.path] is not None]
    why = f"the token lacks {what}" if known else f"whether the token holds {what} is not known"
    return Ended(Outcome.COMMAND, why, to_type(calls))


def decide(
    thing: Surrounding, found: Iterable[Surrounding], now: ConfigSet, *, made: int, begun: bool
) -> Make | Ended:
    """Given a thing as the person saw it, what is missing around the guest at this moment, and the
    configuration that this was found in, return the calls that are to be made, or what became of the thing.

    ``made``: how many of its calls were carried out by us; ``begun``: one more was begun, and its
    answer never came.
    """
    same = [one for one in found if (one.kind, one.name) == (thing.kind, thing.name)]
    still = next((one for one in same if one.calls), None)
    other = next((one for one in same if not one.calls), None)
    if still is not None:
        if _within(still.calls, thing.calls):
            return Make(still.calls)
        why = f"it is not as it was when this was shown, so nothing is changed: {still.detail}"
        return Ended(Outcome.COMMAND, why, still.commands)
    if other is not None:
        known = other.known
        why = other.detail if known else f"whether it is still missing is not known: {other.detail}"
        commands = () if known else thing.commands
        return Ended(Outcome.SKIPPED, why, commands, left=other.open, known=known)
    if thing.kind in FIREWALL:
        folder = _firewall_of(thing.calls[0].path.split("/"))
        # of no part of a firewall is anything told that was not read whole
        if unread := {why for file, why in now.not_read.items() if file.startswith(f"{folder}/")}:
            why = f"whether it is still missing is not known: {'; '.join(sorted(unread))}"
            return Ended(Outcome.SKIPPED, why, thing.commands, known=False)
    unlike = tuple(text for call in thing.calls for text in _differences(now, call))
    if made or begun:
        if unlike:
            why = f"Proxmox VE took it, and shows something else: {'; '.join(unlike)}"
            return Ended(Outcome.FAILED, why)
        by_hand = f"to be set by hand: {', '.join(thing.by_hand)}" if thing.by_hand else ""
        return Ended(Outcome.DONE, by_hand, left=bool(by_hand))
    if unlike:
        why = f"it is there, and is left as it is, though not as it was: {'; '.join(unlike)}"
        return Ended(Outcome.THERE, why)
    return Ended(Outcome.THERE, "", left=False)


def _firewall_of(path: Sequence[str]) -> str:
    """The folder of what a call changes, ``nodes/NODE/TYPE/VMID/firewall/...``."""
    return f"{GUESTS_FOLDER}{path[2]}-{path[3]}.firewall"


def _within(calls: Sequence[Call], shown: Sequence[Call]) -> bool:
    """Whether these calls are among those that were shown, in that order."""
    rest = iter(shown)
    return all(any(_part_of(call, other) for other in rest) for call in calls)


def _part_of(call: Call, shown: Call) -> bool:
    """Whether a call is the one that was shown, or sets a part of the options that that one sets."""
    if call == shown:
        return True
    alike = (call.method, call.path) == (shown.method, shown.path)
    return alike and call.method == "PUT" and set(call.params) <= set(shown.params)


def arming(thing: Surrounding, standing: Standing) -> Ended | None:
    """Given an HA resource and how its guest stands, return why HA does not get it; None if it may.

    HA acts by itself: it starts a guest that is to run, and stops one that is not. Neither is asked
    of it before a person would.
    """
    state = next(
        (value for call in thing.calls for key, value in call.params if key == "state"), ""
    )
    why = _why_not_armed(state, standing)
    return left_over(thing, Outcome.SKIPPED, why) if why else None


def _why_not_armed(state: str, standing: Standing) -> str:
    if state == "ignored":
        return ""
    if state in _STOPS:
        if standing.running is False:
            return ""
        runs = "it runs" if standing.running else "it may run"
        return f"{runs}, and HA would stop it (state {state})"
    if state not in ha.STARTS:
        return f"what HA would do with state {state} is not known"
    if standing.doubt:
        return f"HA would start it, and {standing.doubt}"
    if standing.running is None:
        return "whether it runs is not known, and HA would start it"
    if not standing.running:
        return "it does not run, and HA would start it: start it, and see that it is well, first"
    return f"it is locked ({standing.lock})" if standing.lock else ""


# --- what is there instead ------------------------------------------------------------------------


def _differences(now: ConfigSet, call: Call) -> list[str]:
    """Given the configuration of now and a call that set something up, return in what that is
    otherwise there. What Proxmox VE does not tell is as by default, and no difference.
    """
    there = _there(now, call)
    return [
        f"{key} is {there[key]}, not {value}"
        for key, value in call.params
        if key in there and key not in _LISTS and sorted(split(there[key])) != sorted(split(value))
    ]


def _there(now: ConfigSet, call: Call) -> Mapping[str, str]:
    params = dict(call.params)

    def rows(file: str) -> tuple[Section, ...]:
        return sections(now.files.get(file, ""))

    found: Section | None = None
    match path := call.path.split("/"):
        case ["cluster", "ha", "resources"]:
            found = named(rows(ha.RESOURCES), params["sid"])
        case ["cluster", "ha", "rules"]:
            found = named(rows(ha.RULES), params["rule"])
        case ["cluster", "backup"]:
            found = named(rows(jobs.JOBS), params["id"])
        case ["cluster", "replication"]:
            guest = params["id"].partition("-")[0]
            mine = [one for one in rows(jobs.REPLICATION) if one.name.partition("-")[0] == guest]
            found = next((one for one in mine if one.get("target") == params["target"]), None)
        case ["access", "acl"]:
            kept = next(one for one in access.WHOM.items() if one[1] in params)
            name = f"{params['path']} {kept[0]} {params[kept[1]]} {params['roles']}"
            found = named(rows(access.ACL), name)
        case ["nodes", _, _, _, "firewall", part, *more]:
            folder = _firewall_of(path)
            if part == "options":
                return pairs(now.files.get(f"{folder}/options.cfg", ""))
            name = params.get("name", params.get("cidr", "")).lower()
            listed = rows("/".join([folder, part, *more]) + ".cfg")
            found = next((one for one in listed if one.name.lower() == name), None)
        case _:
            pass
    return {} if found is None else {key: found.get(key) for key in found.fields}


# --- all of it ------------------------------------------------------------------------------------


def told(ends: Iterable[Ended]) -> str:
    """Given what became of everything, return it in a few words."""
    words = {
        Outcome.DONE: "put back",
        Outcome.THERE: "already there",
        Outcome.COMMAND: "left to be typed",
        Outcome.FAILED: "failed",
        Outcome.SKIPPED: "not done",
    }
    counted = Counter(end.outcome for end in ends)
    said = [f"{counted[outcome]} {word}" for outcome, word in words.items() if counted[outcome]]
    return ", ".join(said) or "nothing was missing"
