"""How long `archive verify` takes next to `zstd -t` on the same file: a mixed disk of 2.4 GB in
.vma.zst, with SHA-256 of the file. As where it is installed, the command's modules are compiled
before.

    python -m pytest tests/bench/bench_archive_verify.py -s

The target is a ratio of at most 1.2 and a peak memory under 100 MB. Nothing here asserts a wall
time: on a busy machine only the ratio of two medians measured in turns says anything, and where
fewer than two cores are free not even that: what the thread that decodes computes is told, too.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from backupsvc.archives.side_by_side import verify_files
from backupsvc.archives.verify import verify_file
from tests.unit.archives.build import CLUSTER, Vma, extent

SIZE = 36_864 * CLUSTER  # 2.4 GB
PER_EXTENT = 58
RUNS = 5
COMMAND = [sys.executable, "-m", "backupsvc", "archive", "verify", "--json"]


def disk(size: int) -> Iterator[bytes]:
    """Yield a disk's clusters: a third zeros, a third like text, a third random, in stretches of 1
    MiB.
    """
    dice = random.Random(108)
    words = [
        "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 10))).encode()
        for _ in range(4000)
    ]
    text = [b" ".join(dice.choices(words, k=12000))[:CLUSTER] for _ in range(512)]
    for number in range(size // CLUSTER):
        kind = number // 16 % 3
        yield (bytes(CLUSTER), dice.choice(text), dice.randbytes(CLUSTER))[kind]


def vma(size: int) -> Iterator[bytes]:
    """Yield the VMA stream of one disk."""
    yield Vma({"drive-scsi0": b""}, sizes={"drive-scsi0": size}).header()
    clusters = disk(size)
    for first in range(0, size // CLUSTER, PER_EXTENT):
        part = enumerate(islice(clusters, PER_EXTENT), first)
        yield extent(
            [
                (1, number, 0xFFFF, data) if any(data) else (1, number, 0, b"")
                for number, data in part
            ]
        )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("bench") / "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
    with path.open("wb") as out:
        compress = subprocess.Popen(
            ["zstd", "-3", "--threads=1", "-q", "-c"], stdin=subprocess.PIPE, stdout=out
        )
        assert compress.stdin
        for part in vma(SIZE):
            compress.stdin.write(part)
        compress.stdin.close()
        assert compress.wait() == 0
    yield path
    path.unlink()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def computed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of CPU that this thread, and those that the children took."""
    thread, before = time.thread_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.thread_time() - thread, children


def peak(archive: Path) -> float:
    """Return the command's peak memory in MiB, asked of itself: a child's own maximum would include
    what it was forked from.
    """
    code = (
        "import atexit, runpy, sys; sys.argv[1:] = ['archive', 'verify', '--quiet', sys.argv[1]];"
    )
    code += (
        "atexit.register(lambda: print(open('/proc/self/status').read())); "
        "runpy.run_module('backupsvc', run_name='__main__')"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(archive)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return (
        int(next(line for line in told.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    )


@pytest.mark.bench
def test_verify_next_to_zstd_t(archive: Path, tmp_path: Path) -> None:
    def peer() -> None:
        subprocess.run(["zstd", "-t", "-q", str(archive)], check=True)

    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(tmp_path)

    def command() -> None:
        subprocess.run([*COMMAND, str(archive)], check=True, stdout=subprocess.DEVNULL, env=env)

    command()  # compiles
    found = verify_file(archive)
    assert found.intact and found.devices[0].size == SIZE
    rows: dict[str, list[float]] = {"zstd -t": [], "verify, in process": [], "verify, command": []}
    for _ in range(RUNS):  # in turns, so that a busy moment of the machine hits all three
        for name, work in zip(rows, (peer, lambda: verify_file(archive), command), strict=True):
            rows[name].append(seconds(work))
    base = statistics.median(rows["zstd -t"])
    print(
        f"\n{found.size / 2**20:.0f} MiB archive of a {SIZE / 2**20:.0f} MiB disk, medians of "
        f"{RUNS} runs"
    )
    for name, times in rows.items():
        median = statistics.median(times)
        print(
            f"  {name:<20} {median:6.3f} s   {median / base:5.2f} x   (best {min(times):.3f}, "
            f"worst {max(times):.3f})"
        )
    decoding, tested = computed(lambda: verify_file(archive)), computed(peer)
    print(
        f"  CPU: the thread that decodes {decoding[0]:.2f} s, zstd -t {tested[1]:.2f} s: "
        f"{decoding[0] / tested[1]:.2f} x"
    )
    print(f"  peak memory of the command: {peak(archive):.0f} MiB")


@pytest.mark.bench
def test_four_archives_side_by_side_next_to_one_after_the_other(archive: Path) -> None:
    """One reading keeps a core decoding and another hashing, so on two cores little is left to
    win; `zstd -t` of one after the other is the yardstick that knows one core.
    """
    cores, four = len(os.sched_getaffinity(0)), [archive] * 4

    def peer() -> None:
        subprocess.run(["zstd", "-t", "-q", *map(str, four)], check=True)

    def verify(jobs: int) -> None:
        assert all(one.intact for one in verify_files(four, jobs))

    works: dict[str, Callable[[], object]] = {
        "zstd -t, in turn": peer,
        "verify, in turn": lambda: verify(1),
        f"verify, {cores} at a time": lambda: verify(cores),
    }
    rows = {name: list[float]() for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            rows[name].append(seconds(work))
    base = statistics.median(rows["verify, in turn"])
    print(f"\nfour archives on {cores} cores, medians of {RUNS} runs")
    for name, times in rows.items():
        median = statistics.median(times)
        print(f"  {name:<20} {median:6.3f} s   {base / median:5.2f} x as fast")
