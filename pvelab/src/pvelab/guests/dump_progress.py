"""The lines that a dump writes while it runs: freezing and thawing, progress, sums (pve-facts
3.7).
"""

from __future__ import annotations

import time

from pvelab.guests import text
from pvelab.guests.dumplog import DumpLog
from pvelab.guests.vma_writer import Written
from pvelab.release import Release

_PROGRESS_SECONDS = 2.0
_NAP = 0.1


class FreezeLines:
    """vzdump's lines about freezing: as the machine tells of it, made up for where it told nothing
    (a modelled guest).
    """

    def __init__(self, log: DumpLog, vmid: int, release: Release) -> None:
        self._log, self._vmid, self._release, self._heard, self._begun = (
            log,
            vmid,
            release,
            False,
            False,
        )
        self._texts = {
            "freeze": "issuing guest-agent 'fs-freeze' command",
            "thaw": "issuing guest-agent 'fs-thaw' command",
            "freeze-skipped": release.skipped("agent configured but not running?"),
            "freeze-off": release.skipped("disabled in VM options"),
            "freeze-by-others": release.skipped("already frozen"),
        }

    def hear(self, event: str) -> None:
        """Write the line of an event, if it has one. What an agent said follows the event's name
        and a colon.
        """
        name, _, why = event.partition(": ")
        if name == "thaw":
            self.begin()
        if name in self._texts:
            self._heard = True
            self._log.info(self._texts[name])
        # what an agent did not do fails no task (qemu-server PVE/VZDump/QemuServer.pm)
        command, vmid = "guest-fsfreeze-thaw", self._vmid
        errors = {
            "freeze-failed": f"unable to freeze guest fs - {why}",
            "freeze-late": (
                "querying status after freezing guest fs failed - timeout after 60 minutes"
            ),
            "thaw-failed": self._release.agent_refused(vmid, command, why),
            "thaw-late": self._release.agent_failed(vmid, command, "got timeout"),
        }
        if name in errors:
            self._log.error(errors[name])

    def begin(self) -> None:
        """Say, once, that QEMU is now told to begin: between freeze and thaw where there are any
        (since qemu-server 9.1.7).
        """
        if self._release.newer and not self._begun:
            self._log.info("starting backup via QMP command")
        self._begun = True

    def complete(self, wanted: bool, frozen: bool) -> None:
        """Write the lines that were not heard of: whether a freeze was ``wanted`` and whether the
        guest was ``frozen``.
        """
        if wanted and not self._heard:
            for event in ("freeze", "thaw") if frozen else ("freeze-skipped",):
                self.hear(event)


class Progress:
    """vzdump's progress lines, and the brake for ``bwlimit`` (KiB/s; 0 is none)."""

    def __init__(self, log: DumpLog, total: int, bwlimit: int) -> None:
        self._log, self._total, self._rate = log, total, bwlimit * 1024
        self._start = self._shown_at = time.monotonic()
        self._shown = -1
        self._last, self._before = Written(), (0, 0)

    def __call__(self, written: Written) -> None:
        """Take note of what is written. Raise TaskDied when the task is told to stop."""
        self._log.task.check_cancelled()
        self._last = written
        while self._rate and written.read / self._rate > time.monotonic() - self._start:
            self._log.task.check_cancelled()
            time.sleep(_NAP)
        percent = min(written.read, self._total) * 100 // self._total if self._total else 100
        if (
            percent != self._shown
            and percent < 100
            and time.monotonic() - self._shown_at > _PROGRESS_SECONDS
        ):
            self._show(percent)

    def finish(self) -> None:
        """Write the last line and the sums."""
        seconds = int(time.monotonic() - self._start)
        zero = min(self._last.zero, self._total)
        self._show(100)
        if zero:
            self._log.info(
                f"backup is sparse: {text.size(zero, 2)} ({zero * 100 // self._total}%) total "
                "zero data"
            )
        # nothing is divided by less than a second
        rate = f" ({text.size(self._total / seconds)}/s)" if seconds else ""
        self._log.info(
            f"transferred {text.size(self._total, 2)} in {seconds or '<1'} seconds{rate}"
        )

    def _show(self, percent: int) -> None:
        now = time.monotonic()
        span = max(now - self._shown_at, 1.0)
        read, stored = self._last.read - self._before[0], self._last.stored - self._before[1]
        self._log.info(
            f"{percent:3d}% ({text.size(min(self._last.read, self._total))} of "
            f"{text.size(self._total)}) in {text.duration(int(now - self._start))}, read: "
            f"{text.size(read / span)}/s, write: {text.size(stored / span)}/s"
        )
        self._shown, self._shown_at, self._before = (
            percent,
            now,
            (self._last.read, self._last.stored),
        )
