"""What some places of an archive's disks look like, taken while it is read anyway."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from backupsvc.archives.signs import (
    FINEST,
    MOST,
    PIECE,
    DiskSample,
    block_of,
    entropy,
    level_of,
    number,
)
from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.tar import TarPass
from backupsvc.archives.verify import Verification, verify
from policies.archive_signs import ReadArchive, SignsVerdict, first_place, judge
from policies.model import RANDOM, ZEROS, DiskSigns
from pvelab.guests.compression import compressed
from pvelab.guests.vma_writer import Source, write_vma

from . import generated_disks as disks
from .build import BLOCK, CLUSTER, Vma, zst

CONFIG = b"name: lab\nscsi0: local:108/a.raw\n#qmdump#map:scsi0:drive-scsi0:local:raw:\n"
FIRST = first_place(FINEST)


def read(data: bytes, name: str = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst") -> Verification:
    return verify(io.BytesIO(data), name, sampled=True)


def only(found: Verification) -> DiskSigns:
    assert found.intact, found.problems
    [signs] = found.signs
    return signs


def test_each_sixteenth_place_is_looked_at_and_zeros_are_counted_by_the_masks() -> None:
    data = bytearray(64 * CLUSTER)
    dice = random.Random(1)
    data[FIRST * CLUSTER : (FIRST + 1) * CLUSTER] = dice.randbytes(CLUSTER)
    data[(FIRST + 16) * CLUSTER : (FIRST + 17) * CLUSTER] = (
        b"plain words " * (CLUSTER // 12) + b"...."
    )
    data[0:BLOCK] = b"\1" * BLOCK
    signs = only(read(zst(Vma({"drive-scsi0": bytes(data)}).bytes())))
    assert (signs.name, signs.size, signs.level) == ("drive-scsi0", len(data), FINEST)
    assert signs.stored == 2 * CLUSTER + BLOCK
    assert list(signs.prints) == [FIRST, FIRST + 16, FIRST + 32, FIRST + 48]
    random_one, plain, *zeros = signs.prints.values()
    assert random_one >= RANDOM > plain > ZEROS and zeros == [ZEROS, ZEROS]
    assert signs.random_share == 0.5 and signs.entropy and 4 < signs.entropy < 7


def test_a_place_shows_its_own_block_alone_whatever_lies_around_it_in_its_cluster() -> None:
    block = block_of(FIRST)
    data = bytearray(32 * CLUSTER)
    at = FIRST * CLUSTER + block * BLOCK
    for other in range(16):
        start = FIRST * CLUSTER + other * BLOCK
        data[start : start + BLOCK] = bytes([other + 1]) * BLOCK
    full = only(read(zst(Vma({"drive-scsi0": bytes(data)}).bytes())))
    alone = bytearray(len(data))
    alone[at : at + BLOCK] = data[at : at + BLOCK]
    assert only(read(zst(Vma({"drive-scsi0": bytes(alone)}).bytes()))).prints == full.prints
    data[at : at + BLOCK] = bytes(BLOCK)
    assert only(read(zst(Vma({"drive-scsi0": bytes(data)}).bytes()))).prints[FIRST] == ZEROS


def test_sampling_finds_the_same_archive_whole_or_damaged_as_reading_alone() -> None:
    dice = random.Random(3)
    good = Vma({"drive-scsi0": dice.randbytes(40 * CLUSTER), "vmstate": b"x" * CLUSTER}).bytes()
    for data in (good, good[:-1], good[: len(good) // 2], good[:-512]):
        name = "vzdump-qemu-108-2026_03_09-21_00_02.vma"
        plain, sampled = verify(io.BytesIO(data), name), read(data, name)
        assert plain.problems == sampled.problems and plain.sha256 == sampled.sha256
        assert plain.signs == () and bool(sampled.signs) == sampled.intact
    # a guest's memory is no disk
    assert [one.name for one in read(good, name).signs] == ["drive-scsi0"]


def test_as_many_places_of_a_disk_are_looked_at_however_large_it_is() -> None:
    assert level_of(1) == level_of(MOST << FINEST) == FINEST
    assert level_of((MOST << FINEST) + 1) == FINEST + 1
    for places in (1 << 20, (1 << 20) + 1, 1 << 32):
        assert MOST // 2 < -(-places >> level_of(places)) <= MOST
    sample = DiskSample("files")
    for place in range(1 << 16):
        if sample.wants(place):
            sample.take(place, b"x")
    assert len(sample.prints) <= MOST and sample.level > FINEST


def test_random_bytes_look_random_and_nothing_that_people_or_machines_read_does() -> None:
    assert entropy(b"a" * 512) == 0 and entropy(bytes(range(256)) * 2) == 8
    for kind, share in ((disks.SEALED, 1), (disks.PACKED, 0.95), (disks.TEXT, 0)):
        looks = [_looks_random(one) for one in disks.blocks(kind)]
        assert sum(looks) >= share * len(looks) and (share or not any(looks))
    assert sum(map(_looks_random, disks.blocks(disks.CODE))) < 0.1 * disks.VARIANTS
    assert not _looks_random(os.urandom(256))  # too few bytes to tell


def _looks_random(data: bytes) -> bool:
    sample = DiskSample("x", level=0)
    sample.take(0, data)
    return sample.prints[0] >= RANDOM


# --- containers -----------------------------------------------------------------------------------


def container(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in ({"./etc/vzdump/pct.conf": b"hostname: web\n"} | dict(files)).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def signs_of(files: Mapping[str, bytes]) -> DiskSigns:
    return only(read(container(files), "vzdump-lxc-200-2026_03_09-21_00_02.tar"))


def test_the_files_of_a_container_are_told_by_name_and_offset_wherever_they_stand() -> None:
    dice = random.Random(5)
    files = {f"./srv/{name}": dice.randbytes(dice.randint(0, 300_000)) for name in range(100)}
    one = signs_of(files)
    other = signs_of(dict(sorted(files.items(), reverse=True)))
    assert one.prints == other.prints and len(one.prints) > 5
    assert one.stored == one.size == sum(map(len, files.values()))
    assert set(one.prints) <= {
        number(name.removeprefix("./").encode(), piece)
        for name, data in files.items()
        for piece in range(-(-len(data) // PIECE))
    }


@pytest.mark.slow
def test_a_container_of_many_files_costs_no_more_than_its_sample() -> None:
    few = {f"./f{name}": b"words and words" * (name % 7) for name in range(60_000)}
    signs = signs_of(few)
    assert MOST // 4 < len(signs.prints) <= MOST and signs.level > FINEST


@pytest.mark.parametrize("claimed", [2**62, 40 * PIECE, 300 * PIECE])
def test_a_file_that_claims_to_be_longer_than_the_archive_ends_the_reading_at_once(
    claimed: int,
) -> None:
    member = tarfile.TarInfo("./huge")
    member.size = claimed
    data = member.tobuf(tarfile.GNU_FORMAT) + bytes(5 * PIECE)
    reader = TarPass(sampled=True)
    with pytest.raises(Damage, match="ends inside a member"):
        reader.read(ByteStream([data]))


# --- real archives, as the lab writes them --------------------------------------------------------

EVENTS: dict[str, tuple[disks.Event, SignsVerdict]] = {
    "churn": (disks.churn, SignsVerdict.USUAL),
    "upgrade": (disks.upgrade, SignsVerdict.USUAL),
    "encryption": (disks.encrypt, SignsVerdict.SUSPICIOUS),
    "format": (disks.format_disk, SignsVerdict.SUSPICIOUS),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", EVENTS)
def test_real_archives_of_a_disk_before_and_after_are_judged_the_same(
    what: str, tmp_path: Path
) -> None:
    event, verdict = EVENTS[what]
    disk = disks.made(21)
    history = []
    for night in range(2):
        if night:
            event(disk)
        path = tmp_path / f"vzdump-qemu-108-2026_03_0{night + 1}-21_00_02.vma.zst"
        _write(disk, path)
        found = verify(io.BytesIO(path.read_bytes()), path.name, sampled=True)
        signs = only(found)
        expected = disk.signs()
        assert (signs.prints, signs.stored) == (expected.prints, expected.stored)
        history.append(
            ReadArchive(path.name, night * 86_400, found.size, found.format, found.signs)
        )
    assert judge(history)[1].verdict is verdict


def _write(disk: disks.Disk, path: Path) -> None:
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        for place, content in enumerate(disk.clusters):
            if content:
                file.seek(place * CLUSTER)
                file.write(disks.cluster_bytes(content))
        file.truncate(len(disk.clusters) * CLUSTER)
    with compressed(path, ".zst") as sink:
        write_vma(
            sink.write,
            uuid=bytes(16),
            ctime=1,
            configs={"qemu-server.conf": CONFIG},
            sources=[Source("drive-scsi0", raw, len(disk.clusters) * CLUSTER)],
        )
    raw.unlink()
