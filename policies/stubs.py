"""Decide whether the guest under this VMID may be destroyed as the rest of our own restore that
failed (law 1, exception a).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies import ownership


def refusal(
    vmid: int,
    config: Mapping[str, str],
    *,
    ours: bool,
    failed: bool,
    running: bool,
    volumes: Sequence[str],
) -> str | None:
    """Given a guest's config as just read back, return None if it is only what our own failed
    restore left, else why not.

    ``ours``: the catalog has the task of a restore into this VMID on that node that this token
    began, and nobody made a guest there since. ``failed``: that task has ended, and badly.
    ``volumes`` are all of that VMID on any storage of that node.
    """
    if not ownership.is_stub(config):
        more = sorted(set(config) - {"memory", "lock", "digest"})
        return f"its config holds more than a failed restore leaves: {', '.join(more)}"
    if not ours:
        return "no restore of this service is known to have left it"
    if not failed:
        return "the restore that made it still runs, or has not failed"
    if running:
        return "it runs"
    # what has a disk may be somebody's guest, whatever its config holds
    if volumes:
        return f"there are volumes of VMID {vmid}: {', '.join(volumes)}"
    return None
