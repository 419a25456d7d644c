"""What HA took over without being asked, as far as its log and the lists of tasks say so."""

from __future__ import annotations

from dataclasses import replace

from policies.ha.failovers import (
    Answer,
    Failover,
    Failovers,
    Line,
    Seen,
    Task,
    Unread,
    Why,
    decide,
)

CLOVIS, PVE02 = "clovis", "lge-pve02"
BEGAN, NOW = 1_000_000, 1_100_000
GONE = BEGAN + 5_000


def said(seconds: int, text: str, node: str = PVE02) -> Line:
    return Line(node, GONE + seconds, text)


def start(
    seconds: int,
    node: str = PVE02,
    *,
    kind: str = "start",
    vmid: int = 108,
    good: bool = True,
    by: str = "root@pam",
    type: str = "qmstart",
) -> Task:
    upid = f"UPID:{node}:{seconds}:{type}:{vmid}:"
    ended = None if kind == "runs" else GONE + seconds + 3
    word = "start" if kind == "runs" else kind
    return Task(upid, node, word, vmid, GONE + seconds, ended, good, by)


UNKNOWN = "node 'clovis': state changed from 'online' => 'unknown'"
SURE = "fencing: acknowledged - got agent lock for node 'clovis'"
RECOVERING = "service 'vm:108': state changed from 'fence' to 'recovery'"
TAKEN = "recover service 'vm:108' from fenced node 'clovis' to node 'lge-pve02'"
WHOLE = (
    said(0, UNKNOWN),
    said(60, "service 'vm:108': state changed from 'started' to 'fence'"),
    said(120, SURE),
    said(120, "node 'clovis': state changed from 'fence' => 'unknown'"),
    said(120, RECOVERING),
    said(121, TAKEN),
    said(121, "service 'vm:108': state changed from 'recovery' to 'started'  (node = lge-pve02)"),
)


