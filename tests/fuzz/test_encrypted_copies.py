"""An encrypted copy at a target where anything may happen to it: files cut, changed, exchanged, taken
from another copy, encrypted by a stranger to the same public keys, manifests edited, cut, numbered
or of another version. 3,000 states in `make test`, 20,000 in `make soak`.

When is "decrypted" false? When other bytes than the archive's come out. There is one exception, that
no reader can see: a whole copy of another archive, encrypted to the same public keys, whose manifest
tells the SHA-256 of that; with `--sha256`, or the catalog's, it is refused. "Verified" is false when
the files that the manifest names do not open to the archive, unless that manifest lay there before
and nothing was brought (as of plain copies: that is found when they are read).

Besides: every attempt ends so or with an error of ``errors.py``; what is not ours stays as it was;
nothing is written outside the folders; none takes 20 s of the processor or 100 MB; what is refused
leaves nothing.

One state again: ``python -m tests.fuzz.test_encrypted_copies NUMBER``. Age encrypts nothing twice
alike, so the bytes differ each time, and what is done to them does not.
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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backupsvc.copies.decrypt import decrypt, find, not_expected
from backupsvc.copies.removal import not_as_verified, remove
from backupsvc.copies.send import Verified, Watch
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import BackupsvcError
from policies.copies_keep import lost
from policies.copy_decision import Progress
from policies.model import ArchiveCopy, CopyRoute
from policies.segments import SegmentManifest, own_files, packed, read_manifest
from tests.fuzz.judge import MAX_MEMORY, WATCH, Hang, forget_peak, kilobytes, limited
from tests.unit.copies.encrypted import (
    MANIFEST,
    RECIPIENTS,
    SEGMENTS,
    STRANGER,
    kit,
    opened,
    order,
)
from tests.unit.copies.scene import BESIDE, NAME, VOLID, Watched, directory, write_archive

COUNT = int(os.environ.get("FUZZ_COUNT", "3000"))
PARTS = 4
SIZE, SEGMENT = 40_000, 15_000  # bytes of the archive, and of it in a segment: three of them
FOREIGN = {"holiday.jpg": b"mine", "vzdump-qemu-109-2026_03_09-21_00_02.vma.zst.00001.age": b"x"}
HOSTILE: tuple[object, ...] = (
    "../../etc/passwd", "/etc/passwd", "..", "", "a\0b", "x" * 300, None, True, -1, 0, 1, SIZE + 1,
    1e30, 2**70, [], {}, ["file"], ["age1x"] * 500, "0" * 64, "g" * 64, SEGMENTS[1], MANIFEST, NAME,
    VOLID.replace("108", "109"), "\ud800", 2,
)  # fmt: skip
ACTS = (
    "flip", "cut", "grow", "drop", "swap", "number", "take", "take", "edit", "edit", "refit", "lines",
    "text", "replace", "progress", "no file",
)  # fmt: skip


class Stop(Exception):
    """Ends an attempt in its middle."""


@dataclass(frozen=True)
class Material:
    """The archive, and encrypted copies to harm and to take from: files by name."""

    source: LocalSource
    content: bytes
    copies: dict[str, dict[str, bytes]]
    half: Progress

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class State:
    """What lies at a target before an attempt, and what is remembered of the one before."""

    folder: Path
    immutable: bool
    progress: Progress | None
    knows_hash: bool
    done: list[str]


def material(folder: Path) -> Material:
    """Given an empty folder, make the archive and its copies there: its own, one more of it, one
    that broke off, and copies of another archive with its name, to its keys and to a stranger's.
    """
    source = write_archive(folder / "source", SIZE)
    other = write_archive(folder / "other", SIZE, seed=109)
    copies = {
        "own": _copy(source, folder / "own"),
        "again": _copy(source, folder / "again"),
        "foreign": _copy(other, folder / "foreign"),
        "stranger": _copy(other, folder / "stranger", recipients=(str(STRANGER.to_public()),)),
    }
    recorded: list[Progress] = []

    def step(said: str) -> None:
        if said == f"digest {SEGMENTS[2]}":
            raise Stop

    with pytest.raises(Stop):
        target = Watched(directory(folder / "half"), step)
        send_encrypted(source, target, order(segment=SEGMENT), Watch(record=recorded.append))
    copies["half"] = _files(folder / "half")
    return Material(source, source.path.read_bytes(), copies, recorded[-1])


def _copy(source: LocalSource, folder: Path, **changes: object) -> dict[str, bytes]:
    send_encrypted(source, directory(folder), order(segment=SEGMENT, **changes))
    return _files(folder)


def files_in(folder: Path) -> list[Path]:
    """The files in a folder; no links, for nothing may be written through one."""
    return [one for one in folder.iterdir() if one.is_file() and not one.is_symlink()]


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in files_in(folder)}


# --- the states -----------------------------------------------------------------------------------


def prepared(number: int, made: Material, folder: Path) -> State:
    """Given a number, make the state that has it."""
    dice = random.Random(number)
    begun = dice.choice(("own", "own", "own", "half", "half", "unspoken", "nothing", "foreign"))
    known = made.half if begun == "half" else None
    state = State(folder, dice.random() < 0.4, known, dice.random() < 0.6, [begun])
    files = made.copies.get("own" if begun == "unspoken" else begun, {})
    folder.mkdir(parents=True)
    for name, data in (files | FOREIGN).items():
        (folder / name).write_bytes(data)
    if begun == "unspoken":
        (folder / MANIFEST).unlink()
    for _ in range(dice.choice((0, 1, 1, 2, 3, 5))):
        state.done.append(change(dice, state, made))
    return state


def change(dice: random.Random, state: State, made: Material) -> str:
    """Do one thing to what lies there, and say it."""
    ours = sorted(file.name for file in files_in(state.folder))
    ours = [name for name in ours if name not in FOREIGN]
    act = dice.choice(ACTS)
    if act == "progress":
        state.progress = _other_progress(dice, state.progress or made.half)
        return act
    if not ours:
        return f"{act} of nothing"
    file = state.folder / dice.choice(ours)
    data = bytearray(file.read_bytes())
    match act:
        case "flip" if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            file.write_bytes(data)
        case "cut" if data:
            file.write_bytes(data[: dice.randrange(len(data))])
        case "grow":
            file.write_bytes(bytes(data) + dice.randbytes(dice.choice((1, 100, 70_000))))
        case "drop":
            file.unlink()
        case "swap":
            other = state.folder / dice.choice(ours)
            theirs = other.read_bytes()
            other.write_bytes(data)
            file.write_bytes(theirs)
        case "number":
            file.unlink()
            _put(file.with_name(f"{file.name}~{dice.choice((2, 3, 999_999))}"), bytes(data))
        case "take":
            whose = made.copies[dice.choice(("again", "foreign", "stranger", "half"))]
            names = sorted(whose)
            taken = dice.choice(names) if dice.random() < 0.3 else file.name.partition("~")[0]
            file.write_bytes(whose.get(taken, bytes(data)))
        case "replace":
            whose = made.copies[dice.choice(("again", "foreign", "stranger"))]
            for name in dice.sample(sorted(whose), dice.choice((len(whose), 3, 2))):
                _put(state.folder / name, whose[name])
        case "no file":
            file.unlink()
            _no_file(dice, file)
        case _:
            return f"{act} {_to_manifest(dice, state, act)}"
    return f"{act} {file.name}"


def _put(path: Path, data: bytes) -> None:
    """Have a file there, never written through a link, nor into a pipe."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _no_file(dice: random.Random, path: Path) -> None:
    kind = dice.choice(("link", "folder", "pipe"))
    if kind == "link":
        path.symlink_to(dice.choice(("../outside", "nowhere", "holiday.jpg")))
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)


