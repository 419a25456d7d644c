"""Archives that are damaged or gone behind the storage's back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break
from tests.unit.pvelab.guests.conftest import HOME, Api


def file_of(lab: Lab, volid: str) -> Path:
    return lab.storage_dir("clovis", "local") / "dump" / volid.partition("/")[2]


def test_one_flipped_bit_is_one_flipped_bit_and_the_restore_fails(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid = api.dump(104)
    before = file_of(lab, volid).read_bytes()
    fault = broken("archive-flip", volid=volid)
    after = file_of(lab, volid).read_bytes()
    assert [(at, a ^ b) for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [
        (len(before) // 2, 1)
    ]
    assert (fault["node"], fault["at"], fault.struck) == ("clovis", len(before) // 2, 1)
    status, log = api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")
    assert status != "OK" and any("Decoding error" in line for line in log)


def test_a_truncated_archive_is_listed_like_a_good_one_and_cannot_be_restored(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid = api.dump(104)
    broken("archive-truncate", volid=volid, at=100_000)
    assert file_of(lab, volid).stat().st_size == 100_000
    assert api.archives() == [volid]
    assert api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")[
        0
    ].endswith("exit code 133")


def test_a_vanished_archive_is_not_listed_any_more_and_no_task_tells_of_it(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid, tasks = api.dump(108), len(lab.tasks.finished())
    broken("archive-vanish", volid=volid)
    assert api.archives() == []
    assert len(lab.tasks.finished()) == tasks
    effects.clear(lab)
    assert not file_of(lab, volid).exists(), "clearing the fault mends no archive"


def test_an_archive_that_is_not_there_and_an_offset_behind_its_end_are_refused(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid = api.dump(108)
    for given in (
        {"volid": volid + "x"},
        {"volid": volid, "node": "lge-pve02"},
        {"volid": volid, "at": 10**9},
    ):
        with pytest.raises(UsageError):
            broken("archive-flip", **given)
    assert lab.faults.all() == []