def seen(**changes: object) -> Seen:
    """Both logs were read from before the time on, and all tasks."""
    whole = Seen(
        BEGAN,
        NOW,
        (CLOVIS, PVE02),
        {CLOVIS: (), PVE02: WHOLE},
        {CLOVIS: BEGAN - 10, PVE02: BEGAN - 20},
        {CLOVIS: (start(-3000, CLOVIS),), PVE02: (start(125),)},
        {CLOVIS: (GONE - 2997, GONE - 30, GONE + 900)},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # fields of it


def the_one(found: Failovers) -> Failover:
    (one,) = found.found
    return one


def test_a_failover_is_told_with_its_moments_its_length_from_both_sides_and_where_it_was_read() -> (
    None
):
    found = decide(seen())
    assert (found.answer, found.whole, found.doubtful, found.unread) == (Answer.SEEN, True, (), ())
    one = the_one(found)
    assert (one.sid, one.vmid, one.source, one.target) == ("vm:108", 108, CLOVIS, PVE02)
    assert (one.alive, one.missed, one.fenced) == (GONE - 30, GONE, GONE + 120)
    assert (one.taken, one.started, one.started_on) == (GONE + 121, GONE + 128, PVE02)
    assert (one.least, one.most, one.at) == (128, 158, GONE)
    assert one.certain and one.sources == ("lge-pve02: pve-ha-crm", start(125).upid)


def test_none_is_said_only_where_every_log_was_read_for_the_whole_time() -> None:
    silent = {CLOVIS: (), PVE02: ()}
    tasks = {CLOVIS: (start(-3000, CLOVIS),), PVE02: ()}
    quiet = seen(logs=silent, tasks=tasks)
    assert decide(quiet).answer is Answer.NONE
    late = decide(replace(quiet, held={CLOVIS: BEGAN - 10, PVE02: BEGAN + 7}))
    assert (late.answer, late.known_since) == (Answer.UNKNOWN, BEGAN + 7)
    assert late.unread == (Unread(PVE02, Why.SHORT, BEGAN + 7),)
    lacking = Unread(CLOVIS, Why.RIGHT, detail="403")
    blind = decide(replace(quiet, held={PVE02: BEGAN - 10}, unread=(lacking,)))
    assert (blind.answer, blind.known_since, blind.unread) == (Answer.UNKNOWN, None, (lacking,))
    nobody = decide(Seen(BEGAN, NOW, ()))
    assert (nobody.answer, nobody.known_since) == (Answer.UNKNOWN, None)


def test_what_was_seen_is_seen_though_not_all_was_read() -> None:
    found = decide(seen(held={PVE02: BEGAN - 10}))
    assert (found.answer, found.whole) == (Answer.SEEN, False)


def test_without_a_good_start_that_has_ended_the_length_is_not_known() -> None:
    for tasks in ((), (start(125, good=False),), (start(125, kind="runs"),), (start(-100),),
                  (start(125, vmid=104),), (start(125, kind="move"),)):  # fmt: skip
        one = the_one(decide(seen(tasks={PVE02: tasks})))
        assert (one.started, one.started_on, one.least, one.most) == (None, "", None, None), tasks


def test_a_start_that_failed_and_then_one_that_did_not_is_counted_to_the_second() -> None:
    one = the_one(decide(seen(tasks={PVE02: (start(125, good=False), start(140))})))
    assert (one.started, one.least) == (GONE + 143, 143)


def test_a_start_by_somebody_else_ends_it_too_and_is_said_as_such() -> None:
    assert (the_one(decide(seen())).started_by, the_one(decide(seen())).helped) == ("root@pam", "")
    weeks = 21 * 86_400
    tried = (start(125, good=False), start(900, by="svc@pve!b1"), start(weeks))
    one = the_one(decide(seen(tasks={PVE02: tried})))
    assert (one.started, one.least) == (GONE + 903, 903)
    assert one.started_by == one.helped == "svc@pve!b1"
    never = the_one(decide(seen(tasks={})))
    assert (never.started_by, never.helped) == ("", "")
    # one start ends one failover
    back = "recover service 'vm:108' from fenced node 'lge-pve02' to node 'third'"
    twice = {PVE02: tried[:1], "third": (start(310, "third", by="svc@pve!b1"),)}
    lines = (*WHOLE, said(300, back, "third"))
    first, second = decide(seen(logs={PVE02: lines}, tasks=twice)).found
    assert (first.started_by, second.started_by) == ("", "svc@pve!b1")


def test_without_any_sign_of_life_it_is_at_least_and_without_hearing_it_gone_it_is_from_the_fence() -> (
    None
):
    one = the_one(decide(seen(signs={})))
    assert (one.alive, one.least, one.most) == (None, 128, None)
    fenced = tuple(line for line in WHOLE if line.text != UNKNOWN)
    one = the_one(decide(seen(logs={PVE02: fenced})))
    assert (one.missed, one.least) == (None, 8)
    alone = tuple(line for line in WHOLE if line.text == TAKEN)
    one = the_one(decide(seen(logs={PVE02: alone})))
    assert (one.missed, one.fenced, one.least, one.at) == (None, None, 7, GONE + 121)


def test_a_guest_that_nobody_could_take_is_a_failover_that_did_not_come_about() -> None:
    stuck = tuple(line for line in WHOLE if line.text != TAKEN)
    one = the_one(decide(seen(logs={PVE02: stuck})))
    assert (one.source, one.target, one.taken, one.started) == (CLOVIS, "", None, None)
    assert (one.missed, one.fenced) == (GONE, GONE + 120)
    # of two that were fenced at once the line does not tell which had it
    two = (*stuck[:4], said(120, SURE.replace("clovis", "third")), *stuck[4:])
    one = the_one(decide(seen(logs={PVE02: two})))
    assert (one.source, one.missed, one.fenced) == ("", None, GONE + 120)


def test_one_that_comes_back_on_its_own_node_after_the_fence_is_told_as_that() -> None:
    again = "recover service 'ct:200' to previous failed and fenced node 'clovis' again"
    found = decide(seen(logs={PVE02: (said(0, UNKNOWN), said(9, again))}, tasks={}))
    one = the_one(found)
    assert (one.sid, one.vmid, one.source, one.target) == ("ct:200", 200, CLOVIS, CLOVIS)


def test_a_second_failure_before_any_start_leaves_the_first_without_one() -> None:
    back = "recover service 'vm:108' from fenced node 'lge-pve02' to node 'third'"
    lines = (*WHOLE, said(300, back, "third"))
    first, second = decide(seen(logs={PVE02: lines}, tasks={"third": (start(310, "third"),)})).found
    assert (first.started, first.target) == (None, PVE02)
    assert (second.started_on, second.fenced) == ("third", None)


def test_a_fence_of_long_ago_says_nothing_of_a_later_one() -> None:
    later = tuple(replace(line, at=line.at + 50_000) for line in WHOLE)
    once = decide(seen(logs={PVE02: (*WHOLE, *later)}, tasks={}))
    assert [(one.missed, one.fenced) for one in once.found] == [
        (GONE, GONE + 120),
        (GONE + 50_000, GONE + 50_120),
    ]
    # the second time nobody says that it was fenced
    unsure = tuple(line for line in later if line.text != SURE)
    second = decide(seen(logs={PVE02: (*WHOLE, *unsure)}, tasks={})).found[1]
    assert (second.missed, second.fenced) == (GONE + 50_000, None)
    assert the_one(decide(seen(since=GONE + 1, logs={PVE02: (*WHOLE, *later)}, tasks={})))


def test_a_start_elsewhere_without_a_move_is_a_question_where_no_log_was_read() -> None:
    blind = seen(logs={}, held={}, tasks={CLOVIS: (start(-3000, CLOVIS),), PVE02: (start(125),)})
    found = decide(blind)
    assert (found.answer, found.found) == (Answer.UNKNOWN, ())
    (odd,) = found.doubtful
    assert (odd.sid, odd.source, odd.target, odd.certain) == ("vm:108", CLOVIS, PVE02, False)
    assert odd.started_by == "root@pam"
    assert (odd.alive, odd.started, odd.least, odd.most) == (GONE - 30, GONE + 128, None, 158)
    assert odd.at == GONE + 128
    # a log that was read whole, and says nothing, says that HA did nothing
    silent = replace(blind, logs={CLOVIS: (), PVE02: ()}, held=seen().held)
    assert decide(silent).answer is Answer.NONE
    part = decide(replace(silent, held={CLOVIS: NOW, PVE02: NOW}))
    assert len(part.doubtful) == 1
    assert decide(replace(blind, since=GONE + 200)).doubtful == ()


def test_what_was_moved_or_started_by_somebody_or_never_seen_before_is_no_question() -> None:
    for tasks in (
        (start(-3000, CLOVIS), start(100, CLOVIS, kind="move"), start(125)),
        (start(-3000, CLOVIS), start(125, by="root@pam!x")),
        (start(-3000, CLOVIS), start(100, by="svc@pve!b1"), start(125)),
        (start(-3000, CLOVIS), start(125, good=False)),
        (start(125),),
        (start(-3000), start(125)),
        (start(-3000, CLOVIS, vmid=104), start(125)),
    ):
        assert decide(seen(logs={}, held={}, tasks={"any": tasks})).doubtful == (), tasks
    kept = (start(-3000, CLOVIS, type="vzstart"), start(125, type="vzstart", kind="runs"))
    (odd,) = decide(seen(logs={}, held={}, tasks={"any": kept}, signs={})).doubtful
    assert (odd.sid, odd.started, odd.alive) == ("ct:108", GONE + 125, None)


def test_a_part_of_the_time_has_its_own_answer() -> None:
    found = decide(seen())
    before = found.within(BEGAN, GONE)
    assert (before.answer, before.found, before.now) == (Answer.NONE, (), GONE)
    assert found.within(BEGAN, NOW + 1).now == NOW
    assert found.within(GONE, NOW).answer is Answer.SEEN
    # what lies before the time that was asked for is not known
    assert found.within(BEGAN - 1, GONE).answer is Answer.UNKNOWN
    short = decide(seen(held={CLOVIS: BEGAN - 10, PVE02: GONE - 500}))
    assert short.within(BEGAN, GONE).answer is Answer.UNKNOWN
    assert short.within(BEGAN, GONE).unread == (Unread(PVE02, Why.SHORT, GONE - 500),)
    later = short.within(GONE - 500, GONE)
    assert (later.answer, later.unread) == (Answer.NONE, ())
    blind = replace(short, known_since=None, found=(), unread=(Unread(CLOVIS, Why.OFFLINE),))
    assert blind.within(GONE, NOW).answer is Answer.UNKNOWN
    assert blind.within(GONE, NOW).unread == (Unread(CLOVIS, Why.OFFLINE),)
