"""A full target, a stopped task and a damaged archive look alike from afar: PVE's own words tell
them apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import causes
from policies.causes import TEXTS, Blame, Cause, blame

RECORDED = json.loads(
    (Path(__file__).parents[2] / "golden" / "recorded_real" / "06_restore_errors.json").read_text(
        "utf-8"
    )
)
PIPE = (
    "command 'set -o pipefail && zstd -q -d -c a.vma.zst | vma extract -v -r x.fifo - /var/tmp/x' "
    "failed: "
)
EXIT_133 = PIPE + "exit code 133"


def log_of(number: int) -> list[str]:
    """The log that a real server showed of a restore that failed, by the number of the exchange."""
    answer: Any = next(item for item in RECORDED if item["n"] == number)["response"]["json"]
    return [row["t"] for row in answer["data"]]


@pytest.mark.parametrize(
    ("number", "cause", "damaged"),
    [
        (20, Cause.ARCHIVE, True),  # cut in the data
        (32, Cause.ARCHIVE, True),  # a cluster is missing
        (151, Cause.ARCHIVE, True),  # a broken header
        (417, Cause.ARCHIVE, True),  # a plain .vma, flipped
        (460, Cause.STORAGE, False),
        (471, Cause.STORAGE, False),
        (482, Cause.STORAGE, False),
        # the target was full: the same exit status as a corrupt archive
        (493, Cause.CAPACITY, False),
        (653, Cause.PLATFORM, False),
        (656, Cause.PLATFORM, False),  # somebody stopped it
    ],
)
def test_the_failures_of_a_real_server_are_blamed_on_whom_they_lie_with(
    number: int, cause: Cause, damaged: bool
) -> None:
    log = log_of(number)
    found = blame(log[-1].removeprefix("TASK ERROR: "), log)
    assert (found.cause, found.damaged) == (cause, damaged), found


@pytest.mark.parametrize("number", [41, 160, 281])
def test_an_archive_whose_config_cannot_be_extracted_is_damaged(number: int) -> None:
    reason = next(item for item in RECORDED if item["n"] == number)["response"]["reason"]
    assert blame(reason).cause is Cause.ARCHIVE and blame(reason).damaged


@pytest.mark.parametrize(
    "said",
    [
        "unable to restore VM 9000 - VM 9000 already exists on node 'clovis'",
        "cluster not ready - no quorum?",
        "unable to restore VM 9000 - can't lock file '/var/lock/qemu-server/lock-9000.conf' - got "
        "timeout",
        PIPE + "interrupted by signal",
        PIPE
        + "lvcreate 'pve/vm-9000-disk-0' error: insufficient free space (10 extents): 20 required",
        "unexpected status",
        EXIT_133,
        "",
    ],
)
def test_trouble_of_the_platform_is_never_held_against_an_archive(said: str) -> None:
    assert not blame(said).cause.against_the_archive


def test_a_full_target_and_a_corrupt_archive_are_told_apart_by_the_log_alone() -> None:
    full = blame(EXIT_133, ["progress 40%", "vma: restore failed - blk_pwrite to  failed (-28)"])
    flipped = blame(
        EXIT_133,
        [
            "/a.vma.zst : Decoding error (36) : Restored data doesn't match checksum",
            "vma: restore failed - x",
        ],
    )
    assert (full.cause, full.damaged) == (Cause.CAPACITY, False)
    assert (flipped.cause, flipped.damaged) == (Cause.ARCHIVE, True)
    assert "doesn't match checksum" in flipped.text


def test_a_restore_that_failed_after_every_byte_was_written_says_nothing_against_the_data() -> None:
    log = [
        "error after data was restored, VM disks should be OK but config may require adaptions. "
        "VM 9000 state is NOT cleaned up."
    ]
    assert blame("archive does not contain data for drive", log) == Blame(Cause.PLATFORM)


@given(st.text(max_size=80), st.lists(st.text(max_size=60), max_size=4))
def test_what_no_text_explains_is_the_platforms(exitstatus: str, log: list[str]) -> None:
    found = blame(exitstatus, log)
    assert found.text or found.cause is Cause.PLATFORM


def test_every_text_names_its_source() -> None:
    assert all(text.source for text in TEXTS)


@pytest.mark.parametrize("cause", Cause)
def test_another_node_may_do_better_only_where_it_lay_in_the_place(cause: Cause) -> None:
    assert cause.of_the_place == (cause.value in ("storage", "network", "capacity", "platform"))
    assert not (cause.of_the_place and cause.against_the_archive)


@pytest.mark.parametrize(
    "words",
    [
        "No space left on device",
        "vma: restore failed - x",
        "cluster not ready - no quorum?",
        "interrupted by signal",
    ],
)
@pytest.mark.parametrize(
    "quotes", ["vm 9000 - unable to parse config: {}", "DEV: dev_id=1 size: 4096 devname: {}"]
)
def test_law_5_what_an_archive_holds_blames_nobody_by_being_quoted(words: str, quotes: str) -> None:
    told = blame(EXIT_133, [quotes.format(words)])
    assert told == blame(EXIT_133)


FULL_DUMP = (
    "INFO: creating vzdump archive '/mnt/pve/nas/dump/vzdump-qemu-104.vma.zst'",
    "zstd: error 70 : Write error : cannot write block : No space left on device ",
    "ERROR: vma_queue_write: write error - Broken pipe",
    "TASK ERROR: job errors",
)


@pytest.mark.parametrize(
    ("exitstatus", "log", "said"),
    [
        (
            "job errors",
            FULL_DUMP,
            "the target is full (zstd: error 70 : Write error : cannot write block : No space "
            "left on device)",
        ),
        (
            "command 'set -o pipefail && zstd | vma' failed: exit code 133",
            ("vma: restore failed - blk_pwrite to  failed (-28)",),
            "the target is full, or a quota is (vma: restore failed - blk_pwrite to  failed (-28))",
        ),
        (
            "command 'set -o pipefail && zstd | vma' failed: exit code 133",
            ("vma: restore failed - wrong vma extent header chechsum",),
            "the archive's bytes are damaged (vma: restore failed - wrong vma extent header "
            "chechsum)",
        ),
        (
            "unable to create image: out of space",
            ("TASK ERROR: unable to create image: out of space",),
            "",
        ),
        ("unable to create image: out of space", ("out of space",), ""),
        ("something new", ("a line", "another"), ""),
    ],
)
def test_the_cause_is_said_with_the_line_that_names_it_unless_pves_last_word_does(
    exitstatus: str, log: tuple[str, ...], said: str
) -> None:
    assert causes.in_words(exitstatus, log) == said
