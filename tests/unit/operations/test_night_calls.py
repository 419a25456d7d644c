"""What a night asks of PVE, counted on the virtual cluster: per guest, per node and per worker,
never per poll.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc.catalog import Catalog
from backupsvc.operations.backup.opening import GUESTS_AGE
from backupsvc.pve.tasks import RECENT_AGE
from tests.catalogs import new_catalog
from tests.unit.operations.virtual_night import Night

HOMES = {"pve01": 4, "pve02": 2, "pve03": 2, "pve04": 3, "pve05": 1}


@pytest.mark.slow
def test_a_night_costs_a_few_calls_a_guest_and_no_time_beside_the_dumps(tmp_path: Path) -> None:
    with Catalog.open(new_catalog(tmp_path)) as catalog:
        night = Night(catalog, tmp_path, HOMES, slow=frozenset({"pve03"}), workers=2)
        found = night.run()
    guests, nodes, workers, calls = found.guests, len(HOMES), 2, found.calls
    assert found.states["backup done"] == guests and found.states["night done"] == 1
    assert found.ratio <= 1.05
    assert found.order_kept
    assert calls["POST vzdump"] == guests
    assert calls["GET task_log"] == guests
    assert calls["GET task_status"] <= 3 * guests
    assert calls["GET extractconfig"] == guests
    assert calls["POST fsfreeze_status"] == guests and calls["GET status"] == guests
    assert calls["GET content"] <= 2 * guests + 3 * nodes
    shared = workers * (found.makespan + 120)
    assert calls["GET cluster_tasks"] <= shared / RECENT_AGE
    assert calls["GET resources"] <= shared / GUESTS_AGE + 8
    assert (
        sum(calls.values())
        <= 14 * guests + workers * (found.makespan + 120) / RECENT_AGE + 15 * nodes
    )
