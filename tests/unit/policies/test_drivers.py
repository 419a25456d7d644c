"""A driver is gone only if that is known: same machine, same boot, same namespaces, and no such
process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.drivers import (
    FOREGROUND,
    INITIAL_PID_NAMESPACE,
    WORKER,
    DriverId,
    Place,
    Process,
    has_ended,
    parse,
    place,
)

HERE = DriverId(
    "pve-backup",
    812,
    "ab12cd34",
    FOREGROUND,
    "1736582",
    "boot-1",
    f"{INITIAL_PID_NAMESPACE}+4026531834",
    "machine-1",
)
CONTAINER = "4026532999+4026531834"


def test_a_name_is_read_back_as_it_was_written() -> None:
    assert parse(str(HERE)) == HERE
    assert str(HERE).split(":")[:2] == ["pve-backup", "812"], "what a person is shown"


@pytest.mark.parametrize(
    "owner", ["", "elsewhere", "elsewhere:1:x", "vm:x:ab12:worker:1:b:n:m", "a:1:2:3:4:5:6"]
)
def test_a_name_that_says_too_little_is_nobodys(owner: str) -> None:
    assert parse(owner) is None


def test_a_process_of_the_same_boot_and_namespaces_is_here() -> None:
    assert place(replace(HERE, pid=9, start="5"), HERE) is Place.HERE


@pytest.mark.parametrize(
    "other",
    [
        {"host": "pve-other"},
        {"machine": "machine-2"},
        {"namespaces": CONTAINER},
        # another time namespace counts other clock ticks
        {"namespaces": f"{INITIAL_PID_NAMESPACE}+4026532111"},
        {"namespaces": ""},
        {"boot": ""},
        {"start": ""},
        {"boot": "boot-0", "namespaces": CONTAINER},  # its image may run on another host by now
        {"boot": "boot-0", "machine": "machine-2"},
    ],
)
def test_whatever_does_not_agree_or_is_not_known_is_unknown(other: dict[str, Any]) -> None:
    assert place(replace(HERE, **other), HERE) is Place.UNKNOWN


def test_a_container_with_a_machine_id_of_its_image_never_tells_that_its_host_started_anew() -> (
    None
):
    here = replace(HERE, namespaces=CONTAINER)
    assert place(replace(here, boot="boot-0"), here) is Place.UNKNOWN


def test_without_a_machine_id_another_boot_may_be_another_machines() -> None:
    here = replace(HERE, machine="")
    assert place(replace(here, boot="boot-0"), here) is Place.UNKNOWN
    assert place(replace(here, pid=9), here) is Place.HERE


def test_a_driver_of_an_earlier_boot_of_this_machine_is_known_as_such() -> None:
    assert place(replace(HERE, boot="boot-0"), HERE) is Place.EARLIER_BOOT


@pytest.mark.parametrize(
    ("found", "ended"),
    [
        (None, True),
        (Process("1736582"), False),
        (Process("1736582", ended=True), True),  # killed, and not yet buried by its parent
        (Process("1736583"), True),  # another process bears its id by now
    ],
)
def test_a_driver_has_ended_when_nothing_bears_its_id_or_something_else_does(
    found: Process | None, ended: bool
) -> None:
    assert has_ended(HERE, found) is ended


def test_a_lease_names_its_driver_by_words_that_another_version_reads_too() -> None:
    assert (WORKER, FOREGROUND) == ("worker", "foreground")
    assert str(DriverId("pve-backup", 812, "ab12cd34")) == "pve-backup:812:ab12cd34:::::"
    assert parse(f"{HERE}:of a later version") == HERE


def test_the_first_pid_namespace_is_the_one_that_linux_gives_that_number() -> None:
    """PROC_PID_INIT_INO of include/linux/proc_ns.h."""
    assert int(INITIAL_PID_NAMESPACE) == 0xEFFFFFFC


def test_who_knows_not_its_own_boot_or_namespaces_cannot_say_that_anybody_is_gone() -> None:
    assert place(HERE, replace(HERE, boot="")) is Place.UNKNOWN
    assert place(replace(HERE, namespaces=""), replace(HERE, namespaces="")) is Place.UNKNOWN


def test_a_kernel_without_time_namespaces_names_the_pid_namespace_alone() -> None:
    here = replace(HERE, namespaces=INITIAL_PID_NAMESPACE)
    assert place(replace(here, boot="boot-0"), here) is Place.EARLIER_BOOT
