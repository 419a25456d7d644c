"""What `what-if` of 2,000 guests on 50 nodes costs: the decision by itself, for a node, a storage and
the site, and the command on a lab of that size with a year of nightly archives.

    python -m pytest tests/bench/bench_what_if.py -s

The yardstick of the decision is to list each guest's usable archives once; that of the command is `pra
status` of the same lab. Target: 10 s for a site whose retention keeps some fifteen archives a guest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from policies.compliance.facts import BridgeFacts, GuestFacts, Quorum, SiteFacts, usable
from policies.model import Guest, GuestType, Node
from policies.needs import Needs, Volume
from policies.what_if.decide import decide
from policies.what_if.loss import Loss
from pvelab import control
from tests.commands import Shell
from tests.unit.report.langeo import DAY, GIB, NOW, archive, permissions, policy, proof, storage

pytestmark = pytest.mark.bench
NODES = tuple(f"pve{number:02d}" for number in range(1, 51))
KEPT = 15
RUNS = 5


def large() -> SiteFacts:
    """2,000 guests, each with its archives on the next node and the last of them proven."""
    guests = []
    for number in range(2000):
        home, other = NODES[number % 50], NODES[(number + 1) % 50]
        vmid, last = 10_000 + number, NOW - 12 * 3600
        held = [archive(vmid, last - day * DAY, other) for day in range(KEPT)]
        test = replace(proof(vmid, last), node=other)
        held[0] = replace(held[0], proven_at=test.ended)
        guest = Guest(vmid, f"vm{number}", home, GuestType.QEMU, "running", max_memory=2 * GIB)
        needs = Needs((Volume("scsi0", "nas:1", size=16 * GIB),), bridges=("vmbr0",))
        guests.append(
            GuestFacts(vmid, guest.name, guest, archives=tuple(held), proofs=(test,), needs=needs)
        )
    return SiteFacts(
        "large",
        NOW,
        tuple(guests),
        nodes=tuple(Node(name, True, 512 * GIB, 128 * GIB) for name in NODES),
        storages=tuple(
            replace(storage(name, node, content, shared=shared), available=1 << 60)
            for node in NODES
            for name, content, shared in (
                ("local", "backup,iso", False),
                ("local-lvm", "images", False),
                ("nas", "images", True),
            )
        ),
        quorum=Quorum(clustered=True, votes=50, quorate=True),
        permissions=permissions("/sdn/zones/localnetwork"),
        bridges=tuple(BridgeFacts("vmbr0", node, ("eno1",)) for node in NODES),
    )


def median(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def test_the_decision_next_to_listing_what_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    site, wanted = large(), policy(jobs=(), guests={})
    listing = median(lambda: [usable(item.archives) for item in site.guests])
    rows = []
    for name, loss in (
        ("a node", Loss(frozenset({NODES[0]}))),
        ("the shared storage of all disks", Loss(storages=frozenset({"nas"}))),
        ("half of the nodes", Loss(frozenset(NODES[:25]))),
        ("the site", Loss(site=True)),
    ):
        seconds = median(lambda loss=loss: decide(site, wanted, (), loss, NOW))  # type: ignore[misc]
        rows.append((name, seconds, decide(site, wanted, (), loss, NOW)))
    with capsys.disabled():
        for name, seconds, found in rows:
            back = sum(one.recoverable is True for one in found.guests)
            print(
                f"\nwhat if {name} were lost: {seconds:.2f} s of CPU, {seconds / listing:.1f} x "
                f"listing what is usable ({listing:.2f} s); {back} of {len(found.guests)} come back"
            )
    assert rows[0][2].guests and rows[1][2].guests


def test_the_command_next_to_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "lab"
    control.up(home, hypervisor="simulated", scale="50x2000", years=1)
    try:
        shell = Shell(tmp_path)
        assert shell("catalog", "sync", "--json").code == 0
        figures = {}
        for words in (("pra", "status", "--json"), ("what-if", "--node", "pve01", "--json")):
            began = time.monotonic()
            answer = shell(*words)
            figures[words[0]] = time.monotonic() - began
            assert answer.code in (0, 1), answer.err
        lost = len(answer.json["guests"])
    finally:
        control.down(home)
    with capsys.disabled():
        print(
            f"\nwhat-if of {lost} guests of 2,000, with 730,000 archives: {figures['what-if']:.1f} s, "
            f"{figures['what-if'] / figures['pra']:.2f} x pra status ({figures['pra']:.1f} s)"
        )
    assert lost
