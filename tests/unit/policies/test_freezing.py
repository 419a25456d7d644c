"""What a guest's agent says after the dump, what is made of its silence, and who is thawed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import freezing
from policies.freezing import (
    HELD_FOR,
    MAX_THAWS,
    SILENT_FOR,
    SURE_AFTER,
    Answer,
    Ask,
    Guest,
    Later,
    Settled,
    State,
    Thaw,
    ThawNow,
    ThawProgress,
    Trouble,
    after_asking,
    before_asking,
    latest,
    left,
    sentences,
    why_not_frozen,
)
from policies.site import load_policy

RUNS, NOW = Guest(running=True, agent=True, lock=None), ThawProgress(0.0, tried=True)


def state(decision: object) -> State | None:
    return decision.state if isinstance(decision, Settled) else None


def test_a_running_guest_with_an_agent_that_nobody_has_locked_is_asked() -> None:
    assert before_asking(RUNS, NOW) == Ask()


@pytest.mark.parametrize(
    "guest",
    [
        replace(RUNS, running=False),
        replace(RUNS, agent=False),
        replace(RUNS, running=False, lock="backup"),
    ],
)
def test_where_there_is_nobody_to_ask_nothing_is_made_of_it(guest: Guest) -> None:
    assert state(before_asking(guest, NOW)) is State.OFF


@pytest.mark.parametrize("lock", ["backup", "snapshot", "migrate", "anything"])
def test_a_locked_guest_is_not_asked_however_long_that_lasts_and_is_unknown_then(lock: str) -> None:
    locked = replace(RUNS, lock=lock)
    assert isinstance(before_asking(locked, NOW), Later)
    assert isinstance(before_asking(locked, replace(NOW, since=HELD_FOR - 0.1)), Later)
    assert state(before_asking(locked, replace(NOW, since=HELD_FOR))) is State.UNKNOWN


answers = st.builds(
    Answer,
    st.sampled_from([None, True, False]),
    st.sampled_from([None, *Trouble]),
    st.text(max_size=9),
)
standings = st.builds(
    ThawProgress,
    st.floats(0, 100),
    st.booleans(),
    st.none() | st.floats(0, 100),
    st.booleans(),
    st.integers(0, MAX_THAWS + 1),
)


@given(answers, standings)
def test_only_an_agent_that_says_so_makes_a_guest_thawed_and_only_one_that_says_so_frozen(
    answer: Answer, at: ThawProgress
) -> None:
    found = state(after_asking(answer, at))
    assert (found is State.THAWED) == (answer.frozen is False)
    if found is State.FROZEN:
        assert answer.frozen is True


@given(answers, standings)
def test_nobody_is_thawed_whom_the_policy_does_not_name_nor_without_end(
    answer: Answer, at: ThawProgress
) -> None:
    if isinstance(after_asking(answer, at), ThawNow):
        assert (
            at.may_thaw
            and answer.frozen
            and at.thaws < MAX_THAWS
            and (at.frozen_for or 0) >= SURE_AFTER
        )


@given(answers, standings)
def test_the_asking_comes_to_an_end(answer: Answer, at: ThawProgress) -> None:
    late = replace(at, since=max(SILENT_FOR, HELD_FOR), frozen_for=SURE_AFTER, thaws=MAX_THAWS)
    assert isinstance(after_asking(answer, late), Settled)
    assert isinstance(before_asking(replace(RUNS, lock="backup"), late), Settled)


def test_a_freeze_of_a_moment_is_not_yet_a_guest_left_frozen() -> None:
    for frozen_for in (None, 0.0, SURE_AFTER - 0.1):
        assert isinstance(after_asking(Answer(True), replace(NOW, frozen_for=frozen_for)), Later)
    assert state(after_asking(Answer(True), replace(NOW, frozen_for=SURE_AFTER))) is State.FROZEN


def test_a_frozen_guest_is_thawed_twice_at_most_and_then_called_frozen() -> None:
    at = replace(NOW, frozen_for=SURE_AFTER, may_thaw=True)
    assert [after_asking(Answer(True), replace(at, thaws=sent)) for sent in range(MAX_THAWS)] == [
        ThawNow()
    ] * MAX_THAWS
    given_up = after_asking(Answer(True), replace(at, thaws=MAX_THAWS))
    assert state(given_up) is State.FROZEN and "after 2 attempts" in str(given_up)


def test_who_thawed_a_guest_is_said() -> None:
    assert after_asking(Answer(False), NOW) == Settled(State.THAWED, "its agent says so")
    by_us = after_asking(Answer(False), replace(NOW, thaws=1))
    assert by_us == Settled(State.THAWED, "it was left frozen, and was thawed as the policy says")


@pytest.mark.parametrize(
    ("trouble", "tried", "waits"),
    [
        (Trouble.PASSING, True, True),
        (Trouble.PASSING, False, True),
        (Trouble.SILENT, True, True),
        # the dump did not freeze it: a dead agent costs one question a night
        (Trouble.SILENT, False, False),
        (Trouble.DENIED, True, False),
    ],
)
def test_who_cannot_be_asked_is_unknown_after_a_while_or_at_once(
    trouble: Trouble, tried: bool, waits: bool
) -> None:
    answer, at = Answer(None, trouble, "why"), replace(NOW, tried=tried)
    assert isinstance(after_asking(answer, at), Later) is waits
    assert after_asking(answer, replace(at, since=SILENT_FOR)) == Settled(State.UNKNOWN, "why")


def test_no_words_of_an_agent_say_that_there_is_nobody_to_ask() -> None:
    """They may be the guest's own; whether it has an agent is in its config, which is read before
    each question.
    """
    for trouble in Trouble:
        found = after_asking(
            Answer(None, trouble, "No QEMU guest agent configured"), replace(NOW, since=SILENT_FOR)
        )
        assert isinstance(found, Settled) and found.state is State.UNKNOWN


def test_the_states_are_kept_and_shown_by_these_words() -> None:
    assert [one.value for one in State] == ["thawed", "frozen", "unknown", "not-asked"]
    assert [one.value for one in Trouble] == ["passing", "silent", "denied"]


def test_who_has_not_said_that_it_may_be_thawed_is_not_and_says_nothing_of_attempts() -> None:
    frozen = after_asking(Answer(True), ThawProgress(SURE_AFTER, tried=True, frozen_for=SURE_AFTER))
    assert frozen == Settled(State.FROZEN, "its agent says so")
    assert after_asking(Answer(None, Trouble.DENIED), NOW) == Settled(State.UNKNOWN, "")


def test_at_the_second_at_which_it_has_waited_long_enough_it_waits_no_more() -> None:
    locked = Guest(True, True, "backup")
    assert isinstance(before_asking(locked, replace(NOW, since=HELD_FOR)), Settled)
    assert isinstance(before_asking(locked, replace(NOW, since=HELD_FOR - 1)), Later)
    assert isinstance(after_asking(Answer(True), replace(NOW, frozen_for=SURE_AFTER - 1)), Later)
    assert not isinstance(after_asking(Answer(True), replace(NOW, frozen_for=SURE_AFTER)), Later)


# --- what is remembered ---------------------------------------------------------------------------


def seen(state: State, at: int = 100, **more: Any) -> Thaw:
    return replace(Thaw(state, "so it is", at, tried=True), **more)


def test_a_guest_left_frozen_is_said_with_the_command_that_thaws_it() -> None:
    (said,) = sentences(104, seen(State.FROZEN))
    assert said.startswith("guest-left-frozen: ") and "qm guest cmd 104 fsfreeze-thaw" in said
    found = left(seen(State.FROZEN))
    assert found is not None and (found.at, found.certain) == (100, True)


def test_a_failed_thaw_after_which_nobody_could_ask_is_told_like_a_frozen_guest() -> None:
    thaw = seen(State.UNKNOWN, thaw_failed="got timeout")
    assert sentences(104, thaw)[0].startswith("guest-left-frozen: PVE's thaw failed")
    found = left(thaw)
    assert found is not None and not found.certain and found.why == "got timeout"


def test_what_is_not_known_is_said_where_the_dump_froze_and_is_no_finding() -> None:
    assert "not known" in sentences(104, seen(State.UNKNOWN))[0]
    assert left(seen(State.UNKNOWN)) is None
    assert sentences(104, seen(State.UNKNOWN, tried=False)) == ()


def test_a_guest_that_was_thawed_by_us_is_said_to_have_been_left_frozen_and_is_no_finding() -> None:
    assert "left its file systems frozen" in sentences(104, seen(State.THAWED, thaws=1))[0]
    assert left(seen(State.THAWED, thaws=1)) is None


@pytest.mark.parametrize(
    "thaw", [None, seen(State.THAWED), seen(State.OFF), seen(State.THAWED, thaw_failed="x")]
)
def test_of_a_guest_that_is_well_nothing_is_said(thaw: Thaw | None) -> None:
    assert (sentences(104, thaw), left(thaw), latest([thaw])) == ((), None, None)


@pytest.mark.parametrize(
    ("looks", "frozen"),
    [
        ([seen(State.FROZEN, 1)], True),
        ([seen(State.FROZEN, 1), seen(State.THAWED, 2)], False),
        ([seen(State.THAWED, 2), seen(State.FROZEN, 1)], False),
        ([seen(State.FROZEN, 1), seen(State.OFF, 2)], False),
        # who could not be asked is not thawed
        ([seen(State.FROZEN, 1), seen(State.UNKNOWN, 2)], True),
        ([seen(State.THAWED, 1), seen(State.FROZEN, 2)], True),
        ([], False),
    ],
)
def test_the_newest_look_that_says_anything_decides(looks: list[Thaw], frozen: bool) -> None:
    assert (latest(looks) is not None) is frozen


# --- the policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "guest", "thaws"),
    [
        ("", "", False),
        ("thaw: true", "", True),
        ("thaw: true", "thaw: false", False),
        ("", "thaw: true", True),
        ("thaw: false", "thaw: true", True),
    ],
)
def test_a_guest_is_thawed_only_if_the_policy_says_so_and_its_own_word_goes_first(
    job: str, guest: str, thaws: bool
) -> None:
    policy = load_policy(
        f"site: s\njobs: {{nightly: {{{job}}}}}\nguests: {{104: {{{guest}}}}}\n", "test"
    )
    assert freezing.may_thaw(policy, 104, policy.jobs[0]) is thaws
    assert freezing.may_thaw(policy, 105, policy.jobs[0]) is (job == "thaw: true")
    assert freezing.may_thaw(policy, 105, None) is False


# --- why an archive is only crash-consistent ------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "agent", "why"),
    [
        ("failed", "1", "its agent could not freeze"),
        ("agent-silent", "1", "did not answer"),
        ("switched-off", "1", "switched off"),
        ("switched-off", None, "no agent"),  # so says 9.2 of a guest without one
        ("already-frozen", "1", "somebody else"),
        ("none", "", "no agent configured"),
        ("none", "0", "no agent configured"),
        ("none", "1,freeze-fs=0", "switched off"),
        ("none", "enabled=1,freeze-fs-on-backup=No", "switched off"),
        ("none", "guest-fsfreeze=off,enabled=1", "switched off"),
        ("none", "1", "nothing froze"),
    ],
)
def test_a_crash_consistent_archive_says_why_it_is_no_better(
    freeze: str, agent: str, why: str
) -> None:
    config = {"agent": agent} if agent else {}
    assert why in why_not_frozen("crash-consistent", freeze, config)
    assert why_not_frozen("frozen", freeze, config) == ""


def test_what_is_said_of_a_guests_file_systems_word_for_word() -> None:
    by_hand = "Thaw them on its node: qm guest cmd 104 fsfreeze-thaw"
    assert sentences(104, seen(State.FROZEN)) == (
        "guest-left-frozen: the dump left its file systems frozen (so it is): what writes to "
        f"them hangs. {by_hand}",
    )
    assert sentences(104, seen(State.UNKNOWN, thaw_failed="got timeout", tried=False)) == (
        "guest-left-frozen: PVE's thaw failed, and whether it stands frozen is not known: so it "
        f"is. {by_hand}",
    )
    assert sentences(104, seen(State.UNKNOWN)) == (
        "whether its file systems are thawed is not known: so it is",
    )
    assert sentences(104, seen(State.THAWED, thaws=1)) == (
        "the dump left its file systems frozen: so it is",
    )
    assert sentences(104, Thaw(State.UNKNOWN, tried=True)) == (
        "whether its file systems are thawed is not known: ",
    )
    assert sentences(104, seen(State.OFF, thaws=1, tried=True, thaw_failed="x")) == ()


def test_a_guest_left_frozen_is_kept_with_the_words_of_whoever_said_so() -> None:
    assert left(seen(State.FROZEN, 7, thaw_failed="got timeout")) == freezing.LeftFrozen(
        7, True, "so it is"
    )
    assert left(seen(State.UNKNOWN, 7, thaw_failed="got timeout")) == freezing.LeftFrozen(
        7, False, "got timeout"
    )
    assert latest([seen(State.FROZEN, 1), None]) == freezing.LeftFrozen(1, True, "so it is")
    assert latest(
        [seen(State.THAWED, 1), seen(State.UNKNOWN, 2, thaw_failed="x")]
    ) == freezing.LeftFrozen(2, False, "x")


@pytest.mark.parametrize(
    ("job", "guest", "asks"),
    [
        ("", "", False),
        ("thaw: true", "", True),
        ("", "thaw: true", True),
        ("", "thaw: false", False),
        ("thaw: true", "thaw: false", True),
    ],
)
def test_the_right_to_thaw_is_asked_for_where_any_guest_may_be_thawed(
    job: str, guest: str, asks: bool
) -> None:
    text = (
        f"site: s\njobs: {{nightly: {{{job}}}, weekly: {{}}}}\nguests: {{104: {{{guest}}}, 105: "
        f"{{}}}}\n"
    )
    assert freezing.asks_for_thaw(load_policy(text, "test")) is asks


@pytest.mark.parametrize(
    ("consistency", "freeze", "agent", "why"),
    [
        ("frozen", "frozen", "1", ""),
        ("stopped", "none", "", ""),
        ("unknown", "none", "", ""),
        ("crash-consistent", "failed", "", "its agent could not freeze the file systems"),
        ("crash-consistent", "none", "1", "nothing froze its file systems"),
        ("crash-consistent", "agent-silent", "1,freeze-fs=0", "its agent did not answer"),
    ],
)
def test_only_a_crash_consistent_archive_says_why_and_what_the_log_says_goes_first(
    consistency: str, freeze: str, agent: str, why: str
) -> None:
    assert freezing.why_not_frozen(consistency, freeze, {"agent": agent} if agent else {}) == why
