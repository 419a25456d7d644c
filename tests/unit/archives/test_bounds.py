"""Whatever a file says, reading it takes less than 100 MB, and a time that follows its size."""

from __future__ import annotations

import io
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from backupsvc.archives import content
from backupsvc.archives.clusters import OVERHEAD, PAGE, SPARSE, Account, ClusterSet
from backupsvc.archives.extract import extract
from backupsvc.archives.verify import verify, verify_file
from backupsvc.errors import ArchiveError
from policies.pve.guest_config import parse_config
from tests import warm

from . import hostile
from .build import Vma, pattern, zst

MAX_MEMORY_MB = 100  # MB of resident memory on top of the interpreter and its modules
# seconds of the processor, not of the clock: what hangs is killed, what is only slow on a busy
# machine is not
CPU = 60

# The command as its users run it, in a process that measures itself: a child's own maximum would
# include what it was forked from.
MEASURED = """
import resource, sys
from pathlib import Path
from backupsvc.archives import describe, extract, verify, zstd
import backupsvc.cli.archive, backupsvc.cli.output, policies.whole
from backupsvc.cli import main

def kilobytes(what):
    return int(Path("/proc/self/status").read_text().partition(what + ":")[2].split()[0])

resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv.pop(1)),) * 2)
before = kilobytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
sys.argv[0] = "backupsvc"
try:
    main()
finally:
    print("PEAK", (kilobytes("VmHWM") - before) * 1024 // 10**6, file=sys.stderr)
"""

