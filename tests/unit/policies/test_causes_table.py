"""The table of PVE's texts, row by row: each is recognised, blamed and called damaged as written,
and names where it was read.
"""

from __future__ import annotations

import pytest

from policies.causes import TEXTS, Blame, Cause, blame

SAID = (  # one real line for each row, in the table's order
    ("a.vma.zst : Decoding error (36) : Restored data doesn't match checksum", Cause.ARCHIVE, True),
    ("command 'vma extract' failed: interrupted by signal", Cause.PLATFORM, False),
    ("vma: restore failed - blk_pwrite to  failed (-28)", Cause.CAPACITY, False),
    ("vma: restore failed - bdrv_open failed", Cause.STORAGE, False),
    ("vma blk_flush drive-scsi0 failed", Cause.STORAGE, False),
    ("write error: No space left on device", Cause.CAPACITY, False),
    ("not enough free space (1 < 2)", Cause.CAPACITY, False),
    ("zstd: a.vma.zst: Decoding error (20) : corruption", Cause.ARCHIVE, True),
    ("a.vma.zst : Read error (39) : premature end", Cause.ARCHIVE, True),
    ("gzip: a.vma.gz: unexpected end of file", Cause.ARCHIVE, True),
    ("gzip: a.vma.gz: invalid compressed data--crc error", Cause.ARCHIVE, True),
    ("gzip: a.vma.gz: not in gzip format", Cause.ARCHIVE, True),
    ("vma: restore failed - short vma extent", Cause.ARCHIVE, True),
    ("got timeout reading VMA header - corrupted?", Cause.ARCHIVE, True),
    ("archive does not contain data for drive 'scsi0'", Cause.ARCHIVE, False),
    ("found no device mapping information for device 'drive-scsi0'", Cause.ARCHIVE, False),
    ("unable to read qemu-server.conf", Cause.ARCHIVE, False),
    ("Failed to extract config from VMA archive: x", Cause.ARCHIVE, True),
    ("config extraction failed with exit code 1", Cause.ARCHIVE, False),
    ("ERROR: archive contains no configuration file", Cause.ARCHIVE, False),
    ("ERROR: couldn't determine archive info from 'x'", Cause.ARCHIVE, False),
    ("cluster not ready - no quorum?", Cause.PLATFORM, False),
    ("can't lock file '/var/lock/x' - got timeout", Cause.PLATFORM, False),
    ("unable to create VM 9000 - VM 9000 already exists on node 'a'", Cause.PLATFORM, False),
    ("disk image '/x/vm-9000-disk-0.raw' already exists", Cause.PLATFORM, False),
    ("got timeout during VMA restore", Cause.PLATFORM, False),
    ("Permission check failed (/vms/9000, VM.Allocate)", Cause.PLATFORM, False),
    ("storage 'nas' is not online", Cause.STORAGE, False),
    ("unable to activate storage 'nas'", Cause.STORAGE, False),
    ("mount error: No such device", Cause.STORAGE, False),
)


AFTER_THE_DATA = "error after data was restored, VM disks should be OK"  # qemu-server QemuServer.pm


def test_every_row_of_the_table_is_tried_here() -> None:
    assert len(SAID) == len(TEXTS)


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_law_5_a_row_is_what_its_line_is_blamed_on(number: int) -> None:
    line, cause, damaged = SAID[number]
    assert TEXTS[number].text.search(line)
    found = blame("exit code 133", ["restoring", f"  {line}  "])
    assert found == Blame(cause, line, damaged)
    assert (TEXTS[number].cause, TEXTS[number].damaged) == (cause, damaged)


def test_what_no_text_explains_is_the_platforms_and_damages_nothing() -> None:
    assert blame("exit code 133") == Blame(Cause.PLATFORM, "", False) == Blame(Cause.PLATFORM)


def test_after_every_byte_was_written_only_the_texts_about_the_archive_count_for_nothing() -> None:
    log = [
        AFTER_THE_DATA,
        "archive does not contain data for drive 'scsi0'",
        "mount error: No such device",
    ]
    assert blame("exit code 133", log) == Blame(Cause.STORAGE, "mount error: No such device")


def test_the_words_for_a_cause_are_those_that_scripts_read() -> None:
    words = "archive storage config boot service network time capacity platform ours"
    assert [str(cause) for cause in Cause] == words.split()
    assert [cause for cause in Cause if cause.against_the_archive] == [
        Cause.ARCHIVE,
        Cause.CONFIG,
        Cause.BOOT,
        Cause.SERVICE,
    ]
