"""PVE's surprises that concern the lab (PVE_FACTS section 0): which test shows each, and those that had none."""

from __future__ import annotations

from importlib import import_module

import pytest

from backupsvc.lab.guests.archives import set_protected
from backupsvc.lab.kernel import Lab
from tests.unit.lab.guests.conftest import HOME, Api, api, lab

__all__ = ["api", "lab"]
_GUESTS, _SERVER = "tests.unit.lab.guests", "tests.unit.lab.server"
_SHOWN = {
    1: (f"{_GUESTS}.test_vzdump", "test_a_guest_of_another_node_gets_ok_and_no_task"),
    2: (f"{_SERVER}.test_cluster", "test_a_disabled_job_still_counts_as_cover"),
    4: (f"{_GUESTS}.test_vzdump", "test_two_jobs_of_a_node_queue_and_a_third_without_patience_vanishes"),
    5: (f"{_GUESTS}.test_restore", "test_the_mac_and_the_uuid_stay_unless_unique_is_asked_for"),
    6: (f"{_GUESTS}.test_restore", "test_the_restored_config_is_the_archived_one_with_new_volumes_and_overrides"),
    7: (f"{_GUESTS}.test_restore", "test_damage_in_the_data_fails_fast_and_leaves_only_the_stub"),
    8: (f"{_GUESTS}.test_restore", "test_start_1_starts_the_guest_in_a_task_of_its_own_and_hides_its_failure"),
    9: (f"{_GUESTS}.test_config_power_agent", "test_an_ha_managed_guest_is_only_asked_for_and_comes_later"),
    11: (f"{_GUESTS}.test_names_and_prune", "test_local_time_in_a_name_is_read_as_pve_reads_it"),
    14: (f"{_GUESTS}.test_config_power_agent", "test_generic_agent_calls_are_wrapped_and_exec_is_not"),
}


@pytest.mark.parametrize("number", _SHOWN)
def test_each_surprise_has_a_test_that_says_it(number: int) -> None:
    module, name = _SHOWN[number]
    assert callable(getattr(import_module(module), name, None)), f"{module}.{name} is gone"


def _marks(api: Api, lab: Lab, rule: str, *files: str) -> dict[str, str]:
    place = lab.storage_dir("clovis", "local") / "dump"
    for file in files:
        (place / file).write_bytes(b"archive")
        if file.startswith("vzdump-qemu-888-2026_11_21"):
            set_protected(place / file, True)
    rows = api("GET", f"{HOME}/storage/local/prunebackups", prune_backups=rule, vmid=888)
    return {row["volid"].removeprefix("local:backup/vzdump-qemu-888-"): row["mark"] for row in rows}


def test_two_archives_of_one_second_count_as_one_and_one_of_them_goes(api: Api, lab: Lab) -> None:
    same = "vzdump-qemu-888-2026_11_20-21_00_00"
    marks = _marks(api, lab, "keep-last=2", f"{same}.vma", f"{same}.vma.zst", "vzdump-qemu-888-2026_11_19-21_00_00.vma.zst")
    assert sorted(marks.values()) == ["keep", "keep", "remove"]
    assert marks["2026_11_19-21_00_00.vma.zst"] == "keep"


def test_protected_and_renamed_archives_neither_count_nor_go(api: Api, lab: Lab) -> None:
    nights = [f"vzdump-qemu-888-2026_11_{day}-21_00_00.vma.zst" for day in (19, 20, 21)]
    marks = _marks(api, lab, "keep-last=1", *nights, "vzdump-qemu-888-before-the-move.vma.zst")
    assert marks == {
        "2026_11_19-21_00_00.vma.zst": "remove",
        "2026_11_20-21_00_00.vma.zst": "keep",
        "2026_11_21-21_00_00.vma.zst": "protected",
        "before-the-move.vma.zst": "renamed",
    }


def test_a_task_log_shows_fifty_lines_unless_asked_for_all(api: Api, lab: Lab) -> None:
    upid = lab.tasks.spawn("clovis", "vzdump", "104", "root@pam", lambda log: log.line("\n".join(f"line {n}" for n in range(80))))
    lab.tasks.wait(upid)
    assert len(api("GET", f"{HOME}/tasks/{upid}/log")) == 50
    assert len(api("GET", f"{HOME}/tasks/{upid}/log", limit=0)) == 81
