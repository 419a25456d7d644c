"""A guest's own firewall: aliases, sets of addresses, rules in their order, options last, so that
nothing is shut before it may pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from policies.cluster_config import words
from policies.config_sources import GUESTS_FOLDER
from policies.surroundings.asked import Asked, missing
from policies.surroundings.model import Call, Kind, Surrounding, for_hands, nameable, right, unknown
from policies.surroundings.sections import Section, Taken, named, pairs, sections, take, values

_RULE = words("action comment dest dport enable icmp-type iface log macro proto source sport type")
_RULE_FREE = words("comment log")
_TOLD = words("ipversion")  # what PVE says of a rule and does not take
_PARTS = ("aliases.cfg", "ipset.cfg", "rules.cfg", "options.cfg")


def firewall(asked: Asked) -> Iterator[Surrounding]:
    """Say what of its firewall is missing. It goes with every deletion, and comes back with an
    archive that holds it (pve-facts 8.7, 8.8).
    """
    old, new = (
        f"{GUESTS_FOLDER}{asked.type}-{vmid}.firewall/" for vmid in (asked.vmid, asked.as_vmid)
    )
    if why := _why_not_read(asked.then.not_read, old):
        yield unknown(
            Kind.FIREWALL, "", f"what it had is not known in full, it was not read then: {why}"
        )
    had = [file for file in asked.then.files if file.startswith(old)]
    # a guest that is gone has no firewall, whatever could be read
    why = "" if asked.exists is False else _why_not_read(asked.now.not_read, new)
    if had and (why or asked.exists is None):
        why = why or "whether the guest is there is not known"
        yield unknown(Kind.FIREWALL, "", f"it had one; whether it still does is not known: {why}")
    elif had and asked.node is None:
        yield for_hands(
            Kind.FIREWALL,
            "",
            "it is missing; ask again once the guest is there: the commands name its node",
        )
    elif had:
        both = _Firewall(asked, old, new)
        may_pass = (*_aliases(both), *_ipsets(both), *_rules(both))
        yield from may_pass
        was, now = pairs(both.was("options.cfg")), pairs(both.now("options.cfg"))
        gone = {key: value for key, value in was.items() if key not in now}
        taken = take(gone, tuple(gone))
        # what was left out of an option is said, and keeps no other from being set
        loose = Taken(taken.params, (*taken.by_hand, *taken.lost), ())
        calls = [Call("PUT", f"{both.base}/options", taken.params)] if taken.params else []
        names = ", ".join(gone)
        detail = f"not set any more: {names}"
        if not all(one.calls for one in may_pass):
            detail += "; what is named above is to be put back by hand first, or it cannot pass"
        yield from both.said(Kind.OPTIONS, detail, calls, [loose])
        if gone and not taken.params:
            yield for_hands(Kind.OPTIONS, "", f"set by hand: {names}")


def _why_not_read(not_read: Mapping[str, str], folder: str) -> str:
    found = {
        why
        for path, why in not_read.items()
        if path.startswith(folder) or (path.endswith("/") and folder.startswith(path))
    }
    return "; ".join(sorted(found))


class _Firewall:
    """The two firewalls, as they are compared."""

    def __init__(self, asked: Asked, old: str, new: str) -> None:
        self._asked, self._old, self._new = asked, old, new
        self.base = f"nodes/{asked.node}/{asked.type}/{asked.as_vmid}/firewall"
        self.right = right("VM.Config.Network", f"/vms/{asked.as_vmid}")

    def was(self, file: str) -> str:
        return self._asked.then.files.get(self._old + file, "")

    def now(self, file: str) -> str:
        if self._asked.exists is False:
            return ""
        return self._asked.now.files.get(self._new + file, "")

    def said(
        self, kind: Kind, detail: str, calls: Sequence[Call], taken: Sequence[Taken]
    ) -> Iterator[Surrounding]:
        """What is missing of one part, with the calls of all that is missing of it."""
        if not calls:
            return
        all_taken = Taken(
            (),
            tuple(dict.fromkeys(key for one in taken for key in one.by_hand)),
            tuple(dict.fromkeys(key for one in taken for key in one.lost)),
        )
        if self._asked.exists is False:
            detail += (
                "; a restore brings what the archive holds of it, so ask again after it (these name "
                f"node {self._asked.node})"
            )
        yield missing(kind, "", detail, tuple(calls), all_taken, self.right)


def _aliases(both: _Firewall) -> Iterator[Surrounding]:
    now = {row.name.lower() for row in sections(both.now("aliases.cfg"))}
    gone = [row for row in sections(both.was("aliases.cfg")) if row.name.lower() not in now]
    if bad := [row.name for row in gone if not nameable(row.name)]:
        yield for_hands(Kind.ALIASES, "", f"put back by hand: {', '.join(bad)}")
    good = [row for row in gone if nameable(row.name)]
    taken = [take(values(row), words("cidr comment"), words("comment")) for row in good]
    calls = [
        Call("POST", f"{both.base}/aliases", (("name", row.name), *one.params))
        for row, one in zip(good, taken, strict=True)
    ]
    names = ", ".join(row.name for row in good)
    yield from both.said(Kind.ALIASES, f"missing: {names}", calls, taken)


def _ipsets(both: _Firewall) -> Iterator[Surrounding]:
    now = sections(both.now("ipset.cfg"))
    was = sections(both.was("ipset.cfg"))
    gone = [row for row in was if not named(now, row.name)]
    if bad := [row.name for row in was if not nameable(row.name)]:
        yield for_hands(Kind.IPSETS, "", f"look at these by hand: {', '.join(bad)}")
    calls: list[Call] = []
    taken: list[Taken] = []
    names: list[str] = []
    for row in (one for one in was if nameable(one.name)):
        if row in gone:
            one = take(values(row), words("comment"), words("comment"))
            calls.append(Call("POST", f"{both.base}/ipset", (("name", row.name), *one.params)))
            taken.append(one)
        there = {one.name for one in sections(both.now(f"ipset/{row.name}.cfg"))}
        for entry in sections(both.was(f"ipset/{row.name}.cfg")):
            if entry.name in there:
                continue
            fields = {"cidr": entry.name} | values(entry)
            one = take(fields, words("cidr comment nomatch"), words("comment"))
            calls.append(Call("POST", f"{both.base}/ipset/{row.name}", one.params))
            taken.append(one)
            names.append(f"{row.name} {entry.name}")
        names += [row.name] if row in gone else []
    yield from both.said(Kind.IPSETS, f"missing: {', '.join(names)}", calls, taken)


def _rules(both: _Firewall) -> Iterator[Surrounding]:
    """Each new rule is put before all others (pve-facts 8.8): what is missing at the head can be
    put back from its last rule to its first, and nothing else.
    """
    was = [_content(row) for row in sections(both.was("rules.cfg"))]
    now = [_content(row) for row in sections(both.now("rules.cfg"))]
    # the same rule may be there twice, so each one of now stands for one of then
    left = list(now)
    gone = 0
    for rule in was:
        if rule in left:
            left.remove(rule)
        else:
            gone += 1
    if not gone:
        return
    if now and was[-len(now):] != now:  # fmt: skip
        yield for_hands(
            Kind.RULES,
            "",
            f"{gone} of {len(was)} are missing among others; their order counts, so put them back "
            "by hand",
        )
        return
    head = was[: len(was) - len(now)]
    taken = [take(rule, _RULE, _RULE_FREE) for rule in reversed(head)]
    strange = tuple(key for one in taken for key in one.by_hand if key not in _RULE)
    # a rule without one of its conditions lets more pass
    taken.append(Taken((), (), strange))
    calls = [Call("POST", f"{both.base}/rules", one.params) for one in taken[:-1]]
    detail = (
        f"{gone} of {len(was)} are missing; each goes before all others, so the last comes first"
    )
    yield from both.said(Kind.RULES, detail, calls, taken)


def _content(row: Section) -> dict[str, str]:
    return {key: value for key, value in values(row).items() if key not in _TOLD and value}
