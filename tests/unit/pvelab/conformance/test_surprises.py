"""PVE's surprises that concern the lab, by number or by name: which test shows each.

Those that no other package shows are here.
"""

from __future__ import annotations

from importlib import import_module

import pytest

from pvelab import seed
from pvelab.guests.archives import set_protected
from pvelab.kernel import Lab
from tests.unit.pvelab.guests.conftest import HOME, Api, api, lab, release

__all__ = ["api", "lab", "release"]
_GUESTS, _SERVER = "tests.unit.pvelab.guests", "tests.unit.pvelab.server"
_SHOWN: dict[int | str, tuple[str, str]] = {
    1: (f"{_GUESTS}.test_vzdump", "test_a_guest_of_another_node_gets_ok_and_no_task"),
    2: (f"{_SERVER}.test_cluster", "test_a_disabled_job_still_counts_as_cover"),
    3: (
        f"{_GUESTS}.test_vma_archives",
        "test_damaged_samples_are_refused_in_the_words_of_the_vma_tool",
    ),
    4: (
        f"{_GUESTS}.test_vzdump",
        "test_two_jobs_of_a_node_queue_and_a_third_without_patience_vanishes",
    ),
    5: (f"{_GUESTS}.test_restore", "test_the_mac_and_the_uuid_stay_unless_unique_is_asked_for"),
    6: (
        f"{_GUESTS}.test_restore",
        "test_the_restored_config_is_the_archived_one_with_new_volumes_and_overrides",
    ),
    7: (f"{_GUESTS}.test_restore", "test_damage_in_the_data_fails_fast_and_leaves_only_the_stub"),
    8: (
        f"{_GUESTS}.test_restore",
        "test_start_1_starts_the_guest_in_a_task_of_its_own_and_hides_its_failure",
    ),
    9: (
        f"{_GUESTS}.test_config_power_agent",
        "test_an_ha_managed_guest_is_only_asked_for_and_comes_later",
    ),
    10: (__name__, "test_two_archives_of_one_second_count_as_one_and_one_of_them_goes"),
    11: (f"{_GUESTS}.test_names_and_prune", "test_local_time_in_a_name_is_read_as_pve_reads_it"),
    14: (
        f"{_GUESTS}.test_config_power_agent",
        "test_generic_agent_calls_are_wrapped_and_exec_is_not",
    ),
    12: (__name__, "test_protected_and_renamed_archives_neither_count_nor_go"),
    13: (__name__, "test_a_role_of_pve_8_is_refused"),
    15: (__name__, "test_a_task_log_shows_fifty_lines_unless_asked_for_all"),
    16: (f"{_GUESTS}.test_vma_archives", "test_a_header_of_proxmox_is_packed_again_byte_for_byte"),
    "reason phrase": (
        f"{_SERVER}.test_serving",
        "test_the_error_text_is_the_reason_phrase_and_the_connection_is_closed",
    ),
    "listings": (__name__, "test_listings_leave_out_in_silence_what_may_not_be_seen"),
    "596": (
        f"{_GUESTS}.test_modelled_system",
        "test_a_program_that_does_not_exist_is_596_as_on_a_real_server",
    ),
}


@pytest.mark.parametrize("number", _SHOWN)
def test_each_surprise_has_a_test_that_says_it(number: int | str) -> None:
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
    marks = _marks(
        api,
        lab,
        "keep-last=2",
        f"{same}.vma",
        f"{same}.vma.zst",
        "vzdump-qemu-888-2026_11_19-21_00_00.vma.zst",
    )
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
    upid = lab.tasks.spawn(
        "clovis",
        "vzdump",
        "104",
        "root@pam",
        lambda log: log.line("\n".join(f"line {n}" for n in range(80))),
    )
    lab.tasks.wait(upid)
    assert len(api("GET", f"{HOME}/tasks/{upid}/log")) == 50
    assert len(api("GET", f"{HOME}/tasks/{upid}/log", limit=0)) == 81


def test_a_role_of_pve_8_is_refused(api: Api) -> None:
    status, errors = api.refused("POST", "/access/roles", roleid="Old", privs="VM.Monitor")
    assert status == 400
    assert "VM.Monitor" in errors
    assert api("POST", "/access/roles", roleid="New", privs="VM.GuestAgent.Audit") is None


def test_listings_leave_out_in_silence_what_may_not_be_seen(api: Api, lab: Lab) -> None:
    api.dump(104)
    service = api.with_token(seed.SERVICE_TOKEN)
    content = f"{HOME}/storage/local/content"
    listings = (f"{HOME}/qemu", f"{HOME}/storage", "/storage")
    assert all(service("GET", path) for path in (*listings, content))
    lab.access.acl.clear()
    assert [service("GET", path) for path in listings] == [[], [], []]
    assert service("GET", "/cluster/resources", type="vm") == []
    lab.access.roles["Looker"] = ["Datastore.Audit"]
    for kind, who in (("user", "backupsvc@pve"), ("token", seed.SERVICE_TOKEN)):
        lab.access.acl.append(
            {
                "path": "/storage/local",
                "type": kind,
                "ugid": who,
                "roleid": "Looker",
                "propagate": 1,
            }
        )
    assert service("GET", content) == []
