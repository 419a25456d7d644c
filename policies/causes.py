"""Find out who is to blame when an archive could not be read or restored, from what PVE said.

A full target and a corrupt archive share the exit status ``exit code 133``: only the log's own
lines tell them apart. What no
text here explains is blamed on the platform, never on the archive: a good archive must not lose its
proof because a node was rebooted.

The texts and their sources: policies.pve.texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from policies.pve import texts
from policies.pve.texts import Text


class Cause(StrEnum):
    """Where a failure comes from."""

    ARCHIVE = "archive"
    STORAGE = "storage"
    CONFIG = "config"
    BOOT = "boot"
    SERVICE = "service"
    NETWORK = "network"
    TIME = "time"
    CAPACITY = "capacity"
    PLATFORM = "platform"
    OURS = "ours"

    @property
    def against_the_archive(self) -> bool:
        """Whether a restore test that failed for this has failed the archive. All else is tried
        again.
        """
        return self in (Cause.ARCHIVE, Cause.CONFIG, Cause.BOOT, Cause.SERVICE)

    @property
    def of_the_place(self) -> bool:
        """Whether it lay in where the test ran, so that another node may do better."""
        return self in (Cause.STORAGE, Cause.NETWORK, Cause.CAPACITY, Cause.PLATFORM)


@dataclass(frozen=True, slots=True)
class Blame:
    """The cause, PVE's words that decided it ("" if none did), and whether they name the archive's
    bytes as damaged.
    """

    cause: Cause
    text: str = ""
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Blaming:
    """One of PVE's texts, and whom it blames: searched for in each line of a task's log and in its
    exit status.
    """

    text: Text
    cause: Cause
    damaged: bool = False

    @property
    def source(self) -> str:
        """Who prints it."""
        return self.text.source


# In their order: the first that any line holds decides. What names the data comes first, then who
# stopped it, then the lines of vma, of which those about the target come before all others.
TEXTS = (
    Blaming(texts.CHECKSUM_WRONG, Cause.ARCHIVE, damaged=True),
    Blaming(texts.INTERRUPTED, Cause.PLATFORM),
    Blaming(texts.VMA_TARGET_FULL, Cause.CAPACITY),
    Blaming(texts.VMA_TARGET_BROKEN, Cause.STORAGE),
    Blaming(texts.VMA_FLUSH_FAILED, Cause.STORAGE),
    Blaming(texts.NO_SPACE, Cause.CAPACITY),
    Blaming(texts.NOT_ENOUGH_SPACE, Cause.CAPACITY),
    Blaming(texts.DECODING_ERROR, Cause.ARCHIVE, damaged=True),
    Blaming(texts.PREMATURE_END, Cause.ARCHIVE, damaged=True),
    Blaming(texts.UNEXPECTED_END, Cause.ARCHIVE, damaged=True),
    Blaming(texts.BAD_STREAM, Cause.ARCHIVE, damaged=True),
    Blaming(texts.NOT_COMPRESSED, Cause.ARCHIVE, damaged=True),
    Blaming(texts.VMA_FAILED, Cause.ARCHIVE, damaged=True),
    Blaming(texts.VMA_HEADER, Cause.ARCHIVE, damaged=True),
    Blaming(texts.NO_DRIVE_DATA, Cause.ARCHIVE),
    Blaming(texts.NO_DEVICE_MAP, Cause.ARCHIVE),
    Blaming(texts.NO_QEMU_CONF, Cause.ARCHIVE),
    Blaming(texts.CONFIG_FROM_VMA, Cause.ARCHIVE, damaged=True),
    Blaming(texts.CONFIG_EXTRACTION, Cause.ARCHIVE),
    Blaming(texts.NO_CONFIG, Cause.ARCHIVE),
    Blaming(texts.NO_ARCHIVE_INFO, Cause.ARCHIVE),
    Blaming(texts.NO_QUORUM, Cause.PLATFORM),
    Blaming(texts.LOCKED, Cause.PLATFORM),
    Blaming(texts.GUEST_EXISTS, Cause.PLATFORM),
    Blaming(texts.VOLUME_EXISTS, Cause.PLATFORM),
    Blaming(texts.VMA_TIMEOUT, Cause.PLATFORM),
    Blaming(texts.FORBIDDEN, Cause.PLATFORM),
    Blaming(texts.STORAGE_UNUSABLE, Cause.STORAGE),
    Blaming(texts.STORAGE_UNREACHED, Cause.STORAGE),
    Blaming(texts.STORAGE_REFUSES, Cause.STORAGE),
)


def in_words(exitstatus: str, log: Iterable[str]) -> str:
    """Given how a failed PVE task ended and its log's lines, return the cause with the line that
    names it, "" if none does.

    PVE's own last word often names none: a full disk ends a backup in ``Broken pipe`` and a restore
    in ``exit code 133`` (pve-facts 3.9, 7.6), and the line that says so stands somewhere before.
    """
    found = blame(exitstatus, log)
    if not found.text or found.text in exitstatus or exitstatus in found.text:
        return ""
    meaning = next(rule.text.meaning for rule in TEXTS if rule.text.search(found.text))
    return f"{meaning.partition(', unless ')[0]} ({found.text})"


def blame(exitstatus: str, log: Iterable[str] = ()) -> Blame:
    """Given how a PVE task or call ended and its log's lines, return who is to blame: the platform,
    unless a text says other.

    A line in which PVE quotes the archive decides nothing: whoever made that could have it blame
    whom he likes.
    """
    lines = [line for line in (*log, exitstatus) if not texts.QUOTED.search(line)]
    written = any(texts.DATA_WRITTEN.among(lines))
    for rule in TEXTS:
        # every byte of it was read and written by then: what failed later is not its fault
        if written and rule.cause is Cause.ARCHIVE:
            continue
        for line in lines:
            if rule.text.search(line):
                return Blame(rule.cause, line.strip(), rule.damaged)
    return Blame(Cause.PLATFORM)