def _to_manifest(dice: random.Random, state: State, act: str) -> str:
    """Change a manifest that lies there as whoever knows its form does; return its name."""
    names = sorted(file.name for file in files_in(state.folder))
    names = [name for name in names if name.startswith(MANIFEST)]
    if not names:
        return "of nothing"
    path = state.folder / dice.choice(names)
    text = path.read_bytes()
    lines = text.split(b"\n")[:-1]
    if act == "text" or not lines:
        path.write_bytes(_no_manifest(dice, text))
        return path.name
    try:
        rows = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return "of no manifest"
    if not all(isinstance(row, dict) for row in rows):
        return "of no manifest"
    if act == "edit":
        row = dice.choice(rows)
        if row:
            row[dice.choice(sorted(row))] = dice.choice(HOSTILE)
    elif act == "lines":
        _reorder(dice, rows)
    else:
        _refit(dice, state.folder, rows)
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path.name


def _no_manifest(dice: random.Random, text: bytes) -> bytes:
    return dice.choice(
        (
            b"[" * 60_000 + b"\n", b"\xff\xfe\n", b"null\n", b"\n" * 30_000, text[:-1], text + text,
            text.replace(b'"encrypted_copy": 1', b'"encrypted_copy": 2'),
            text.replace(b'"encrypted_copy": 1', b'"encrypted_copy": true'),
            text + b" " * (5 << 20) + b"\n",
            text.replace(b'"segments": 3', b'"segments": 9999999'),
        )
    )  # fmt: skip


