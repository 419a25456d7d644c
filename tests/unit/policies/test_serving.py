"""The judgement of a running service: a canary that was consumed counts, a process that lives does
not.
"""

from __future__ import annotations

from typing import Any

import pytest

from policies.model import Operation, OperationState
from policies.outcomes import Facts, NightFacts, of_job_run
from policies.serving import ChildFact, Vitals, deaths_in_a_row, hung, judge, pause_before_restart

START, TICK = 1_000_000.0, 30.0
QUEUES = ("steps", "polls")


def child(name: str, up: bool = True, since: float = START, queue: str | None = None) -> ChildFact:
    return ChildFact(name, up, since, 1 if up else None, 0, None if up else "signal SIGKILL", queue)


CHILDREN = (
    child("redis"),
    child("worker-steps", queue="steps"),
    child("worker-polls", queue="polls"),
    child("beat"),
)


def vitals(steps: float | None = None, polls: float | None = None, **more: Any) -> Vitals:
    """A service whose queues consumed so many seconds after its start."""
    heartbeats = {
        name: START + at for name, at in (("steps", steps), ("polls", polls)) if at is not None
    }
    usual: dict[str, Any] = {
        "started": START,
        "tick": TICK,
        "queues": QUEUES,
        "heartbeats": heartbeats,
        "children": CHILDREN,
    }
    return Vitals(**usual | more)


def test_queues_that_consume_are_ok() -> None:
    health = judge(vitals(100, 110), START + 130)
    assert (health.status, health.reasons, health.good) == ("ok", (), True)
    assert health.silence == {"steps": 30, "polls": 20}


def test_a_queue_silent_for_more_than_three_ticks_is_failing_although_every_process_lives() -> None:
    assert judge(vitals(100, 180), START + 190).status == "ok"
    late = judge(vitals(100, 180), START + 191)
    assert (late.status, late.reasons) == (
        "failing",
        ("queue steps has consumed nothing for 91 s",),
    )
    assert not late.good


def test_before_the_first_canary_it_is_starting_for_three_ticks_and_failing_after_them() -> None:
    assert judge(vitals(), START + 90).status == "starting"
    late = judge(vitals(), START + 91)
    assert late.status == "failing" and "queue polls never consumed anything" in late.reasons


def test_a_heartbeat_of_the_second_of_the_start_is_one_of_this_service() -> None:
    assert judge(vitals(0, 0), START + 10).status == "ok"


def test_of_a_service_that_tells_nothing_nothing_is_open_and_no_child_was_restarted() -> None:
    assert (Vitals(START, TICK, QUEUES).open, ChildFact("beat", True, START).restarts) == (0, 0)


def test_a_heartbeat_from_before_the_start_is_no_proof_that_it_works_now() -> None:
    assert judge(vitals(-5, -5), START + 10).status == "starting"


def test_a_child_that_is_down_is_failing_and_says_how_it_ended() -> None:
    health = judge(vitals(100, 100, children=(*CHILDREN[:3], child("beat", up=False))), START + 101)
    assert (health.status, health.reasons) == ("failing", ("beat is down (signal SIGKILL)",))


def test_a_catalog_that_does_not_answer_is_failing() -> None:
    assert (
        judge(vitals(100, 100, catalog_error="the catalog does not answer"), START + 101).status
        == "failing"
    )


def test_queues_that_consume_while_every_tick_fails_open_no_night_so_that_is_failing() -> None:
    ticked = {"steps": START + 590, "polls": START + 590, "tick": START + 200}
    assert judge(vitals(heartbeats=ticked, scheduler="tick"), START + 590).status == "ok", (
        "it may wait for a PVE that is silent"
    )
    found = judge(vitals(heartbeats=ticked, scheduler="tick"), START + 591)
    assert (found.status, found.good) == ("failing", False)
    assert found.reasons == (
        "no night was looked for for 391 s: every tick fails, and the log of the workers says why",
    )
    never = dict.fromkeys(QUEUES, START + 390)
    assert judge(vitals(heartbeats=never, scheduler="tick"), START + 391).status == "failing"
    assert judge(vitals(heartbeats=never), START + 391).status == "ok", (
        "a container's queue is judged alone"
    )


