"""What `catalog sync` and `catalog list` cost where the storages hold 10,000 and a million
archives: seconds of CPU, and memory.

    python -m pytest tests/bench/bench_catalog.py -s

The storages are virtual, the catalog (SQLite, in a file) is real; the command's own start is not
counted. The yardstick of a sync is to make the storages' listings, that of a list is to read one
archive of the catalog. Targets: a sync of 10,000 volumes under 2 s, one of a million under 300 MB,
and a list of one guest under 0.3 s at a million.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.inventory import accepting
from backupsvc.inventory.paging import page
from policies.model import Archive, GuestType, Node, SeenStorages, Storage

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
NODES, NOW = 20, 1_790_000_000


class Storages:
    """A storage on each node, with the nightly archives of its guests."""

    def __init__(self, guests: int, nights: int) -> None:
        self.guests, self.nights = guests, nights

    def seen(self) -> SeenStorages:
        return SeenStorages(
            tuple(
                Storage("local", f"pve{n:02d}", "dir", frozenset({"backup"})) for n in range(NODES)
            )
        )

    def archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        number = int(node.removeprefix("pve"))
        vmids = [
            100 + guest
            for guest in range(number, self.guests, NODES)
            if vmid in (None, 100 + guest)
        ]
        return [
            Archive(
                f"local:backup/vzdump-qemu-{vmid}-{night:010}.vma.zst",
                node,
                "local",
                vmid,
                GuestType.QEMU,
                NOW - night * 86_400,
                500,
            )
            for night in reversed(range(self.nights))
            for vmid in vmids
        ]


def service(url: str, guests: int, nights: int) -> Any:
    """What a sync and a list need of a service."""
    nodes = [Node(f"pve{number:02d}", True) for number in range(NODES)]
    cluster = SimpleNamespace(nodes=lambda max_age=0.0: nodes)
    pve = SimpleNamespace(storage=Storages(guests, nights), cluster=cluster)
    return SimpleNamespace(
        pve=pve, catalog=Catalog.open(url), clock=SimpleNamespace(now=lambda: NOW + 90_000.0)
    )


def timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def memory() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        // 1024
    )


def fill(url: str, guests: int, nights: int) -> None:
    made = service(url, guests, nights)
    print(
        f"{guests * nights} archives: the first sync {timed(lambda: accepting.sync(made)):.2f} s "
        f"of CPU, {memory()} MiB"
    )


def again(url: str, guests: int, nights: int) -> None:
    made = service(url, guests, nights)
    listing = timed(
        lambda: [len(made.pve.storage.archives(f"pve{n:02d}", "local")) for n in range(NODES)]
    )
    at_first = memory()
    synced = timed(lambda: accepting.sync(made))
    print(
        f"  a sync {synced:.2f} s, {synced / listing:.1f} x making the listings; {memory()} MiB, "
        f"{at_first} MiB before it"
    )


def lists(url: str, guests: int, nights: int) -> None:
    made = service(url, guests, nights)
    one = timed(lambda: [made.catalog.archives.find(vmid=101, limit=1) for _ in range(10)]) / 10
    guest = timed(lambda: page(made, 101, limit=1000))
    offline = timed(lambda: page(made, limit=1000, offline=True))
    first = timed(lambda: page(made, limit=1000))
    print(
        f"  a list of one guest {guest:.3f} s, {guest / one:.0f} x reading one archive "
        f"({one * 1000:.1f} ms)"
    )
    print(f"  the newest 1,000 offline {offline:.2f} s, online {first:.2f} s, {memory()} MiB")


@pytest.mark.parametrize(("guests", "nights"), [(100, 100), (1000, 1000)])
def test_sync_and_list(
    tmp_path: Path, guests: int, nights: int, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for what in ("fill", "again", "lists"):  # each in a process of its own, for its memory
        code = (
            f"from tests.bench.bench_catalog import {what}; "
            f"{what}('sqlite:///{tmp_path}/catalog.db', {guests}, {nights})"
        )
        said.append(
            subprocess.run(
                [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
        )
    with capsys.disabled():
        print("", *said, sep="\n", end="")
    assert len(said) == 3
