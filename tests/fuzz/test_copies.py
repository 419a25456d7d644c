"""A copy brought to a target where anything may lie: parts and manifests of earlier attempts, cut
short, changed, exchanged, or written by somebody else. 3,000 states in `make test`, 20,000 in `make
soak`.

When is "verified" false? When the file that the manifest names holds other bytes than the archive.
One thing cannot be seen by whoever brings a copy: that bytes have changed, in their place, under a
whole manifest; that is found when they are read again. So there the manifest is all that is held.

Besides: whatever lies there, an attempt ends as verified or with an error of ``errors.py``; what
is not ours stays as it was; nothing is written outside the folder; and on an immutable target
nothing that was there is changed at all.

One state again: ``python -m tests.fuzz.test_copies NUMBER``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backupsvc.copies.send import Verified, send
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import BackupsvcError
from policies.copy_decision import Progress
from policies.copy_manifest import read_manifest
from tests.fuzz.judge import WATCH
from tests.unit.copies.scene import (
    MANIFEST,
    NAME,
    PART,
    VOLID,
    directory,
    order,
    write_archive,
)

COUNT = int(os.environ.get("FUZZ_COUNT", "3000"))
PARTS = 4
SIZE = 40_000  # bytes of the archive
FOREIGN = {"holiday.jpg": b"mine", "vzdump-qemu-109-2026_03_09-21_00_02.vma.zst": b"another's"}
# what a manifest may say that none of ours does
HOSTILE: tuple[object, ...] = (
    "../../etc/passwd", "/etc/passwd", "..", "", "a\0b", "x" * 300, None, True, -1, 0, SIZE + 1,
    1e30, 2**70, [], {}, ["file"], {"a": "../b"}, {f"n{n}": "x" for n in range(500)},
    "0" * 64, "g" * 64, VOLID.replace("108", "109"), "\ud800",
)  # fmt: skip


@dataclass
class State:
    """What lies at a target before an attempt, and what is remembered of the one before."""

    number: int
    folder: Path
    immutable: bool
    progress: Progress | None
    knows_hash: bool
    done: list[str]


def prepared(number: int, source: LocalSource, folder: Path) -> State:
    """Given a number, make the state that has it, the same each time."""
    dice = random.Random(number)
    content = source.path.read_bytes()
    state = State(number, folder, dice.random() < 0.4, None, dice.random() < 0.6, [])
    folder.mkdir(parents=True)
    for name, data in FOREIGN.items():
        (folder / name).write_bytes(data)
    begun = dice.choice(("nothing", "part", "whole", "unspoken", "whole"))
    if begun in ("whole", "unspoken"):
        with closing(directory(folder)) as target:
            send(source, target, order(immutable=state.immutable))
    if begun == "unspoken":
        (folder / MANIFEST).unlink()
    if begun == "part":
        sent = dice.randrange(SIZE)
        file = NAME if state.immutable else PART
        (folder / file).write_bytes(content[: dice.choice((sent, sent, SIZE))])
        sha256 = hashlib.sha256(content[:sent]).hexdigest()
        modified = source.stat().modified
        state.progress = Progress(VOLID, SIZE, modified, file, sent, sha256)
    state.done.append(begun)
    for _ in range(dice.choice((1, 1, 2, 3))):
        state.done.append(change(dice, state))
    return state


def change(dice: random.Random, state: State) -> str:
    """Do one thing to what lies there, and say it."""
    ours = sorted(file for file in state.folder.iterdir() if file.name not in FOREIGN)
    act = dice.choice(
        ("flip", "cut", "grow", "drop", "swap", "number", "manifest", "progress", "litter")
    )
    file = dice.choice(ours) if ours else state.folder / NAME
    data = bytearray(file.read_bytes()) if ours else bytearray(b"x" * 10)
    match act:
        case "flip" if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            file.write_bytes(data)
        case "cut" if data:
            file.write_bytes(data[: dice.randrange(len(data))])
        case "grow":
            file.write_bytes(bytes(data) + dice.randbytes(dice.choice((1, 100, 70_000))))
        case "drop" if ours:
            file.unlink()
        case "swap" if len(ours) > 1:
            other = dice.choice(ours)
            mine, theirs = file.read_bytes(), other.read_bytes()
            file.write_bytes(theirs)
            other.write_bytes(mine)
        case "number" if ours:
            file.rename(file.with_name(f"{file.name}~{dice.choice((2, 3, 999_999))}"))
        case "manifest":
            whole = {"copy": 1, "volid": VOLID, "file": NAME, "size": SIZE, "sha256": "0" * 64,
                     "sidecars": {}}  # fmt: skip
            found: dict[str, object] = dict(whole)
            for key in dice.sample(sorted(whole), dice.choice((0, 1, 2))):
                found[key] = dice.choice(HOSTILE)
            text = json.dumps(found).encode() + b"\n"
            if dice.random() < 0.2:
                text = dice.choice((b"[" * 60_000 + b"\n", b"\xff\xfe\n", b"null\n", text[:-1]))
            name = MANIFEST + dice.choice(("", "", "~2"))
            (state.folder / name).write_bytes(text)
        case "progress":
            known = state.progress or Progress(VOLID, SIZE, 0, NAME, 10, "0" * 64)
            changes: dict[str, object] = {
                "sent": dice.choice((0, 1, SIZE - 1, SIZE, SIZE * 2)),
                "sha256": "f" * 64,
                "file": dice.choice((NAME, PART, "../elsewhere", f"{NAME}~2")),
                "modified": dice.randrange(2**31),
                "size": dice.randrange(SIZE * 2),
            }
            key = dice.choice(sorted(changes))
            state.progress = replace(known, **{key: changes[key]})  # type: ignore[arg-type]
        case "litter":
            (state.folder / f"{NAME}{dice.choice(('~2', '~3'))}").write_bytes(dice.randbytes(99))
        case _:
            return f"{act} of nothing"
    return f"{act} {file.name}"


def attempt(state: State, source: LocalSource) -> Verified | BackupsvcError:
    content = source.path.read_bytes()
    known = hashlib.sha256(content).hexdigest() if state.knows_hash else None
    wanted = order(immutable=state.immutable, progress=state.progress, sha256=known)
    try:
        with closing(directory(state.folder)) as target:
            return send(source, target, wanted)
    except BackupsvcError as error:
        return error


def judge(state: State, source: LocalSource) -> str:
    """Bring the copy to what lies there, and return what came of it. Raise AssertionError for what
    must not be.
    """
    content = source.path.read_bytes()
    before = {file.name: file.read_bytes() for file in state.folder.iterdir()}
    WATCH.paths.clear()
    WATCH.on = True
    try:
        made = attempt(state, source)
    finally:
        WATCH.on = False
    outside = [
        path
        for path in WATCH.paths
        if Path(path).is_absolute() and not Path(path).is_relative_to(state.folder)
    ]
    assert not outside, f"written outside the folder: {outside[:3]}"
    after = {file.name: file.read_bytes() for file in state.folder.iterdir()}
    kept = dict(before if state.immutable else FOREIGN)
    # what was cut off is gone on with, from where that was recorded
    if state.progress and state.progress.file in kept:
        kept[state.progress.file] = kept[state.progress.file][: state.progress.sent]
    changed = [name for name, data in kept.items() if not after.get(name, b"").startswith(data)]
    assert not changed, f"changed: {changed}"
    if isinstance(made, BackupsvcError):
        assert made.message, "an error says what happened"
        return "refused"
    manifest = made.manifest
    assert (manifest.volid, manifest.size) == (VOLID, SIZE)
    there = after[manifest.file]
    if there == content:
        assert manifest.sha256 == hashlib.sha256(content).hexdigest() or _believed(made, before)
        return "verified"
    assert _believed(made, before), "FALSE: other bytes are called a verified copy"
    assert len(there) == SIZE
    return "its manifest believed"


def _believed(made: Verified, before: dict[str, bytes]) -> bool:
    """Whether nothing was brought, because a manifest that lay there speaks of this very copy."""
    read = [read_manifest(data) for name, data in before.items() if name.startswith(MANIFEST)]
    return made.moved == 0 and made.how == "its manifest matches" and made.manifest in read


@pytest.mark.slow
@pytest.mark.long(300)
@pytest.mark.timeout(600 + COUNT // PARTS)
@pytest.mark.parametrize("part", range(PARTS))
def test_law_5_whatever_lies_at_a_target_no_other_bytes_are_called_a_verified_copy(
    part: int, place: Path, record_property: Callable[[str, object], None]
) -> None:
    source, tally, wrong = write_archive(place / "source", SIZE), Counter[str](), list[str]()
    for number in range(part, COUNT, PARTS):
        state = prepared(number, source, place / "target")
        try:
            tally[judge(state, source)] += 1
        except Exception as problem:  # noqa: BLE001 - each kind of failure is counted, and told with its number
            wrong.append(f"{number} ({', '.join(state.done)}): {problem!r}"[:400])
        shutil.rmtree(place / "target")
    told = ", ".join(f"{count} {word}" for word, count in sorted(tally.items()))
    record_property("counted", f"fuzz of copies {part}: {told}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:12])
    assert min(tally["verified"], tally["refused"], tally["its manifest believed"]) > 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        archive = write_archive(Path(made) / "source", SIZE)
        one = prepared(int(sys.argv[1]), archive, Path(made) / "target")
        print(", ".join(one.done), "immutable" if one.immutable else "", one.progress)
        print(judge(one, archive))
