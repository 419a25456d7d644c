"""When a copy that nobody in it answers for is known not to boot, and what must not be taken for
that.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from policies.stillness import (
    MAX_FIRMWARE_BYTES,
    ROUNDS,
    SECTOR,
    Conclusion,
    Look,
    Reading,
    Reads,
    Seen,
    boots_from,
    conclude,
    seen,
)

CONFIG = {
    "boot": "order=scsi0;net0",
    "scsi0": "local-lvm:vm-9000-disk-0,size=32G",
    "scsi1": "local-lvm:vm-9000-disk-1,size=8G",
}
NOTHING = Reads(0, 0)


def after(*looks: Look, config: Mapping[str, str] = CONFIG) -> Conclusion:
    """What follows from these looks, one after the other."""
    found: Seen | None = None
    for look in looks:
        found = seen(found, look)
    assert found
    return conclude(config, found)


def rounds(
    count: int = ROUNDS + 1,
    *,
    each: int = SECTOR,
    beside: Reads = NOTHING,
    disk: str = "scsi0",
    **config: str,
) -> Conclusion:
    """What follows from so many looks, between any two of which one read of so many bytes was
    made.
    """
    told = [
        {"scsi0": NOTHING, "scsi1": beside} | {disk: Reads(n, n * each)}
        for n in range(1, count + 1)
    ]
    return after(
        *(Look(5.0 * n, "running", reads, 7) for n, reads in enumerate(told)),
        config=CONFIG | config,
    )


def twice(
    reads: Mapping[str, Reads] | None, seconds: float = 61.0, state: str = "running"
) -> Conclusion:
    """What follows from two looks that saw the same."""
    return after(Look(5.0, state, reads, 7), Look(5.0 + seconds, state, reads, 7))


EMPTY = {"scsi0": Reads(1, SECTOR), "scsi1": NOTHING}


def test_a_disk_whose_first_sector_is_read_again_and_again_has_nothing_to_boot() -> None:
    found = rounds()
    assert (found.reading, found.final) == (Reading.UNBOOTABLE, True)
    assert (
        "nothing boots from scsi0" in found.said
        and "2560 bytes from its disks in 5 reads" in found.said
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("it has not begun anew often enough", rounds(ROUNDS)),
        (
            "one read, and none since: its storage may hang, or a loader waits for a key",
            twice(EMPTY, 3600.0),
        ),
        (
            "no read has ended: its storage may hang",
            twice({"scsi0": NOTHING, "scsi1": NOTHING}, 3600.0),
        ),
        ("only another disk was read", rounds(disk="scsi1")),
        ("more than a sector was read at once: a loader", rounds(each=4096)),
        ("another disk was read otherwise", rounds(beside=Reads(1, 4096))),
        ("too much was read, if one sector at a time", rounds(MAX_FIRMWARE_BYTES // SECTOR + 1)),
        ("PVE tells no counts", twice(None)),
        ("it boots from the network first", rounds(boot="order=net0;scsi0")),
        (
            "it boots from a CD-ROM first",
            rounds(boot="order=ide2;scsi0", ide2="local:iso/x.iso,media=cdrom"),
        ),
        ("UEFI looks at disks before it decides", rounds(bios="ovmf")),
        ("its boot order is an old one", rounds(boot="cdn")),
        ("its boot order is malformed", rounds(boot="order=scsi0,order=scsi1")),
        ("its boot disk is not in its config", rounds(boot="order=sata0")),
        (
            "each look saw another process, which counts anew",
            after(
                *(Look(5.0 * n, "running", {"scsi0": Reads(n, n * SECTOR)}, n) for n in range(1, 9))
            ),
        ),
        (
            "nothing more was read at any of many looks",
            after(*(Look(5.0 * n, "running", EMPTY, 7) for n in range(20))),
        ),
        (
            "nobody tells how often its boot disk was read",
            after(
                *(Look(5.0 * n, "running", {"scsi1": Reads(n, n * SECTOR)}, 7) for n in range(20))
            ),
        ),
        (
            "its boot disk is a CD-ROM",
            rounds(boot="order=scsi0", scsi0="local:iso/x.iso,media=cdrom"),
        ),
        ("it is being moved", twice(EMPTY, state="inmigrate")),
    ],
)
def test_nothing_is_concluded_while_anything_else_can_explain_the_silence(
    name: str, found: Conclusion
) -> None:
    assert found.reading is not Reading.UNBOOTABLE and not found.final, name


@pytest.mark.parametrize(
    ("state", "seconds", "final"),
    [
        ("io-error", 11.0, True),
        ("internal-error", 11.0, True),
        ("io-error", 10.0, True),
        ("io-error", 9.9, False),
        ("io-error", 5.0, False),  # a full target of somebody's dump, which ends
        ("paused", 3600.0, False),  # somebody may resume it
    ],
)
def test_a_halted_processor_ends_the_waiting_only_where_it_never_goes_on(
    state: str, seconds: float, final: bool
) -> None:
    found = twice(EMPTY, seconds, state)
    assert (found.reading, found.final) == (Reading.HALTED, final)
    assert state in found.said


def test_a_processor_that_went_on_in_between_begins_to_stand_still_anew() -> None:
    looks = [
        Look(5, "io-error", EMPTY, 7),
        Look(10, "running", EMPTY, 7),
        Look(20, "io-error", EMPTY, 7),
    ]
    assert not after(*looks).final


@pytest.mark.parametrize("state", ["guest-panicked", "suspended", "watchdog", "shutdown"])
def test_what_a_guest_did_to_itself_is_told_and_halts_nothing(state: str) -> None:
    found = twice(EMPTY, state=state)
    assert found.reading is Reading.OPEN and state in found.said


def test_what_is_seen_is_said_where_nothing_follows_from_it() -> None:
    said = twice({"scsi0": Reads(272, 9_000_000), "scsi1": Reads(1, 4096)}).said
    assert said == "it has read 9004096 bytes from its disks in 273 reads"


@pytest.mark.parametrize(
    ("config", "disk"),
    [
        (CONFIG, "scsi0"),
        (CONFIG | {"bios": "seabios"}, "scsi0"),
        ({"boot": "order=virtio0", "virtio0": "x:y"}, "virtio0"),
        ({"boot": "order=sata0", "sata0": "x:y"}, "sata0"),
        ({"boot": "order=ide1", "ide1": "x:y"}, "ide1"),
        ({"boot": "order=ide2", "ide2": "local:iso/x.iso,media=cdrom"}, None),
        ({"scsi0": "x:y"}, None),
        ({"boot": " ", "scsi0": "x:y"}, None),
        ({"boot": "order=efidisk0", "efidisk0": "x:y"}, None),
    ],
)
def test_the_disk_that_firmware_tries_first_is_told_by_the_boot_order_alone(
    config: Mapping[str, str], disk: str | None
) -> None:
    assert boots_from(config) == disk


def test_firmware_has_read_no_more_than_64_kib_one_sector_at_a_time() -> None:
    assert rounds(128).reading is Reading.UNBOOTABLE
    assert rounds(129).reading is Reading.OPEN


def test_a_boot_disk_that_was_read_once_before_the_next_was_tried_has_nothing_to_boot_either() -> (
    None
):
    told = [{"scsi0": Reads(1, SECTOR), "scsi1": Reads(n, n * SECTOR)} for n in range(ROUNDS + 1)]
    found = after(*(Look(5.0 * n, "running", reads, 7) for n, reads in enumerate(told)))
    assert found.reading is Reading.UNBOOTABLE and "nothing boots from scsi0" in found.said


def test_of_reads_that_nobody_tells_nothing_is_said() -> None:
    assert twice(None) == Conclusion(Reading.OPEN, "")