CALLS = {
    "verify": ["verify", "FILE"],
    "verify --json": ["verify", "--json", "FILE"],
    "info": ["info", "FILE"],
    "info --json": ["info", "--json", "FILE"],
    "extract": ["extract", "FILE", "DIR"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The hostile files that were asked for so far."""
    return {"": tmp_path_factory.mktemp("hostile")}


def hostile_file(made: dict[str, Path], which: str) -> Path:
    if which not in made:
        name, data = hostile.FILES[which]()
        assert len(data) < 3 * 10**6, "a small file"
        folder = made[""] / which.replace(" ", "-")
        folder.mkdir()
        made[which] = folder / name
        made[which].write_bytes(data)
    return made[which]


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("which", hostile.FILES)
def test_no_small_file_takes_much_memory_or_time_or_ends_in_a_traceback(
    made: dict[str, Path], which: str, call: str, tmp_path: Path
) -> None:
    places = {"FILE": str(hostile_file(made, which)), "DIR": str(tmp_path / "out")}
    words = [places.get(word, word) for word in CALLS[call]]
    done = warm.python(["-c", MEASURED, str(CPU), "archive", *words], dict(os.environ), timeout=250)
    said = done.stderr.decode()
    assert done.returncode in (0, 1, 2), f"ended by {done.returncode}: {said[-2000:]}"
    assert "Traceback" not in said, said[-2000:]
    peak = int(said.rpartition("PEAK")[2])
    assert peak < MAX_MEMORY_MB, f"{peak} MB"
    assert len(done.stdout) < 10 * 10**6


@pytest.mark.parametrize(
    "which",
    ["zeros in a VMA", "zeros in a tar", "a member over and over", "an extent over and over"],
)
def test_a_small_file_that_swells_without_end_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The room is made small here; what counts against it, and that every reader is held to it, is
    what is tested.
    """
    monkeypatch.setattr(content, "ROOM", 16 * hostile.MIB)
    monkeypatch.setattr(content, "SWELL", 64)
    name, raw = {
        "zeros in a VMA": (hostile.VM, bytes(64 * hostile.MIB)),
        "zeros in a tar": (hostile.CT, hostile.tar([(b"./zeros", b"0", bytes(64 * hostile.MIB))])),
        "a member over and over": (hostile.CT, hostile.tar([(b"./f", b"0", b"")] * 2000)),
        "an extent over and over": (hostile.VM, hostile.repeated(800)),
    }[which]
    found = verify(io.BytesIO(zst(raw)), f"{name}.zst")
    assert any("so it is not read further" in problem.text for problem in found.problems)
    assert found.raw_size < 20 * hostile.MIB and len(found.sha256) == 64


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["ustar", "gnu", "pax"])
def test_a_good_archive_of_zeros_has_room(dialect: str) -> None:
    assert verify(io.BytesIO(zst(hostile.dialects()[dialect])), f"{hostile.CT}.zst").intact
    assert verify(
        io.BytesIO(zst(hostile.tar([(b"./z", b"0", bytes(200 * hostile.MIB))]))),
        f"{hostile.CT}.zst",
    ).intact


@pytest.mark.parametrize(
    "line", ["name: x{}x", "#qmdump#map:scsi0:x{}x:", "#scsi1: x{}x", "name:{}x", "#{}x"]
)
def test_a_line_of_a_config_costs_what_its_length_costs(line: str) -> None:
    """Thirty times as many blanks: a thousand times the time, if it grew with the square. Held to a
    hundred times.
    """

    def seconds(text: str, times: int) -> float:
        began = time.process_time()
        for _ in range(times):
            parse_config(text)
        return time.process_time() - began

    short, long = line.format(" " * 2000), line.format(" " * 60_000)
    assert (
        min(seconds(long, 1) for _ in range(3))
        < 10 * min(seconds(short, 10) for _ in range(3)) + 0.05
    )


@pytest.mark.parametrize(
    ("device", "config"),
    [
        ("drive-" + "x" * 300, "qemu-server.conf"),
        ("drive-scsi0", "c" * 252),
        ("drive:scsi0", "drive_scsi0.raw"),
        ("drive-scsi0", "qemu-server/conf"),
        ("drive-scsi0", ".qemu-server.conf"),
    ],
)
def test_law_5_verify_passes_no_name_that_extract_cannot_give_a_file(
    tmp_path: Path, device: str, config: str
) -> None:
    path = tmp_path / hostile.VM
    configs = {"qemu-server.conf": b"x: y\n"}
    data = (
        hostile.named(device, config)
        if config != "qemu-server/conf"
        else clash(configs | {"qemu-server_conf": b"", config: b""})
    )
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        extract(path, tmp_path / "out")
    assert not verify_file(path).intact and not (tmp_path / "out").exists()


def clash(configs: dict[str, bytes]) -> bytes:
    return Vma({"drive-scsi0": pattern(4096)}, configs=configs).bytes()


@pytest.mark.parametrize("length", [200, 251])
def test_a_long_name_that_a_file_can_have_is_extracted(tmp_path: Path, length: int) -> None:
    path = tmp_path / hostile.VM
    path.write_bytes(hostile.named("d" * length))
    assert verify_file(path).intact
    assert extract(path, tmp_path / "out").files[0].name == "d" * length + ".raw"


def test_a_memory_beyond_what_any_guest_has_is_told_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / hostile.VM
    vma = Vma({"vmstate": bytes(10)}, configs={"qemu-server.conf": b"name: x\n"})
    path.write_bytes(vma.with_extents([[(1, 2**32 - 1, 1, b"s" * 4096)]]).bytes())
    assert "write beyond end" in verify_file(path).problems[0].text
    with pytest.raises(ArchiveError, match="write beyond end"):
        extract(path, tmp_path / "out")


@pytest.mark.slow
def test_clusters_scattered_over_disks_never_take_more_than_their_account() -> None:
    """Its worst cases, measured: a page for each cluster, pages just before they become one bit a
    cluster, and just after.
    """
    for each in (1, SPARSE, SPARSE + 1):
        account = Account()
        tracemalloc.start()
        sets = [ClusterSet(2**32, account) for _ in range(4)]
        for page in range(200_000 // (OVERHEAD + 2 * each) // 4):
            for disk in sets:
                for cluster in range(each):
                    disk.add(page * PAGE + cluster * 7)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken < 1.5 * account.bytes, (each, taken, account.bytes)
