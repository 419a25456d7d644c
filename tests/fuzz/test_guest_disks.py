"""Disks of which bytes were changed: every one is read, or refused in words; nothing is written
beside the folder, and nothing hangs: 600 in `make test`, 20,000 in `make soak`.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# loaded once, before the first process is forked
import pyfsxfs  # noqa: F401
import pytest
import pytsk3  # noqa: F401

from backupsvc.archives.filesystems.copy_out import copy_out, listing
from backupsvc.archives.filesystems.reader import ReaderLost
from backupsvc.errors import BackupsvcError
from tests.fuzz.guest_disks import LIMITS, ForkedReader, Seed, mutated, seeds

COUNT = int(os.environ.get("FUZZ_COUNT", "600"))

pytestmark = [pytest.mark.slow, pytest.mark.long(600), pytest.mark.timeout(1500 + COUNT * 2)]


def test_no_mutant_of_a_disk_harms_whoever_reads_it(
    place: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "seeds").mkdir()
    kept = [Seed.of(path) for path in seeds(tmp_path / "seeds")]
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(COUNT):
        seed = kept[number % len(kept)]
        folder = place / str(number)
        folder.mkdir()
        (folder / "beside").write_text("not theirs")
        try:
            with mutated(seed, number) as disk, ForkedReader([disk], LIMITS) as reader:
                for volume in reader.volumes():
                    if volume.readable:
                        reader.replay(volume)
                        listing(reader, volume, "/")
                        done = copy_out(reader, volume, ["/"], folder / "out" / str(volume.number))
                        tally["files copied"] += len(done.files)
                        tally["not copied"] += len(done.problems)
            tally["read"] += 1
        except ReaderLost as error:
            tally[f"lost: {error.message.rpartition(': ')[2]}"] += 1
        except BackupsvcError as error:
            tally[f"refused: {type(error).__name__}"] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            wrong.append(f"{number} ({seed.name}): {error!r}")
        wrong += [f"{number} ({seed.name}): {what}" for what in _left(folder)]
    said = ", ".join(f"{count} {what}" for what, count in tally.most_common())
    record_property("counted", f"fuzz of disks: {COUNT} mutants: {said}")
    assert not wrong, f"{len(wrong)} of {COUNT}: {wrong[:10]}"
    assert tally["files copied"] > COUNT, "most of what is not hurt is read"


def _left(folder: Path) -> list[str]:
    """What lies in a folder and should not; the folder is removed on the way."""
    found = []
    for root, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                found.append(f"{path} is no file and no folder")
            elif mode & (stat.S_ISUID | stat.S_ISGID | 0o077) and "out" in path.parts[:-1]:
                found.append(f"{path} has the mode {stat.S_IMODE(mode):o}")
            elif name.endswith(".partial"):
                found.append(f"{path} is left")
            if path.parent == folder and name not in ("beside", "out"):
                found.append(f"{path} is beside the folder")
            path.rmdir() if stat.S_ISDIR(mode) else path.unlink()
    folder.rmdir()
    return found
