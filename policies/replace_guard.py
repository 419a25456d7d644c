"""Keep a guest and the one that replaces it from being on the network together (law 2): given what is
seen of both, say what may be done next.

Both are one machine, with the same MAC addresses. So the links of one are brought up only while those
of the other are known to be down, and whatever is not known brings nothing up. To take something off
the network is always allowed. Asked anew right before each effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.model import CheckResult, Outcome, PolicyError
from policies.pve import guest_config


class Power(StrEnum):
    """Whether a guest runs. ABSENT: by the cluster's word nobody has its VMID, or another machine
    does.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Links(StrEnum):
    """A guest's links: UP if any is, DOWN if all are, by its config and as they are now."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Side:
    """What is seen of one of the two. ``managed``: HA may start or stop it by itself, or that is not
    known.
    """

    power: Power = Power.UNKNOWN
    links: Links = Links.UNKNOWN
    managed: bool = True

    @property
    def apart(self) -> bool:
        """Whether it surely is not on the network, nor comes onto it when it starts."""
        return self.power is Power.ABSENT or self.links is Links.DOWN


ABSENT = Side(Power.ABSENT, Links.DOWN, managed=False)


class Act(StrEnum):
    """What a replacement, and its way back, may do. OLD is the guest that was there, NEW the one that
    was restored.
    """

    START_NEW = "start the new guest with its links down"
    SHUT_OLD = "shut the old guest down"
    PULL_OLD = "take the old guest's links down"
    CONNECT_NEW = "bring the new guest's links up"
    PULL_NEW = "take the new guest's links down"
    SHUT_NEW = "shut the new guest down"
    RETURN_OLD = "give the old guest its links back"
    START_OLD = "start the old guest"
    HOLD_OLD = "have HA leave the old guest alone"
    HOLD_NEW = "have HA leave the new guest alone"
    ARM_NEW = "let HA manage the new guest"
    ARM_OLD = "let HA manage the old guest again"


OF_OLD = frozenset(
    {Act.SHUT_OLD, Act.PULL_OLD, Act.RETURN_OLD, Act.START_OLD, Act.HOLD_OLD, Act.ARM_OLD}
)
_POWERING = frozenset({Act.START_NEW, Act.SHUT_OLD, Act.SHUT_NEW, Act.START_OLD})


def refusal(act: Act, old: Side, new: Side) -> str | None:
    """Given what is to be done and what is seen of both at this moment, return why it must not be
    done; None if it may.
    """
    mine = old if act in OF_OLD else new
    if mine.power is Power.ABSENT:
        return "it is not there, or is another machine"
    if act in _POWERING and mine.managed:
        return "HA manages it, or whether it does is not known"
    if act is Act.START_NEW and not new.apart:
        return f"its own links are {new.links}"
    if act is Act.SHUT_OLD and not (new.power is Power.RUNNING and new.apart):
        return f"the new guest is {new.power} and its links are {new.links}"
    if act is Act.PULL_OLD and old.power is not Power.STOPPED:
        return f"it is {old.power}"
    if act is Act.CONNECT_NEW and not _off(old):
        return _told(old)
    if act is Act.SHUT_NEW and not new.apart:
        return f"its links are {new.links}"
    # HA starts what it manages, whenever it likes
    if act is Act.ARM_NEW and new.power is not Power.RUNNING:
        return f"it is {new.power}"
    if act is Act.ARM_NEW and not _off(old):
        return _told(old)
    if act in (Act.RETURN_OLD, Act.START_OLD, Act.ARM_OLD) and not new.apart:
        return f"the new guest is {new.power} and its links are {new.links}"
    if act is Act.ARM_OLD and new.managed:
        return "HA manages the new guest, or whether it does is not known"
    return None


def _told(old: Side) -> str:
    managed = ", and HA manages it, or whether it does is not known" if old.managed else ""
    return f"the old guest is {old.power} and its links are {old.links}{managed}"


def _off(old: Side) -> bool:
    """Whether the old guest is off and stays off the network even if somebody starts it."""
    stopped = old.power is Power.STOPPED and old.links is Links.DOWN and not old.managed
    return stopped or old.power is Power.ABSENT


# --- links, as they stand in a config -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wiring:
    """A guest's NIC lines by their keys, and its ``onboot`` (None: the config has none)."""

    nics: Mapping[str, str]
    onboot: str | None = None


