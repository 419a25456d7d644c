"""Tell who answers at an address of the isolated bridge, from the neighbour table of the probe
there.

An answer over the network counts for a copy only if the copy gave it. Its MAC alone proves nothing,
for the original has the same one. So the address must be silent before the copy starts, be the
copy's MAC while it runs, and be silent again when it is off.

The probe is a Linux machine. What it knows of a neighbour is a state of its kernel
(ip-neighbour(8); without ``ip`` /proc/net/arp, proc(5)). ARP gives up after three questions a
second apart: INCOMPLETE until then, FAILED after it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from policies.check_kinds import NETWORK_KINDS
from policies.model import CheckResult, Outcome

# seconds; the kernel calls a neighbour reachable for about so long after its last word
CONFIRMED_WITHIN = 30
ASKED_ANEW = 10.0  # seconds in which an entry that may be old is asked anew
# seconds; one that is still REACHABLE becomes old within 45, where the login may not clear it
LAPSES_WITHIN = 60.0
_MAC = re.compile(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NO_MAC = "00:00:00:00:00:00"


class State(StrEnum):
    """A neighbour's state. KNOWN is all that /proc/net/arp can say of an entry with a MAC,
    UNANSWERED of one without.
    """

    ABSENT = "absent"
    FAILED = "FAILED"
    INCOMPLETE = "INCOMPLETE"
    UNANSWERED = "without an answer"
    REACHABLE = "REACHABLE"
    STALE = "STALE"
    DELAY = "DELAY"
    PROBE = "PROBE"
    PERMANENT = "PERMANENT"
    KNOWN = "known"


SILENT_STATES = frozenset({State.ABSENT, State.FAILED, State.INCOMPLETE, State.UNANSWERED})


class Way(StrEnum):
    """How the probe reaches an address."""

    ON_LINK = "on-link"
    OWN = "own"
    ROUTED = "routed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Table:
    """What a probe said of one address. ``confirmed`` are whole seconds since its neighbour last
    gave a sign, None: not told.

    ``forwarding`` are the probe's interfaces that pass packets on, which none may.
    """

    state: State
    mac: str | None
    confirmed: int | None
    way: Way
    forwarding: tuple[str, ...] = ()


class Heard(StrEnum):
    """What became of one attempt to connect to a port."""

    OPEN = "accepts connections"
    REFUSED = "refuses connections"
    NOTHING = "no answer"


class Verdict(StrEnum):
    """What was found at an address: UNSETTLED must be asked anew, UNKNOWN could not be asked."""

    SILENT = "silent"
    ANSWERED = "answered"
    UNSETTLED = "unsettled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on an address, the sentence that says why, and the MAC that answers, if one
    does.
    """

    verdict: Verdict
    words: str
    mac: str | None = None


# --- asking and reading ---------------------------------------------------------------------------


def question(address: str, *, clear: bool = False) -> str:
    """Given an IP address, return the command that has a probe tell what ``read`` reads. No
    privilege is needed for it.

    ``clear`` first drops what the probe remembers of the address, where the login may do that.
    Raise ValueError for no address.
    """
    target = str(ipaddress.ip_address(address))
    drop = f"ip neigh flush to {target} >/dev/null 2>&1; " if clear else ""
    by_ip = (
        f"{drop}echo @neigh; ip -s neigh show to {target} 2>/dev/null || ip neigh show to "
        f"{target}; echo @route; ip route get {target} 2>&1; "
    )
    by_files = (
        "echo @arp; cat /proc/net/arp; echo @routes; cat /proc/net/route; echo @fib; cat "
        "/proc/net/fib_trie; "
    )
    forwarding = (
        "grep -H . /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding "
        "2>/dev/null; "
    )
    script = (
        f"PATH=$PATH:/sbin:/usr/sbin; if command -v ip >/dev/null; then {by_ip} else {by_files} "
        f"fi; echo @forwarding; {forwarding} echo @end"
    )
    return f"sh -c '{script}'"


