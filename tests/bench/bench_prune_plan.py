"""What it costs to decide over a million archives of 1,000 guests, law 3 included: seconds of CPU,
and memory.

    python -m pytest tests/bench/bench_prune_plan.py -s

The yardstick is the reading of each archive's name, which nothing that decides by names can do
without. Targets: under 10 s, and under 500 MB.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backupsvc import garbage
from policies import prune_guard, prune_marks, retention
from policies.model import Archive, Guest, GuestType, Mark, Policy, PruneRules
from policies.prune_guard import Knowledge
from policies.pve.calendar_event import zone
from policies.pve.volid import file_of, parse_name
from policies.site import load_policy

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
GUESTS, NODES, RUNS = 1000, 10, 3
KEEP = "keep-last=3,keep-daily=7,keep-weekly=4,keep-monthly=12,keep-yearly=5"
FIRST = datetime(2023, 3, 1, 21)


def policy() -> Policy:
    vmids = ", ".join(str(100 + number) for number in range(GUESTS))
    written = (
        f"site: bench\ntimezone: Europe/Paris\njobs:\n  nightly: {{storage: local, guests: "
        f"[{vmids}], keep: '{KEEP}'}}\n"
    )
    return load_policy(written, "bench")


def listing(nights: int) -> Iterator[Archive]:
    """Each guest's archive of each night, as ten nodes list them, the newest first; one in thirty
    is proven.
    """
    place = zone("Europe/Paris")
    # one string a node and one number a guest, as the catalog has them (catalog/rows.py)
    nodes, vmids = [f"pve{number:02d}" for number in range(NODES)], [*range(100, 100 + GUESTS)]
    for night in reversed(range(nights)):
        when = FIRST + timedelta(days=night)
        ctime, proven = int(when.replace(tzinfo=place).timestamp()), night % 30 == 0
        for vmid in vmids:
            yield Archive(
                f"local:backup/vzdump-qemu-{vmid}-{when:%Y_%m_%d-%H_%M_%S}.vma.zst",
                nodes[vmid % NODES],
                "local",
                vmid,
                GuestType.QEMU,
                ctime,
                1_000_000_000 + vmid * night % 100_000_000,
                format="vma.zst",
                proven_at=ctime if proven else None,
            )


def read(archives: Sequence[Archive]) -> None:
    place = zone("Europe/Paris")
    for archive in archives:
        if name := parse_name(file_of(archive.volid)):
            name.ctime(place)


@garbage.kept_out()
def decide(archives: Sequence[Archive], rules: Policy) -> int:
    """Decide as operations/prune/deciding.py does, and return how many archives would go."""
    guests = [
        Guest(100 + number, f"guest-{number}", f"pve{number % NODES:02d}")
        for number in range(GUESTS)
    ]
    knowledge = Knowledge(looks={(f"pve{number:02d}", "local"): 1 for number in range(NODES)})
    stopped = prune_guard.stopped(archives, knowledge)
    plain = prune_marks.decide_all(archives, guests, rules)
    wanted = retention.guard(
        prune_guard.beside_unseen(plain, plain, ()),
        in_use=frozenset(),
        listed_before=len(archives),
        now=archives[0].ctime + 3600,
        rules=PruneRules(max_share=1.0),
    )
    assert wanted.refusal is None
    held = prune_guard.hold(wanted.marked, stopped)
    return sum(one.mark is Mark.REMOVE for one in held.marked)


def memory(field: str) -> int:
    """Return a field of this process's memory in MB of 10^6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kib = int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])
    return kib * 1024 // 10**6


def measure(nights: int) -> None:
    archives, rules = list(listing(nights)), policy()
    listed, names, plans, gone = memory("VmRSS"), list[float](), list[float](), 0
    for _ in range(RUNS):  # in turns, so that a busy moment of the machine hits both
        began = time.process_time()
        read(archives)
        names.append(time.process_time() - began)
        began = time.process_time()
        gone = decide(archives, rules)
        plans.append(time.process_time() - began)
    plan, name = statistics.median(plans), statistics.median(names)
    print(
        f"{len(archives):8} archives of {GUESTS} guests, {gone} would go: {plan:.2f} s of CPU "
        f"(best {min(plans):.2f}), {plan / name:.2f} x reading their names ({name:.2f} s); "
        f"{memory('VmHWM')} MB at the most, of these {listed} MB before it began"
    )


@pytest.mark.parametrize("nights", [73, 1000])
def test_a_prune_plan_next_to_reading_the_names(
    nights: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"from tests.bench.bench_prune_plan import measure; measure({nights})"
    # a process alone
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    with capsys.disabled():
        print(f"\n{told}", end="")
    assert "would go" in told
