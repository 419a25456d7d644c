"""What is put back is what is missing now, by the calls that were shown; what is there stays as it
is, what is not known is not tried, and HA gets nothing that it would start or stop by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.surroundings import Call, Kind, Right, Surrounding, find
from policies.surroundings.model import Action, for_hands, right, said, unknown
from policies.surroundings.putting_back import (
    Ended,
    Make,
    Outcome,
    Standing,
    arming,
    blocked,
    decide,
    files_of,
    left_over,
    may,
    told,
    without_calls,
)
from tests.unit.policies.surroundings.worlds import BACK, FULL, FW, config, one

HA, HOME, ALONE = "HA resource vm:108", "HA rule home", "backup job alone"
THEN = config(FULL)
NOTHING = Ended(Outcome.THERE, "", left=False)


def shown() -> tuple[Surrounding, ...]:
    return find(THEN, config(BACK), 108)


def decided(
    what: str, change: Mapping[str, str | None], *, made: int = 0, begun: bool = False
) -> Make | Ended:
    """What becomes of a thing that was shown, when the cluster has changed since."""
    now = config(BACK, change)
    return decide(one(shown(), what), find(THEN, now, 108), now, made=made, begun=begun)


def thing(kind: Kind, name: str = "", calls: int = 1) -> Surrounding:
    made = tuple(Call("POST", "x", (("n", str(number)),)) for number in range(calls))
    return Surrounding(kind, name, Action.COMMAND, "missing", made, (right("A.B", "/x"),))


def test_what_is_still_missing_is_put_back_by_the_calls_that_were_shown() -> None:
    for item in shown():
        answer = decided(item.what, {})
        assert answer == Make(item.calls), item.what


def test_what_somebody_put_back_meanwhile_is_there_and_nothing_is_left() -> None:
    assert {decided(item.what, FULL) == NOTHING for item in shown()} == {True}


def test_what_we_put_back_is_done_and_so_is_what_a_lost_answer_hid() -> None:
    for item in shown():
        for made, begun in ((1, False), (0, True)):
            answer = decided(item.what, FULL, made=made, begun=begun)
            assert answer == Ended(Outcome.DONE, "", left=False)


def test_of_several_calls_those_are_left_that_are_still_missing() -> None:
    rules = one(shown(), "firewall rules")
    last = {FW + "rules.cfg": "rule: 0\n\taction DROP\n\tenable 1\n\ttype in\n"}
    assert decided("firewall rules", last) == Make(rules.calls[1:])
    # the same rule twice: what is left is told by how many are missing
    twice = FULL | {FW + "rules.cfg": "rule: 0\n\taction DROP\n\nrule: 1\n\taction DROP\n"}
    both = one(find(config(twice), config(BACK), 108), "firewall rules")
    now = config(BACK, {FW + "rules.cfg": "rule: 0\n\taction DROP\n"})
    answer = decide(both, find(config(twice), now, 108), now, made=1, begun=False)
    assert answer == Make(both.calls[1:]) and len(both.calls) == 2


def test_of_options_that_are_set_at_once_those_are_left_that_are_still_missing() -> None:
    half = {FW + "options.cfg": "enable: 1\n"}
    answer = decided("firewall options", half)
    path = "nodes/n1/qemu/108/firewall/options"
    assert answer == Make((Call("PUT", path, (("policy_in", "DROP"),)),))
    # a rule with a part of its conditions is another rule
    whole = Call("POST", "x/rules", (("action", "ACCEPT"), ("dport", "22")))
    part = replace(whole, params=whole.params[:1])
    rules = replace(thing(Kind.RULES), calls=(whole,))
    answer = decide(rules, [replace(rules, calls=(part,))], config({}), made=0, begun=False)
    assert isinstance(answer, Ended) and answer.outcome is Outcome.COMMAND


def test_what_has_changed_since_it_was_shown_is_not_overwritten() -> None:
    jobs = BACK["jobs.cfg"].replace("vmid 105", "vmid 105,106")
    answer = decided("backup job both", {"jobs.cfg": jobs})
    assert isinstance(answer, Ended) and answer.outcome is Outcome.COMMAND and answer.left
    assert answer.commands == ("pvesh set /cluster/backup/both --vmid 105,106,108",)
    assert "not as it was when this was shown" in answer.detail


def test_what_was_set_up_otherwise_is_left_as_it_is_and_said() -> None:
    stopped = BACK["ha/resources.cfg"] + "\nvm: vm:108\n\tmax_restart 3\n\tstate stopped\n"
    answer = decided(HA, {"ha/resources.cfg": stopped})
    assert isinstance(answer, Ended) and (answer.outcome, answer.left) == (Outcome.THERE, True)
    assert answer.detail.endswith("not as it was: state is stopped, not started")
    # of what we made ourselves it is a failure
    ours = decided(HA, {"ha/resources.cfg": stopped}, made=1)
    assert isinstance(ours, Ended) and ours.outcome is Outcome.FAILED
    assert (
        ours.detail == "Proxmox VE took it, and shows something else: state is stopped, not started"
    )


@pytest.mark.parametrize(
    ("what", "change", "differs"),
    [
        (ALONE, {"jobs.cfg": FULL["jobs.cfg"].replace("21:00", "4:00")}, "schedule is 4:00"),
        (HOME, FULL | {"ha/rules.cfg": FULL["ha/rules.cfg"].replace("n1:2,n2", "n3")}, "nodes is n3"),
        (
            "replication job 108-0",
            {"replication.cfg": "local: 105-0\n\ttarget n2\n\nlocal: 108-7\n\trate 1\n\ttarget n2\n"},
            "rate is 1",
        ),
        (
            "rights /vms/108 token a@pve!b PVEVMUser",
            {"access/acl.cfg": FULL["access/acl.cfg"].replace("propagate 0", "propagate 1")},
            "propagate is 1",
        ),
        ("firewall aliases", {FW + "aliases.cfg": "alias: lan\n\tcidr 10.0.0.0/9\n"}, "cidr is 10.0.0.0/9"),
        (
            "firewall IP sets",
            {
                FW + "ipset.cfg": FULL[FW + "ipset.cfg"],
                FW + "ipset/admins.cfg": "address: 10.1.0.0/16\n\naddress: 10.1.2.3\n\tnomatch 0\n",
            },
            "nomatch is 0",
        ),
        ("firewall options", {FW + "options.cfg": "enable: 0\npolicy_in: DROP\n"}, "enable is 0"),
    ],
)  # fmt: skip
def test_each_kind_is_held_against_what_it_was(
    what: str, change: Mapping[str, str | None], differs: str
) -> None:
    answer = decided(what, change)
    assert isinstance(answer, Ended) and answer.outcome is Outcome.THERE
    assert differs in answer.detail


def test_what_somebody_removed_or_moved_for_good_is_left_to_him() -> None:
    answer = decided("pool web", {"pools.cfg": None, "pools/web.cfg": None})
    assert answer == Ended(
        Outcome.SKIPPED, "it was in web, and there is no such pool any more", left=False
    )


def test_what_cannot_be_read_now_is_not_known() -> None:
    item = one(shown(), HA)
    now = config(BACK, {}, {"ha/resources.cfg": "no right"})
    answer = decide(item, find(THEN, now, 108), now, made=0, begun=False)
    assert isinstance(answer, Ended) and not answer.known and answer.left
    assert answer.outcome is Outcome.SKIPPED and answer.commands == item.commands
    assert "not known" in answer.detail and "no right" in answer.detail


def test_a_firewall_that_was_read_in_part_tells_of_none_of_its_parts() -> None:
    for item in shown():
        if "firewall" not in item.what:
            continue
        now = config(BACK, FULL, {FW + "rules.cfg": "no answer"})
        answer = decide(item, find(THEN, now, 108), now, made=1, begun=False)
        assert isinstance(answer, Ended) and not answer.known and "no answer" in answer.detail


def test_fields_that_no_command_can_hold_are_left_when_the_rest_is_done() -> None:
    item = replace(one(shown(), HA), by_hand=("comment",))
    answer = decide(item, (), config(FULL), made=1, begun=False)
    assert answer == Ended(Outcome.DONE, "to be set by hand: comment")


def test_what_no_call_puts_back_is_left_to_hands_or_only_told() -> None:
    assert without_calls(said(Kind.POOL, "x", "note")) == Ended(Outcome.SKIPPED, "note", left=False)
    assert without_calls(for_hands(Kind.POOL, "x", "by hand")).left
    assert not without_calls(unknown(Kind.POOL, "x", "why")).known


def test_a_firewall_is_shut_only_when_all_that_may_pass_is_there() -> None:
    rules, options = thing(Kind.RULES), thing(Kind.OPTIONS)
    aliases = thing(Kind.ALIASES)
    done, failed = Ended(Outcome.DONE, "", left=False), Ended(Outcome.FAILED, "why")
    assert blocked(options, [(aliases, done), (rules, done)]) is None
    assert blocked(rules, [(aliases, done), (thing(Kind.POOL), failed)]) is None
    held = blocked(options, [(aliases, done), (rules, failed)])
    assert held == Ended(
        Outcome.SKIPPED,
        "it comes after firewall rules, of which something is left to do",
        options.commands,
    )
    # of a set that is there otherwise than it was, rules can use what there is
    assert blocked(rules, [(aliases, replace(failed, outcome=Outcome.THERE))]) is None
    # a firewall that was not read in full may have had rules
    part = unknown(Kind.FIREWALL, "", "not read then")
    assert blocked(options, [(part, without_calls(part))]) is not None


def test_an_ha_rule_waits_for_its_resource() -> None:
    resource, rule = thing(Kind.HA_RESOURCE, "vm:108"), thing(Kind.HA_RULE, "home")
    left = left_over(resource, Outcome.COMMAND, "the token lacks it")
    assert left.commands == resource.commands
    held = blocked(rule, [(resource, left)])
    assert held is not None and "it comes after HA resource vm:108" in held.detail


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (frozenset({"A.B"}), None),
        (frozenset({"C.D"}), None),
        (frozenset({"E.F"}), "the token lacks A.B or C.D on /x"),
        (frozenset(), "the token lacks A.B or C.D on /x"),
        (None, "whether the token holds A.B or C.D on /x is not known"),
    ],
)
def test_a_call_needs_any_of_the_privileges_at_each_path(
    held: frozenset[str] | None, why: str | None
) -> None:
    item = replace(thing(Kind.POOL, calls=2), rights=(Right("/x", ("A.B", "C.D")),))
    end = may(item, item.calls[1:], {"/x": held})
    if why is None:
        assert end is None
    else:
        assert end == Ended(Outcome.COMMAND, why, item.commands[1:])


def ha(state: str | None) -> Surrounding:
    params = (("sid", "vm:108"), *((("state", state),) if state is not None else ()))
    return replace(thing(Kind.HA_RESOURCE), calls=(Call("POST", "cluster/ha/resources", params),))


@pytest.mark.parametrize("state", [None, "", "started", "enabled"])
def test_law_2_ha_gets_no_guest_that_it_would_start(state: str | None) -> None:
    assert arming(ha(state), Standing(True)) is None
    for standing, why in (
        (Standing(False), "it does not run"),
        (Standing(None), "whether it runs is not known"),
        (Standing(True, "backup"), "it is locked (backup)"),
        (Standing(True, doubt="guest 208 is the same machine"), "guest 208 is the same machine"),
    ):
        end = arming(ha(state), standing)
        assert end is not None and why in end.detail and end.left
        assert end.outcome is Outcome.SKIPPED and end.commands


@pytest.mark.parametrize("state", ["stopped", "disabled"])
def test_law_1_ha_gets_no_guest_that_it_would_stop(state: str) -> None:
    assert arming(ha(state), Standing(False)) is None
    for running, why in ((True, "it runs, and HA would stop it"), (None, "it may run")):
        end = arming(ha(state), Standing(running))
        assert end is not None and why in end.detail


def test_a_state_in_which_ha_does_nothing_is_put_back_and_one_that_nobody_knows_is_not() -> None:
    assert arming(ha("ignored"), Standing(None)) is None
    end = arming(ha("freeze"), Standing(True))
    assert end is not None and "state freeze is not known" in end.detail


def test_only_the_lists_that_tell_of_a_kind_are_read_for_it() -> None:
    assert files_of(Kind.POOL) == {"pools.cfg"} and not files_of(Kind.RULES)
    for item in shown():
        few = files_of(item.kind)
        base = {"guests.cfg", "guests/qemu-108.conf"}
        now = config({path: text for path, text in BACK.items()
                      if path in few | base or (item.kind is Kind.POOL and path[:6] == "pools/")})  # fmt: skip
        assert one(find(THEN, now, 108), item.what).calls == item.calls


def test_all_of_it_is_told_in_a_few_words() -> None:
    ends = [Ended(outcome, "") for outcome in (Outcome.DONE, Outcome.DONE, Outcome.COMMAND)]
    assert told(ends) == "2 put back, 1 left to be typed"
    assert told([]) == "nothing was missing"


@given(st.lists(st.sampled_from("ab"), max_size=4), st.lists(st.sampled_from("ab"), max_size=4))
def test_no_call_is_made_that_was_not_shown(before: list[str], now: list[str]) -> None:
    def of(names: list[str]) -> Surrounding:
        return replace(thing(Kind.RULES), calls=tuple(Call("POST", name, ()) for name in names))

    answer = decide(of(before), [of(now)], config({}), made=0, begun=False)
    if isinstance(answer, Make):
        assert now and "".join(before).count(now[0]) and len(now) <= len(before)
        assert list(answer.calls) == list(of(now).calls)
    else:
        assert not now or answer.outcome is Outcome.COMMAND
