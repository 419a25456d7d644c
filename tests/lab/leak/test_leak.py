"""Law 2, seen on the wire: a restored copy runs beside its original under the same addresses, and
production never hears it.

And the test of the test: the same watch finds the leak when root puts a copy onto the production
bridge.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from backupsvc.clock import SystemClock, polls
from pvelab.vmm.accel import READY
from tests.lab.leak.conftest import Stage
from tests.lab.leak.production import NEIGHBOUR, TRUNK, Watch
from tests.lab.vmm.conftest import run

pytestmark = pytest.mark.lab

ORIGINAL, COPY, ADDRESS = 108, "9000", "192.168.10.8"
ORIGINAL_MAC = bytes.fromhex("bc2411000008")


def watch(stage: Stage) -> Watch:
    return Watch(stage.lab.networks, stage.plugged, "vmbr0", 10, ADDRESS)


@contextmanager
def asked(stage: Stage) -> Iterator[list[tuple[int, str]]]:
    """Have 103 read the page of the original again and again, and collect its answers."""
    answers, over = list[tuple[int, str]](), threading.Event()
    zabbix: Any = stage.lab.machines[103]

    def ask() -> None:
        while not over.is_set():
            answers.append(run(zabbix, f"timeout 10 wget -q -O - http://{ADDRESS}/"))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield answers
        finally:
            over.set()
        asking.result()


def test_law_2_no_frame_of_a_restored_copy_reaches_production_while_its_original_answers(
    stage: Stage,
) -> None:
    isolated = stage.lab.networks.capture("vmbr9")
    with watch(stage) as production, asked(stage) as answers:
        tested = stage.shell("restore-test", ORIGINAL, "--json")
    assert (tested.code, tested.json["verdict"]) == (0, "proven"), tested.out + tested.err
    assert production.leaks(COPY) == []
    # the copy did run and talk, under its original's own MAC, and production was really listened to
    assert [port.bridge for port in production.ports(COPY)] == ["vmbr9"]
    assert production.ports(COPY)[0].counters.received > 0
    assert {frame.source for frame in isolated if frame.machine == COPY} == {"BC:24:11:00:00:08"}
    for host in (NEIGHBOUR, TRUNK):
        assert ("108", ("vmbr0", 10)) in {
            (frame.machine, frame.segment) for frame in production.heard if frame.to == host
        }
    assert answers
    assert set(answers) == {(0, "Debian-Server answers\n")}


def test_law_2_the_same_watch_finds_the_leak_when_isolation_is_switched_off(stage: Stage) -> None:
    volid = stage.shell("catalog", "list", "--vmid", ORIGINAL, "--json").json["archives"][0][
        "volid"
    ]
    with watch(stage) as production:
        assert (
            stage.root("POST", "/nodes/clovis/qemu", vmid=COPY, archive=volid, storage="local-lvm")
            == "OK"
        )
        assert stage.root("POST", f"/nodes/clovis/qemu/{COPY}/status/start") == "OK"
        _until_found(production, stage)
        assert stage.root("POST", f"/nodes/clovis/qemu/{COPY}/status/stop") == "OK"
        assert stage.root("DELETE", f"/nodes/clovis/qemu/{COPY}") == "OK"
    with pytest.raises(AssertionError, match="9000 is plugged into vmbr0"):
        assert production.leaks(COPY) == []
    found = " / ".join(production.leaks(COPY))
    assert "9000 sent" in found
    assert "frames of 9000 reached" in found
    assert NEIGHBOUR in found
    assert TRUNK in found
    assert f"{ADDRESS} is claimed by 108 and 9000" in found


def test_a_trunk_of_the_production_bridge_talks_to_a_real_guest_with_the_header_of_its_vlan_only(
    stage: Stage,
) -> None:
    with watch(stage) as production:
        for _ in polls(SystemClock(), 30, first=0.2):
            if any(frame[6:12] == ORIGINAL_MAC for frame in production.trunk_heard):
                break
    headers = {frame[12:16] for frame in production.trunk_heard if frame[6:12] == ORIGINAL_MAC}
    assert headers == {bytes.fromhex("8100000a")}


def _until_found(production: Watch, stage: Stage) -> None:
    """Wait until the copy is up and has claimed its original's address."""
    for _ in polls(SystemClock(), 90, first=0.2):
        if READY in stage.lab.machines[int(COPY)].console() and any(
            "claimed" in leak for leak in production.leaks(COPY)
        ):
            return
    raise AssertionError(f"the copy never showed itself: {production.leaks(COPY)}")
