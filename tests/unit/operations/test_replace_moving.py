"""What is around a guest that is replaced: what is not known of it is said, and HA has its time from
when it was told.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.engine.context import Wait
from backupsvc.errors import OperationFailed
from backupsvc.operations.replace import moving
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.replace.result import undo_in_words, unknown
from policies.cluster_config import ConfigSet
from tests.fakes.clock import SteppingClock
from tests.unit.report.langeo import NIGHTS, archive

MEMORY = ReplaceMemory(archive(105, NIGHTS[-1]), "clovis", original=105, cut=True, ran=True)
ROW = "qemu: 105\n\tnode clovis\n"


class Told:
    """A run that stands at a step since long, of whose guest HA does not let go."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.id, self.operation = "X", SimpleNamespace(step="hold")
        self.entered = {"hold": self.clock.monotonic()}
        ha = SimpleNamespace(in_hand=lambda sid: True)
        self.service = SimpleNamespace(pve=SimpleNamespace(ha=ha))

    def enter(self, step: str) -> None:
        self.entered.setdefault(step, self.clock.monotonic())

    def passed(self, step: str) -> float:
        now = self.clock.monotonic()
        return now - self.entered.get(step, now)


def test_ha_has_its_time_from_when_it_was_told_whoever_died_before() -> None:
    run: Any = Told()
    run.clock.sleep(700)
    for seconds in (0, 100):
        run.clock.sleep(seconds)
        assert isinstance(moving._let_go(run, 105), Wait)
    run.clock.sleep(moving.LET_GO)
    with pytest.raises(OperationFailed, match="HA has not let go of guest 105"):
        moving._let_go(run, 105)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (ConfigSet({}, {"guests.cfg": "500 no answer"}), "500 no answer"),
        (ConfigSet({"guests.cfg": "qemu: 100\n\tnode clovis\n"}), "guest 105 is not in the list"),
        (ConfigSet({"guests.cfg": ROW}), ""),
    ],
)
def test_law_4_a_list_of_guests_that_was_not_read_is_not_a_guest_with_nothing_around_it(
    monkeypatch: pytest.MonkeyPatch, read: ConfigSet, said: str
) -> None:
    monkeypatch.setattr(moving, "read", lambda *_, **__: read)
    service: Any = None
    found = moving.seen(service, 105, 205, "clovis", "")
    assert found.why_none.startswith(said) and bool(found.why_none) is bool(said)


def test_what_is_not_known_of_the_backup_jobs_is_said_of_an_undoing() -> None:
    known = replace(MEMORY, undo_of="X", around=ConfigSet({"guests.cfg": ROW}))
    assert unknown(known) is None
    assert unknown(replace(known, around=None)) == "it was not looked at"
    doubtful = replace(known, around_unknown="PVE does not answer")
    assert "is not known, and none is changed: PVE does not answer" in "; ".join(
        undo_in_words(205, doubtful)
    )


def test_an_undoing_of_what_never_shut_the_old_guest_down_does_not_speak_of_starting_it() -> None:
    held = replace(MEMORY, cut=False, ran=False, held="started", around=ConfigSet({}))
    told = "; ".join(undo_in_words(205, held))
    assert "not started" not in told and "HA keeps guest 105 started again" in told