def read(text: str, address: str) -> Table | None:
    """Given a probe's answer to ``question``, return what it says of the address; None if it is no
    answer to it, or not all.
    """
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            lines = sections.setdefault(line[1:].strip(), [])
        else:
            lines.append(line)
    # without its end the answer may have been cut off anywhere
    if "end" not in sections or "forwarding" not in sections:
        return None
    wanted, forwarding = ipaddress.ip_address(address), []
    for line in sections["forwarding"]:
        # /proc/sys/net/ipv4/conf/eth0/forwarding:0; default is of interfaces that are yet to come
        path, _, value = line.rpartition(":")
        parts = path.split("/")
        if len(parts) > 6 and parts[6] not in ("default", "lo") and value.strip() not in ("", "0"):
            forwarding.append(f"{parts[6]} ({'IPv6' if parts[4] == 'ipv6' else 'IPv4'})")
    if "neigh" in sections:
        return Table(*_by_ip(sections, wanted), tuple(forwarding))
    if "arp" in sections and wanted.version == 4:  # IPv6 neighbours are in no such file
        return Table(*_by_files(sections, wanted), tuple(forwarding))
    return None


def _by_ip(
    sections: Mapping[str, Sequence[str]], wanted: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> tuple[State, str | None, int | None, Way]:
    """What ``ip`` says, busybox and iproute2 alike. A neighbour is ``192.168.10.8 dev eth0 lladdr
    bc:24:11:00:00:08 used 4/2/1 probes 1 REACHABLE``, a route ``192.168.10.8 dev eth0 src
    192.168.10.250``, with ``via`` where it is routed and ``local`` before the probe's own.
    """
    entry: tuple[State, str | None, int | None] = State.ABSENT, None, None
    for line in sections["neigh"]:
        words = line.split()
        if not words or _ip(words[0]) != wanted:
            continue
        state = next((State(word) for word in reversed(words) if word in State.__members__), None)
        if "NOARP" in words:
            state = State.PERMANENT
        mac = words[words.index("lladdr") + 1].upper() if "lladdr" in words[:-1] else None
        used = words[words.index("used") + 1].split("/") if "used" in words[:-1] else []
        confirmed = int(used[1]) if len(used) == 3 and used[1].isdigit() else None
        if state is not None:
            entry = state, mac, confirmed
            break
    words = next((line.split() for line in sections.get("route", ()) if line.strip()), [])
    if words[:1] == ["local"]:
        return *entry, Way.OWN
    if words[:1] == ["unicast"]:
        del words[0]
    # any other word before the address (broadcast, unreachable ...) leads to no guest
    if not words or _ip(words[0]) != wanted:
        return *entry, Way.NONE
    return *entry, Way.ROUTED if "via" in words else Way.ON_LINK


def _by_files(
    sections: Mapping[str, Sequence[str]], wanted: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> tuple[State, str | None, None, Way]:
    """The same from /proc/net/arp, /proc/net/fib_trie (own addresses) and /proc/net/route (addresses
    in hex, in the host's byte order). When a neighbour last gave a sign is in none of them.
    """
    state, mac = State.ABSENT, None
    # 192.168.10.8  0x1  0x2  bc:24:11:00:00:08  *  eth0: flags 0x0 have no MAC, 0x2 have one, 0x4
    # is entered by hand
    for line in sections["arp"]:
        words = line.split()
        if len(words) < 6 or _ip(words[0]) != wanted:
            continue
        if not re.fullmatch(r"0x[0-9a-fA-F]+", words[2]):
            continue
        flags = int(words[2], 16)
        state, mac = State.UNANSWERED, None
        if flags & 0x2 and words[3] != _NO_MAC:
            state, mac = State.PERMANENT if flags & 0x4 else State.KNOWN, words[3].upper()
        break
    trie = [line.strip() for line in sections.get("fib", ())]
    if any(one == f"|-- {wanted}" and two == "/32 host LOCAL" for one, two in pairwise(trie)):
        return state, mac, None, Way.OWN
    found: list[tuple[int, Way]] = []
    for line in sections.get("routes", ()):
        words = line.split()
        if len(words) > 7 and all(re.fullmatch(r"[0-9A-F]{8}", words[n]) for n in (1, 2, 7)):
            target, gateway, mask = (
                int.from_bytes(bytes.fromhex(words[n]), "little") for n in (1, 2, 7)
            )
            if int(wanted) & mask == target:
                found.append((mask, Way.ROUTED if gateway else Way.ON_LINK))
    # the narrowest route wins
    _, way = max(found, default=(0, Way.NONE), key=lambda route: route[0])
    return state, mac, None, way


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


# --- deciding -------------------------------------------------------------------------------------


def unfit(table: Table, address: str) -> str | None:
    """Given what a probe said, return why no copy can be asked at that address through it, None if
    one can.
    """
    ip = ipaddress.ip_address(address)
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return f"{address} is no address of a guest"
    return {
        Way.OWN: f"{address} is the probe's own address, so the probe itself would answer",
        Way.ROUTED: f"{address} is not on a network of the probe: it would be reached through a "
        "router",
        Way.NONE: f"{address} is on no network of the probe",
    }.get(table.way)


def forwards(table: Table) -> str | None:
    """Given what a probe said, return which of its interfaces pass packets on, None if none
    does.
    """
    return ", ".join(table.forwarding) or None


def listen(
    table: Table, address: str, heard: Mapping[int, Heard], *, cleared: bool, out: float
) -> Finding:
    """Given what a probe said after attempts to connect to an address, decide whether anybody is
    there.

    ``heard`` is what became of the attempt at each port, ``out`` for how many seconds they have
    been out. ``cleared``: what the probe remembered had been dropped before, so that whatever it
    knows is news. A refusal needs a MAC to come from.
    """
    opened = sorted(port for port, what in heard.items() if what is Heard.OPEN)
    if opened:
        return Finding(
            Verdict.ANSWERED, f"port {opened[0]} accepts connections{_of(table.mac)}", table.mac
        )
    if table.state in SILENT_STATES:
        return Finding(Verdict.SILENT, f"nobody answers at {address} ({_entry(table)})")
    refused = sorted(port for port, what in heard.items() if what is Heard.REFUSED)
    if refused:
        return Finding(
            Verdict.ANSWERED, f"port {refused[0]} refuses connections{_of(table.mac)}", table.mac
        )
    news = table.confirmed is not None and table.confirmed + 1 <= out
    if cleared or news or table.state is State.PERMANENT:
        return Finding(Verdict.ANSWERED, f"it answers who it is{_of(table.mac)}", table.mac)
    return Finding(
        Verdict.UNSETTLED, f"the probe remembers somebody at {address} ({_entry(table)})", table.mac
    )


def settled(finding: Finding, waited: float, *, lingering: bool) -> Finding:
    """Given a finding and the seconds for which it was asked anew, return what it has come to by
    now.

    ``lingering``: its entry still is REACHABLE, from an earlier word, and must first become old.
    """
    if finding.verdict is not Verdict.UNSETTLED or waited <= (
        LAPSES_WITHIN if lingering else ASKED_ANEW
    ):
        return finding
    return replace(
        finding,
        verdict=Verdict.ANSWERED,
        words=f"{finding.words}, for {waited:.0f} s, however often it is asked",
    )


def copys(table: Table, address: str, macs: Collection[str]) -> Finding:
    """Given what a probe said right after an answer, decide whether it was the copy's; ``macs`` are
    those of its config.

    ANSWERED: by the copy. SILENT: nobody is there. UNKNOWN: by somebody else. UNSETTLED: the entry
    may be old.
    """
    if table.state in SILENT_STATES:
        return Finding(Verdict.SILENT, f"nobody is at {address} ({_entry(table)})")
    known = {mac.upper() for mac in macs}
    if table.mac not in known:
        own = ", ".join(sorted(known)) or "none"
        return Finding(
            Verdict.UNKNOWN,
            f"somebody else answers at {address}{_of(table.mac)}; the copy's MAC is {own}",
            table.mac,
        )
    fresh = table.confirmed is not None and table.confirmed <= CONFIRMED_WITHIN
    if table.state is State.REACHABLE or fresh:
        return Finding(
            Verdict.ANSWERED, f"{address} is the copy's {table.mac}, {_entry(table)}", table.mac
        )
    if table.state is State.KNOWN:
        words = (
            f"{address} is the copy's {table.mac}; how fresh that is cannot be told from "
            "/proc/net/arp"
        )
        return Finding(Verdict.ANSWERED, words, table.mac)
    return Finding(
        Verdict.UNSETTLED,
        f"{address} is remembered as the copy's {table.mac} ({_entry(table)})",
        table.mac,
    )


def _entry(table: Table) -> str:
    state = "no neighbour entry" if table.state is State.ABSENT else f"neighbour {table.state}"
    return (
        state
        if table.confirmed is None or table.mac is None
        else f"{state}, last confirmed {table.confirmed} s ago"
    )


def _of(mac: str | None) -> str:
    return f" (MAC {mac})" if mac else ""


# --- what a test remembers ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Silence:
    """What a restore test remembers of its listening at the copy's address.

    ``ports`` are those at which it knocks, ``since`` the seconds of the test at which it first
    listened. ``before``, ``during`` and ``after`` are what was found before the start, while the
    copy ran and after its stop; ``last``: the last look before the start is over.
    """

    address: str
    ports: tuple[int, ...]
    since: float | None = None
    before: Finding | None = None
    last: bool = False
    during: Finding | None = None
    after: Finding | None = None

    @property
    def looks(self) -> dict[str, tuple[Finding, bool]]:
        """What was found before, while and after the copy ran, as far as anybody looked, and
        whether each is as it must be.
        """
        wanted = (
            ("before", self.before, Verdict.SILENT),
            ("while", self.during, Verdict.ANSWERED),
            ("after", self.after, Verdict.SILENT),
        )
        return {
            phase: (found, found.verdict is verdict) for phase, found, verdict in wanted if found
        }


def doubts(memory: Silence | None, *, answered: bool, ended_early: bool) -> tuple[str, ...]:
    """Given what a restore test remembers of its listening (None: no check speaks to the network),
    return what casts doubt.

    ``answered``: a check over the network passed; ``ended_early``: an error ended the test, so
    nobody listened after it.
    """
    if not memory:
        return ()
    address, found, after = memory.address, [], memory.after
    if why := unsilenced(memory):
        found.append(why)
    if answered and (memory.during is None or memory.during.verdict is not Verdict.ANSWERED):
        said = memory.during.words if memory.during else "nobody looked"
        found.append(f"it is not known that the answers at {address} were the copy's: {said}")
    if not ended_early and (after is None or after.verdict is not Verdict.SILENT):
        said = after.words if after else "nobody listened"
        known = after is not None and after.verdict is Verdict.ANSWERED
        what = (
            "somebody else answers at {0}: it did so"
            if known
            else "it is not known that {0} was silent"
        )
        found.append(f"{what.format(address)} after the copy had been stopped: {said}")
    return tuple(found)


def unsilenced(memory: Silence) -> str | None:
    """Given what a restore test remembers of its listening, return why it is not known that its
    address was silent, or None.
    """
    if memory.before and memory.before.verdict is Verdict.SILENT:
        return None
    said = memory.before.words if memory.before else "nobody listened"
    return f"it is not known that {memory.address} was silent before the copy started: {said}"


def discounted(results: tuple[CheckResult, ...], why: Sequence[str]) -> tuple[CheckResult, ...]:
    """Given checks' answers and what casts doubt on who gave them, return them with none over the
    network counted.
    """
    if not why:
        return results
    doubtful = (Outcome.PASSED, Outcome.FAILED)
    return tuple(
        replace(
            one, outcome=Outcome.INCONCLUSIVE, detail=f"its answer does not count ({one.detail})"
        )
        if one.kind in NETWORK_KINDS and one.outcome in doubtful
        else one
        for one in results
    )


def evidence(memory: Silence | None) -> tuple[str, ...]:
    """Given what a restore test remembers of its listening, return it as sentences for whoever
    reads the evidence.
    """
    when = {"before": "before the start", "while": "while the copy ran", "after": "after the stop"}
    looks = memory.looks.items() if memory else ()
    return tuple(
        f"{'holds' if holds else 'DOES NOT HOLD'}: {when[phase]}: {found.words}"
        for phase, (found, holds) in looks
    )
