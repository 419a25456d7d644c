"""The shared words: what the catalog keeps and answers bear, and what a value says of itself where
nobody said anything.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from enum import StrEnum
from typing import Any

import pytest

from policies import model
from policies.model import (
    Archive,
    CheckResult,
    CheckSpec,
    Finding,
    Guest,
    GuestPolicy,
    Job,
    Mark,
    Marked,
    Marks,
    Node,
    Operation,
    OperationState,
    Outcome,
    Policy,
    PolicyError,
    PruneRules,
    Rung,
    Scratch,
    SeenStorages,
    Severity,
    Storage,
    Tier,
)
from policies.model.quick import quick


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (model.GuestType, "qemu lxc"),
        (model.Mark, "keep remove protected renamed"),
        (model.Rung, "recorded intact restored booted healthy current"),
        (model.Verdict, "proven failed inconclusive skipped simulated"),
        (model.Outcome, "passed failed inconclusive"),
        (model.Severity, "critical warning info"),
        (model.OperationState, "open done failed cancelled missed"),
    ],
)
def test_the_catalog_keeps_these_words_in_this_order(kind: type[StrEnum], words: str) -> None:
    assert [one.value for one in kind] == words.split()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ((None, None), "it is wrong"),
        (("home.yaml", None), "home.yaml: it is wrong"),
        (("home.yaml", 7), "home.yaml:7: it is wrong"),
        ((None, 7), "it is wrong"),
    ],
)
def test_an_error_of_a_policy_begins_with_the_place_as_far_as_it_is_known(
    where: tuple[str | None, int | None], said: str
) -> None:
    error = PolicyError("it is wrong", *where)
    assert str(error) == said
    assert (error.message, error.source, error.line) == ("it is wrong", *where)


def test_law_1_the_scratch_range_holds_its_two_ends_and_nothing_but_numbers_between_them() -> None:
    scratch = Scratch(9000, 9009)
    assert [vmid for vmid in (8999, 9000, 9005, 9009, 9010) if vmid in scratch] == [
        9000,
        9005,
        9009,
    ]
    assert "9005" not in scratch and None not in scratch


def test_a_guest_of_which_pve_says_little_neither_runs_nor_is_a_template() -> None:
    guest = Guest(108, "x", "a")
    assert (guest.status, guest.template, guest.max_memory, guest.max_disk) == (
        "unknown",
        False,
        0,
        0,
    )


def test_what_nobody_says_of_a_node_or_a_storage_is_no_room_and_no_retention() -> None:
    node, storage = Node("a", True), Storage("local", "a", "dir", frozenset())
    assert (node.max_memory, node.memory, node.max_cpu, node.unknown) == (0, 0, 0, False)
    assert (storage.shared, storage.active, storage.enabled, storage.prune) == (
        False,
        True,
        True,
        "",
    )
    assert (storage.total, storage.used, storage.available) == (0, 0, 0)


def test_an_archive_of_which_only_the_listing_tells_is_recorded_and_nothing_more() -> None:
    archive = Archive("local:backup/x", "a", "local", 108, None, 1, 1)
    assert (archive.rung, archive.proven_at, archive.protected, archive.shared) == (
        Rung.RECORDED,
        None,
        False,
        False,
    )
    assert (archive.format, archive.notes, archive.name, archive.changed) == ("", "", "", "")


def test_what_a_policy_leaves_out_means_what_the_page_says() -> None:
    hour = 3600
    job, guest, scratch, tier = (
        Job("n", "21:00", "local"),
        GuestPolicy(108, "x", "gold"),
        Scratch(9000, 9009),
        Tier("t", 1, 1, 1),
    )
    assert (job.mode, job.compress, job.keep, job.thaw) == ("snapshot", "zstd", "keep-all=1", False)
    assert (job.window, job.timeout, scratch.restore_timeout, scratch.settle) == (
        4 * hour,
        12 * hour,
        4 * hour,
        30,
    )
    assert (guest.role, guest.network, guest.boot_timeout, guest.check_timeout) == (
        "",
        "link-down",
        600,
        300,
    )
    assert (tier.copies, tier.depth, tier.proof_rung, CheckSpec("ssh", "ssh 22").timeout) == (
        1,
        0,
        Rung.HEALTHY,
        10,
    )
    policy = Policy("x", "UTC", "en", (), {}, {}, scratch, "t")
    assert (policy.prune, policy.max_clock_drift, policy.source, policy.digest) == (
        PruneRules(0.5),
        30,
        "",
        "",
    )


def test_a_new_operation_was_never_lost_and_is_due_at_once() -> None:
    operation = Operation("01", "backup", 108, OperationState.OPEN, "dump", {}, 1, 1)
    assert (operation.attempts, operation.due, operation.rank) == (0, 0, 0)
    assert (
        CheckResult("ssh 22", Outcome.PASSED, "x").kind
        == Finding("x", Severity.INFO, "s", "d", "a").under
        == ""
    )


def test_only_where_pve_itself_failed_may_what_is_not_known_of_the_storages_pass() -> None:
    silent = {"c": "595 No route to host", "b": "500 got timeout", "a": "500 unable to read"}
    assert (
        SeenStorages((), silent, frozenset({"b", "a"})).passing
        == "500 unable to read; 500 got timeout"
    )
    assert SeenStorages((), silent).passing == SeenStorages(()).passing == ""


@pytest.mark.parametrize(
    ("overwritten", "deleted", "held"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_a_target_held_if_nothing_was_overwritten_and_nothing_deleted(
    overwritten: bool, deleted: bool, held: bool
) -> None:
    assert model.Canary("usb", "/usb", 1, overwritten, deleted, "refused").held is held


# --- a million values -----------------------------------------------------------------------------

ONE = Archive("local:backup/1", "a", "local", 108, model.GuestType.QEMU, 10, 500)
TWO = replace(ONE, volid="local:backup/2", ctime=9)


def test_an_archive_that_is_made_quickly_is_what_every_other_frozen_value_is() -> None:
    assert type(ONE) is Archive and ONE.rung is Rung.RECORDED and ONE.decided is None
    assert ONE == Archive(*(getattr(ONE, name) for name in Archive.__slots__)) != TWO
    assert hash(ONE) == hash(replace(TWO, volid=ONE.volid, ctime=10))
    assert copy.deepcopy(ONE) == pickle.loads(pickle.dumps(ONE)) == ONE
    assert list(inspect.signature(Archive).parameters)[:3] == ["volid", "node", "storage"]
    with pytest.raises(FrozenInstanceError):
        ONE.size = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del ONE.size
    made: Any = Archive
    with pytest.raises(TypeError, match=r"Archive.* 2 required .*'ctime' and 'size'"):
        made("local:backup/1", "a", "local", 108, None)
    with pytest.raises(TypeError, match="colour"):
        replace(ONE, colour="red")  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class _Listing:
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Named:
    name: str = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class _Counted:
    count: int = field(init=False)


@dataclass(frozen=True, slots=True)
class _Checked:
    name: str

    def __post_init__(self) -> None: ...


@pytest.mark.parametrize("kind", [_Listing, _Named, _Counted, _Checked])
def test_what_is_more_than_set_is_not_made_quickly(kind: type) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        quick(kind)


def test_marks_are_a_sequence_of_what_is_said_of_each_archive() -> None:
    both = [Marked(ONE, Mark.KEEP, ("last",)), Marked(TWO, Mark.REMOVE, ("old", "older"))]
    marks = Marks.of(both)
    assert Marks.of(marks) is marks and len(marks) == 2 and list(marks) == both
    assert marks == both and both == marks and marks == tuple(both) and marks == Marks.of(both)
    assert marks != both[:1] and marks != 2
    assert marks[1] == marks[-1] == both[1] and marks[:1] == both[:1] and marks[5:] == []
    assert isinstance(marks[:1], Marks) and both[0] in marks
    with pytest.raises(IndexError):
        marks[2]
    with pytest.raises(ValueError, match="1 marks for 2 archives"):
        Marks([ONE, TWO], marks.said[:1])
    with pytest.raises(TypeError):
        hash(marks)
