"""Archives verified side by side: the same answers in the same order, and no process is left."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupsvc.archives import side_by_side
from backupsvc.archives.side_by_side import verify_files
from backupsvc.archives.verify import Verification, verify_file
from backupsvc.errors import ArchiveError

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"
GOOD = SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
PLAIN = SAMPLES / "vzdump-qemu-109-2026_03_09-21_01_10.vma"
CUT = SAMPLES / "truncated.vma.zst"
Answers = list[multiprocessing.connection.Connection]


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def answers(found: Iterator[Verification]) -> list[Verification]:
    return [replace(one, seconds=0.0) for one in found]


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_the_answers_are_those_of_one_after_the_other_in_their_order(jobs: int) -> None:
    paths = [GOOD, CUT, PLAIN, GOOD, CUT]
    alone = [replace(verify_file(path), seconds=0.0) for path in paths]
    assert answers(verify_files(paths, jobs)) == alone
    assert [one.intact for one in alone] == [True, False, True, True, False]


@pytest.mark.parametrize("jobs", [2, 3])
def test_so_many_are_read_at_a_time_and_no_more(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, seen = multiprocessing.connection.wait, list[int]()

    def watched(answers: Answers) -> Any:
        seen.append(len(answers))  # of those that are being read
        return reader(answers)

    monkeypatch.setattr(multiprocessing.connection, "wait", watched)
    assert len(list(verify_files([GOOD] * 5, jobs))) == 5
    assert (seen[0], max(seen)) == (jobs, jobs)


def test_one_that_cannot_be_read_is_the_same_error_and_ends_the_others(tmp_path: Path) -> None:
    gone = tmp_path / "gone.vma.zst"
    pipe = tmp_path / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
    os.mkfifo(pipe)
    with pytest.raises(
        ArchiveError, match=r"gone\.vma\.zst cannot be read: No such file"
    ) as caught:
        list(verify_files([pipe, gone], 2))
    assert caught.value.hint


def test_a_process_that_was_killed_is_told_and_not_waited_for_for_ever(tmp_path: Path) -> None:
    pipe = tmp_path / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
    os.mkfifo(pipe)
    other = tmp_path / "vzdump-qemu-109-2026_03_10-21_00_03.vma.zst"
    shutil.copy(GOOD, other)
    reader = multiprocessing.connection.wait

    def killed_meanwhile(answers: Answers) -> Any:
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
        return reader(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.connection, "wait", killed_meanwhile)
        with pytest.raises(ArchiveError, match=r"was not read to its end.*killed by signal 9"):
            list(verify_files([pipe, other], 2))


def test_whoever_goes_away_leaves_no_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
    os.mkfifo(pipe)
    found = verify_files([GOOD, pipe], 2)
    assert next(found).intact
    found.close()  # type: ignore[attr-defined]


def test_it_is_told_how_far_each_file_was_read(tmp_path: Path) -> None:
    told = dict[Path, int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "PROGRESS_S", 0.0)
        list(verify_files([GOOD, PLAIN], 2, told.__setitem__))
    assert told == {GOOD: GOOD.stat().st_size, PLAIN: PLAIN.stat().st_size}