def _reorder(dice: random.Random, rows: list[dict[str, object]]) -> None:
    """Exchange two lines of files: the lines whole, or what they say but the place of it."""
    if len(rows) < 3:
        return
    first, second = dice.sample(range(1, len(rows)), 2)
    if dice.random() < 0.4:
        rows[first], rows[second] = rows[second], rows[first]
    keys = dice.choice((("start",), ("file",), ("file", "size", "sha256"), ("sha256", "size")))
    for key in keys:
        mine, theirs = rows[first].get(key), rows[second].get(key)
        rows[first][key], rows[second][key] = theirs, mine


def _refit(dice: random.Random, folder: Path, rows: list[dict[str, object]]) -> None:
    """Let a manifest say of each file what lies there, as whoever exchanged the files would do."""
    for row in rows[1:]:
        path = folder / str(row.get("file")).replace("\0", "").replace("/", "")[:200]
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            row["size"], row["sha256"] = len(data), hashlib.sha256(data).hexdigest()


def _other_progress(dice: random.Random, known: Progress) -> Progress:
    one, *rest = known.segments.split() or [""]
    changes: dict[str, object] = {
        "sent": dice.choice((0, 1, SEGMENT, 2 * SEGMENT, SIZE)),
        "sha256": "f" * 64,
        "file": dice.choice((NAME, SEGMENTS[0], "../elsewhere")),
        "modified": dice.randrange(2**31),
        "recipients": dice.choice(((), RECIPIENTS[:1], RECIPIENTS[::-1])),
        "segments": dice.choice(
            ("", one, " ".join([*rest, one]), f"{one}~2", "x", f"{one} " * 9, one.partition(":")[0])
        ),
    }
    key = dice.choice(sorted(changes))
    return replace(known, **{key: changes[key]})  # type: ignore[arg-type]


# --- judging --------------------------------------------------------------------------------------


@contextmanager
def watched(*folders: Path) -> Iterator[None]:
    """Fail if anything is written outside of the folders meanwhile."""
    WATCH.paths.clear()
    WATCH.on = True
    try:
        yield
    finally:
        WATCH.on = False
    outside = [
        path
        for path in WATCH.paths
        if Path(path).is_absolute()
        and (".." in Path(path).parts or not any(map(Path(path).is_relative_to, folders)))
    ]
    assert not outside, f"written outside the folder: {outside[:3]}"


def judge(state: State, made: Material, out: Path) -> list[str]:
    """Decrypt what lies there, ask whether it is lost, bring the copy to it, decrypt it again and
    remove it; return what came of each. Raise AssertionError for what must not be.
    """
    forget_peak()
    before = kilobytes("VmRSS")
    with limited(), watched(state.folder, out):
        said = [f"{brought_back(state, made, out)} as found"]
        looked_after(state, made)
        said.append(f"{brought(state, made)} when brought")
        said.append(f"{brought_back(state, made, out)} afterwards")
        removed(state, made)
    assert (kilobytes("VmHWM") - before) * 1024 < MAX_MEMORY, "it takes too much memory"
    return said


def brought_back(state: State, made: Material, out: Path) -> str:
    """Decrypt what lies there, as ``archive decrypt`` does."""
    before = _files(state.folder)
    out.mkdir()
    try:
        found = find(state.folder / NAME)
        if state.knows_hash:
            not_expected(found, made.sha256)
        done = decrypt(found, kit(), out)
    except BackupsvcError as error:
        assert error.message, "an error says what happened"
        assert list(out.iterdir()) == [], "what is refused leaves nothing"
        return "refused"
    finally:
        there = _files(out)
        shutil.rmtree(out)
        assert _files(state.folder) == before, "decrypting changes nothing"
    data = there[found.manifest.file]
    assert {file.name for file in done.files} == there.keys() <= {found.manifest.file, *BESIDE}
    assert hashlib.sha256(data).hexdigest() == found.manifest.sha256
    if data != made.content:
        assert not state.knows_hash, "FALSE: other bytes are called the archive of that SHA-256"
        assert found.manifest.sha256 != made.sha256
        return "another archive decrypted"
    if before[found.manifest_file] == made.copies["own"][MANIFEST]:
        assert {name: there[name] for name in BESIDE} == BESIDE
    return "decrypted"


def catalogued(made: Material) -> ArchiveCopy:
    """The copy as the catalog knows it."""
    manifest = read_manifest(made.copies["own"][MANIFEST])
    assert isinstance(manifest, SegmentManifest)
    return ArchiveCopy(
        CopyRoute("usb", "/mnt/usb", "usb", "clovis", VOLID, 108),
        NAME,
        SIZE,
        made.sha256,
        0,
        "",
        "01K",
        recipients=RECIPIENTS,
        segments=packed(manifest.segments, hashes=False),
    )


