"""Whatever happens to a copy on the way, what counts in the end is whole: a model of the sender,
killed anywhere and often.

The model follows ``decide`` as the sender does. Between two attempts the archive may change, bytes
that were not synced may be lost, a byte on the target's disk may flip, and the catalog may forget
how far the copy came.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from policies.copy_decision import (
    Action,
    Decision,
    Progress,
    Seen,
    Wanted,
    decide,
    free_name,
    holds,
)
from policies.copy_manifest import Manifest, manifest_name, read_manifest

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
BLOCK = 3
CONTENTS = (b"0123456789", b"0123456789ab", b"0123xx6789", b"")


class Killed(Exception):
    """The process ended here."""


@dataclass
class World:
    """The target's disk, the catalog's word of the progress, and how many steps the process has
    left to live.
    """

    immutable: bool
    disk: dict[str, bytes] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)
    progress: Progress | None = None
    left: int = 0
    put_back: set[str] = field(default_factory=set)

    def step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def seen(self) -> Seen:
        read = {
            name: read_manifest(data)
            for name, data in self.disk.items()
            if name.startswith(manifest_name(NAME))
        }
        return Seen(
            {name: len(data) for name, data in self.disk.items()},
            {name: one for name, one in read.items() if one},
        )


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(world: World, content: bytes, modified: int) -> Decision:
    """One attempt, as backupsvc/copies/send.py makes it."""
    wanted = Wanted(f"local:backup/{NAME}", NAME, len(content), modified)
    refuted: set[str] = set()
    for _ in range(10):
        decision = decide(
            wanted, world.seen(), world.progress, immutable=world.immutable, refuted=refuted
        )
        assert not (world.immutable and decision.remove)
        for file in decision.remove:
            world.step()
            del world.disk[file]
        if decision.action in (Action.DONE, Action.REFUSE):
            return decision
        if decision.action is Action.RESUME:
            assert world.progress is not None
            if not holds(wanted, world.progress, sha(content[: decision.offset])):
                refuted.add(decision.file)
                continue
        if decision.action is not Action.CHECK:
            write(world, wanted, content, decision)
        if sha(world.disk[decision.file]) != sha(content):
            refuted.add(decision.file)
            continue
        if not world.immutable and decision.file != NAME:
            world.step()
            world.disk[NAME] = world.disk.pop(decision.file)
        final = decision.file if world.immutable else NAME
        world.step()
        text = Manifest(wanted.volid, final, len(content), sha(content)).text()
        if not world.immutable:
            world.disk.pop(manifest_name(NAME), None)
        file = free_name(manifest_name(NAME), world.disk)
        half = len(text) // 2
        world.disk[file] = text[:half]
        world.step()
        world.disk[file] = text
    return decision


def write(world: World, wanted: Wanted, content: bytes, decision: Decision) -> None:
    if decision.offset == 0:
        assert decision.file not in world.disk
        world.step()
        world.disk[decision.file] = b""
        world.synced[decision.file] = 0
    for at in range(decision.offset, len(content), BLOCK):
        world.step()
        old = world.disk[decision.file]
        world.disk[decision.file] = old[:at] + content[at : at + BLOCK] + old[at + BLOCK :]
        if at // BLOCK % 2:
            sent = min(at + BLOCK, len(content))
            world.synced[decision.file] = max(sent, world.synced.get(decision.file, 0))
            world.step()
            world.progress = Progress(
                wanted.volid, wanted.size, wanted.modified, decision.file, sent, sha(content[:sent])
            )


attempt = st.tuples(
    st.sampled_from(range(len(CONTENTS))),
    st.integers(0, 25),
    st.sampled_from(
        [
            "nothing",
            "unsynced bytes are lost",
            "a byte flips",
            "the catalog burns",
            "the same time again",
        ]
    ),
)


@given(st.booleans(), st.lists(attempt, max_size=8), st.integers(0, 3))
def test_law_9_what_counts_in_the_end_is_whole_wherever_a_copy_was_killed(
    immutable: bool, attempts: list[tuple[int, int, str]], last: int
) -> None:
    world, clock = World(immutable), 1_000
    for which, steps, mishap in attempts:
        clock += mishap != "the same time again"
        world.left = steps
        try:
            send(world, CONTENTS[which], clock)
        except Killed:
            hurt(world, mishap)
        counts_only_what_is_whole(world)
    world.left = 1_000
    decision = send(world, CONTENTS[last], clock + 1)
    counts_only_what_is_whole(world)
    assert decision.action in (Action.DONE, Action.REFUSE), decision
    if (
        decision.action is Action.DONE
        and decision.manifest
        and decision.manifest.sha256 == sha(CONTENTS[last])
    ):
        assert world.disk[decision.file] == CONTENTS[last]
    if decision.action is Action.REFUSE:
        assert any(name in world.disk for name in (NAME, f"{NAME}~2", f"{NAME}~3")), (
            "something has the name"
        )


def hurt(world: World, mishap: str) -> None:
    unfinished = [
        name for name in world.disk if name in world.synced and (world.immutable or name != NAME)
    ]
    covered = {one.file for one in world.seen().manifests.values()}
    for name in (one for one in unfinished if one not in covered):
        data = world.disk[name]
        if mishap == "unsynced bytes are lost":
            world.disk[name] = data[: world.synced[name]]
        if mishap == "a byte flips" and data:
            world.disk[name] = bytes([data[0] ^ 1]) + data[1:]
    if mishap == "the catalog burns":
        world.progress = None


def counts_only_what_is_whole(world: World) -> None:
    """PVE lists what has the archive's name (unless immutable); a manifest speaks of whole
    bytes.
    """
    if not world.immutable:
        assert world.disk.get(NAME) in (None, *CONTENTS)
    for one in world.seen().manifests.values():
        data = world.disk.get(one.file)
        assert data is not None and (len(data), sha(data)) == (one.size, one.sha256)


def test_the_model_of_an_undisturbed_copy_ends_with_one_archive_and_its_manifest() -> None:
    for immutable in (False, True):
        world = World(immutable, left=1_000)
        decision = send(world, CONTENTS[0], 1)
        assert decision.action is Action.DONE and sorted(world.disk) == [NAME, manifest_name(NAME)]
        assert replace(decision, reasons=()).file == NAME
