"""What a token may do at a path is what the nearest path says that PVE lists at or above it."""

from __future__ import annotations

import pytest

from policies.pve.privileges import LOCAL_ZONE, privileges

ROOT, GUESTS, ONE = frozenset({"Sys.Audit"}), frozenset({"VM.Audit"}), frozenset({"VM.Backup"})


@pytest.mark.parametrize(
    ("listed", "path", "held"),
    [
        ({"/": ROOT, "/vms": GUESTS, "/vms/108": ONE}, "/vms/108", ONE),
        ({"/": ROOT, "/vms": GUESTS}, "/vms/108", GUESTS),
        ({"/": ROOT, "/sdn/zones": GUESTS}, f"{LOCAL_ZONE}/vmbr0/5", GUESTS),
        ({"/": ROOT, "/vms/109": ONE}, "/vms/108", ROOT),
        ({"/": ROOT}, "/", ROOT),
        ({"/vms/108": ONE}, "/vms", frozenset()),
        ({"/vms/108": ONE}, "/", frozenset()),
        ({}, "/storage/local", frozenset()),
    ],
)
def test_the_nearest_path_that_is_listed_speaks_for_all_below_it(
    listed: dict[str, frozenset[str]], path: str, held: frozenset[str]
) -> None:
    assert privileges(listed, path) == held


def test_the_nodes_own_bridges_lie_in_the_zone_that_pve_calls_localnetwork() -> None:
    assert LOCAL_ZONE == "/sdn/zones/localnetwork"
