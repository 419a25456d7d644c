"""The section ``jobs``: what is backed up when, where to and how long it is kept, in PVE's own
terms.
"""

from __future__ import annotations

from policies.model import Job, Scratch
from policies.pve import calendar_event
from policies.site import values
from policies.yaml_reader import Value

MODES = ("snapshot", "suspend", "stop")
COMPRESSIONS = ("zstd", "gzip", "lzo")


def read_jobs(value: Value, timezone: str, scratch: Scratch) -> tuple[Job, ...]:
    """Given the section, time zone and scratch range, return the jobs. Raise PolicyError where a
    value is wrong.
    """
    found = []
    for name, (key, entry) in value.entries("a mapping of job names to jobs").items():
        key.matching(
            r"[A-Za-z][A-Za-z0-9_-]{0,49}", "a job's name: a letter, then letters, digits, - and _"
        )
        section = entry.section(
            "schedule", "storage", "guests", "exclude", "mode", "compress", "keep", "window", "bandwidth", "timeout", "thaw"
        )  # fmt: skip
        guests, named = None, section.get("guests")
        if named and (named.is_list or named.text("all, or a list of VMIDs") != "all"):
            guests = values.vmids(named, scratch)
            if not guests:
                raise named.wrong("the list is empty", "all, or a list of VMIDs such as [100, 101]")
        exclude = section.take("exclude", lambda one: values.vmids(one, scratch), ())
        if guests is not None and (excluded := section.get("exclude")):
            raise excluded.wrong(
                "guests are excluded from a list of guests", "exclude only beside `guests: all`"
            )
        job = Job(
            name,
            schedule=section.take(
                "schedule",
                lambda one: one.checked(lambda text: calendar_event.parse(text, timezone).spec),
                "21:00",
            ),
            storage=section.take("storage", values.storage, "local"),
            guests=guests,
            exclude=exclude,
            mode=section.take("mode", lambda one: one.choice(MODES), "snapshot"),
            compress=section.take("compress", _compress, "zstd"),
            keep=section.take("keep", values.keep, "keep-all=1"),
            window=section.take("window", Value.duration, 4 * 3600),
            bandwidth=section.take("bandwidth", values.bandwidth, None),
            timeout=section.take("timeout", Value.duration, 12 * 3600),
            thaw=section.take("thaw", Value.boolean, False),
        )
        found.append(job)
    return tuple(found)


def _compress(value: Value) -> str:
    if value.text(", ".join(COMPRESSIONS)) in ("0", "1", "none"):
        why = (
            "an uncompressed archive carries no checksum of its data, so one flipped bit would "
            "restore without an error"
        )
        raise value.wrong(
            why if value.text() != "1" else "PVE's 1 means lzo", ", ".join(COMPRESSIONS)
        )
    return value.choice(COMPRESSIONS)