def wiring(config: Mapping[str, str]) -> Wiring:
    """Given a guest's config, return its NICs and whether it starts at boot."""
    return Wiring(dict(guest_config.nics(config)), config.get("onboot"))


def overrides(config: Mapping[str, str]) -> dict[str, str]:
    """Given the archived config, return the options to send with the restore of a replacement: the
    same machine, with all links down, not started at boot.
    """
    return {"onboot": "0"} | {
        key: guest_config.pulled(value) for key, value in guest_config.nics(config)
    }


def links(lines: Iterable[str]) -> Links:
    """Given NIC lines, as they are and as they will be, return how the links are."""
    found = Links.DOWN
    for line in lines:
        try:
            if not guest_config.parse_nic(line).link_down:
                return Links.UP
        except PolicyError:
            found = Links.UNKNOWN
    return found


def cut(config: Mapping[str, str]) -> dict[str, str]:
    """Given a guest's config, return what to set so that all its links are down and it does not start
    at boot; nothing if that is so.
    """
    wanted = {
        key: guest_config.pulled(value)
        for key, value in guest_config.nics(config)
        if links([value]) is not Links.DOWN
    }
    return wanted if config.get("onboot", "0") == "0" else wanted | {"onboot": "0"}


@dataclass(frozen=True, slots=True)
class Change:
    """What to set in a config, and which keys to delete from it."""

    set: Mapping[str, str]
    delete: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


def given_back(config: Mapping[str, str], before: Wiring) -> Change:
    """Given a guest's config and how it was wired before, return the change that brings its links and
    its start at boot back.

    A NIC that somebody changed meanwhile keeps that, and gets its link as it was; one that is new, or
    gone, is left alone.
    """
    wanted: dict[str, str] = {}
    for key, value in guest_config.nics(config):
        was = before.nics.get(key)
        if was is None or value == was:
            continue
        if guest_config.without_link(value) == guest_config.without_link(was):
            wanted[key] = was
        elif links([was]) is Links.UP and links([value]) is Links.DOWN:
            wanted[key] = guest_config.without_link(value)
    delete: tuple[str, ...] = ()
    if config.get("onboot") != before.onboot:
        if before.onboot is None:
            delete = ("onboot",)
        else:
            wanted["onboot"] = before.onboot
    return Change(wanted, delete)


# --- before the switch ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the new guest may take the place of the old one, and why."""

    ready: bool
    said: str


def readiness(answers: Sequence[CheckResult], *, simulated: bool, accepted: bool) -> Readiness:
    """Given the answers to the checks that need no network, return whether to go on. ``accepted``: a
    person said beforehand that what cannot be asked is no obstacle.
    """
    bad = [f"{one.name}: {one.detail}" for one in answers if one.outcome is Outcome.FAILED]
    if bad:
        return Readiness(False, f"check failed: {'; '.join(bad)}")
    unsure = [f"{one.name}: {one.detail}" for one in answers if one.outcome is not Outcome.PASSED]
    if simulated:
        unsure = ["the guest is only simulated, and nothing of it is asked"]
    elif not answers:
        unsure = ["it has no check that can be asked without a network (kind agent)"]
    if unsure:
        return Readiness(accepted, f"not known: {'; '.join(unsure)}")
    return Readiness(True, ", ".join(f"{one.name} passed" for one in answers))


# --- the word that a person types -----------------------------------------------------------------


def name_to_type(vmid: int, name: str) -> str:
    """Given a guest, return what must be typed so that it is shut down: its name, as PVE shows it."""
    return name or f"VM {vmid}"


def fits(typed: str | None, vmid: int, name: str) -> bool:
    """Given what somebody typed, return whether it is that guest's name."""
    return typed is not None and typed.strip() == name_to_type(vmid, name)
