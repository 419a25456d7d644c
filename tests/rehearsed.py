"""A rehearsal of a bad day on a lab (docs/rehearsals.md): how long it took, and that no guest was
touched but those that it is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.disks import hash_disk

Record = Callable[[str, object], None]


@contextmanager
def rehearsal(
    record: Record,
    scene: str,
    lab: Path,
    *,
    about: Collection[int] = (),
    gone: Collection[int] = (),
) -> Iterator[None]:
    """Given a lab's directory, and a scene that is played within, print how long it took, and see
    that each configuration and each disk that was there is there as it was: but the configurations
    of the guests that it is ``about``, and all of those that are deleted on purpose (``gone``).
    """
    before, began = _guests(lab, about, gone), time.monotonic()
    yield
    seconds = time.monotonic() - began
    after = _guests(lab, about, gone)
    changed = [path for path, content in before.items() if after.get(path) != content]
    assert not changed, f"{scene}: {changed} are not as they were"
    disks = sum("/dev/" in path for path in before)
    record(
        "counted",
        f"rehearsal: {scene}: {seconds:.1f} s; {len(before) - disks} configurations and {disks} disks "
        "as before",
    )


def _guests(lab: Path, about: Collection[int], gone: Collection[int]) -> dict[str, str]:
    """Each configuration as text, and each disk's hash, by path."""
    configs = (lab / "etc" / "pve" / "nodes").glob("*/qemu-server/*.conf")
    found = {
        str(path): path.read_text(encoding="utf-8")
        for path in configs
        if int(path.stem) not in {*about, *gone}
    }
    for path in lab.glob("nodes/*/dev/pve/vm-*-disk-*"):
        if int(path.name.split("-")[1]) not in gone:
            found[str(path)] = hash_disk(path)
    assert found, "a rehearsal that looks at nothing shows nothing"
    return found