def looked_after(state: State, made: Material) -> None:
    """Ask whether the copy is there as it was verified, as ``copy sync`` and the keep rules do."""
    copy = catalogued(made)
    with closing(directory(state.folder)) as target:
        files = target.files()
        refusal = not_as_verified(target, copy, files)
    there = [name for name in SEGMENTS if files.get(name) == len(made.copies["own"][name])]
    manifests = [name for name in files if name.startswith(MANIFEST)]
    if not lost([copy], files, immutable=state.immutable):
        assert there == SEGMENTS and manifests, "FALSE: a copy that is lost is not said to be"
    if refusal is None:
        assert there == SEGMENTS
        read = [read_manifest((state.folder / name).read_bytes()) for name in manifests]
        told = [one.sha256 for one in read if isinstance(one, SegmentManifest)]
        assert made.sha256 in told, (
            "FALSE: what is another copy counts as the one that was verified"
        )


def brought(state: State, made: Material) -> str:
    """Bring the copy to what lies there, as ``copy run`` does."""
    before = _files(state.folder)
    known = made.sha256 if state.knows_hash else None
    wanted = order(
        segment=SEGMENT, immutable=state.immutable, progress=state.progress, sha256=known
    )
    done: Verified | BackupsvcError
    try:
        with closing(directory(state.folder)) as target:
            done = send_encrypted(made.source, target, wanted)
    except BackupsvcError as error:
        done = error
    after = _files(state.folder)
    kept = before if state.immutable else FOREIGN
    assert not [name for name, data in kept.items() if after.get(name) != data], "it changed others"
    assert set(after) <= {*own_files(NAME, after), *before}, "it wrote other files"
    if isinstance(done, BackupsvcError):
        assert done.message, "an error says what happened"
        return "refused"
    manifest = done.manifest
    assert isinstance(manifest, SegmentManifest)
    assert (manifest.volid, manifest.size) == (VOLID, SIZE)
    try:
        there = b"".join(opened(state.folder, one.file) for one in manifest.segments)
    except Exception:  # noqa: BLE001 - whatever is wrong with them, they are not the archive
        there = b""
    if there == made.content and manifest.sha256 == made.sha256:
        return "verified"
    read = [read_manifest(data) for name, data in before.items() if name.startswith(MANIFEST)]
    believed = done.moved == 0 and done.how == "its manifest matches" and manifest in read
    assert believed, "FALSE: other bytes are called a verified copy"
    assert known in (None, manifest.sha256), "FALSE: a manifest of another archive is believed"
    return "its manifest believed"


def removed(state: State, made: Material) -> None:
    """Remove the copy, as the target's keep rules do once it is as it was verified."""
    copy, before = catalogued(made), _files(state.folder)
    with closing(directory(state.folder)) as target:
        try:
            if not_as_verified(target, copy, target.files()) is not None:
                return
            if remove(target, copy) is None:
                assert not own_files(NAME, target.files())
        except BackupsvcError as error:
            assert error.message, "an error says what happened"
    after = _files(state.folder)
    gone = before.keys() - after.keys()
    assert gone <= set(own_files(NAME, before)), "it removed others"


@pytest.mark.slow
@pytest.mark.long(600)
@pytest.mark.timeout(900 + COUNT // PARTS)
@pytest.mark.parametrize("part", range(PARTS))
def test_law_5_whatever_happens_to_an_encrypted_copy_no_other_bytes_are_called_the_archive(
    part: int, place: Path, record_property: Callable[[str, object], None]
) -> None:
    tally, wrong, made = Counter[str](), list[str](), material(place / "made")
    for number in range(part, COUNT, PARTS):
        state = prepared(number, made, place / "target")
        try:
            tally.update(judge(state, made, place / "out"))
        except (Exception, Hang) as problem:  # noqa: BLE001 - each kind of failure is counted, and told with its number
            wrong.append(f"{number} ({', '.join(state.done)}): {problem!r}"[:400])
            shutil.rmtree(place / "out", ignore_errors=True)
        shutil.rmtree(place / "target")
    told = ", ".join(f"{count} {word}" for word, count in sorted(tally.items()))
    record_property("counted", f"fuzz of encrypted copies {part}: {told}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:12])
    assert min(tally[f"{word} as found"] for word in ("decrypted", "refused")) > 0
    assert min(tally[f"{word} when brought"] for word in ("verified", "refused")) > 0
    assert tally["another archive decrypted as found"] > 0, "what only a known SHA-256 tells"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        one = material(Path(place) / "made")
        state_of = prepared(int(sys.argv[1]), one, Path(place) / "target")
        print(
            ", ".join(state_of.done), "immutable" if state_of.immutable else "", state_of.progress
        )
        print(judge(state_of, one, Path(place) / "out"))