def test_ticks_that_stand_still_with_their_queue_are_told_of_once() -> None:
    assert len(judge(vitals(100, 180, scheduler="tick"), START + 191).reasons) == 1


def test_the_pause_grows_to_a_minute_and_starts_anew_after_a_good_while() -> None:
    assert [pause_before_restart(deaths) for deaths in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pause_before_restart(10_000) == 60
    assert deaths_in_a_row(5, ran=59.9) == 6
    assert deaths_in_a_row(5, ran=60) == 1


def test_only_silence_longer_than_any_task_is_a_hang() -> None:
    assert hung(vitals(0, 680), 600, START + 690) == []
    assert hung(vitals(0, 680), 600, START + 691) == ["worker-steps"]


def test_when_every_queue_is_silent_beat_is_ended_too() -> None:
    assert hung(vitals(0, 0), 600, START + 691) == ["worker-steps", "worker-polls", "beat"]


def test_silence_of_just_as_long_as_a_task_may_take_is_no_hang() -> None:
    assert hung(vitals(1, 1), 600, START + 691) == []


def test_a_child_that_runs_for_just_as_long_as_a_task_may_take_is_not_hung_yet() -> None:
    later = tuple(child(one.name, since=START + 1, queue=one.queue) for one in CHILDREN)
    assert hung(vitals(0, 0, children=later), 600, START + 691) == []
    assert hung(vitals(0, 0, children=later), 600, START + 692) == [
        "worker-steps",
        "worker-polls",
        "beat",
    ]


def test_a_child_that_is_down_is_not_ended() -> None:
    down = tuple(child(one.name, up=False, queue=one.queue) for one in CHILDREN)
    assert hung(vitals(0, 0, children=down), 600, START + 691) == []


@pytest.mark.parametrize(
    "more",
    [
        {"catalog_error": "down"},
        {"children": tuple(child(c.name, since=START + 600, queue=c.queue) for c in CHILDREN)},
    ],
)
def test_nobody_is_ended_when_the_catalog_cannot_tell_or_when_just_restarted(
    more: dict[str, object],
) -> None:
    assert hung(vitals(0, 0, **more), 600, START + 691) == []


NIGHT = of_job_run(
    Operation("01N", "night", None, OperationState.FAILED, "back-up", {}, 1, 2, 3, error="x"),
    NightFacts("nightly", 1),
    (),
)


def test_a_bad_night_makes_a_service_degraded_whose_work_is_consumed_all_the_same() -> None:
    health = judge(vitals(100, 100, job_runs=(NIGHT,)), START + 101)
    assert (health.status, health.reasons, health.good) == (
        "degraded",
        ("the last night of job nightly failed: x",),
        True,
    )


def test_work_that_is_not_consumed_outweighs_a_bad_night() -> None:
    assert judge(vitals(100, 180, job_runs=(NIGHT,)), START + 191).status == "failing"
    assert judge(vitals(job_runs=(NIGHT,)), START + 10).status == "starting"


def test_a_good_night_is_no_reason_and_hides_no_bad_one() -> None:
    known = NightFacts("weekly", 1, (108,), {"01B": "backup#108"})
    backup = Operation("01B", "backup", 108, OperationState.DONE, "verify", {}, 1, 2, 3)
    good = of_job_run(
        Operation("01M", "night", None, OperationState.DONE, "prove", {}, 1, 2, 3),
        known,
        [(backup, Facts())],
    )
    assert good.good
    assert judge(vitals(100, 100, job_runs=(good,)), START + 101).status == "ok"
    assert judge(vitals(100, 100, job_runs=(good, NIGHT)), START + 101).reasons == (
        "the last night of job nightly failed: x",
    )
