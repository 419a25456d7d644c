"""What the three commands may and may not do with a mutant, and the watch over time, memory and
files while they do it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backports.zstd import ZstdError, decompress
from typer.main import get_command
from typer.testing import CliRunner

from backupsvc.cli.archive import app
from backupsvc.errors import BackupsvcError
from tests.fuzz import reference
from tests.fuzz.mutants import Mutant

# built once: to build it takes as long as to run it over a small file
COMMAND, RUNNER = get_command(app), CliRunner()
MAX_MEMORY = 100 * 1000 * 1000  # bytes of resident memory on top of what the process held before
MAX_CPU = 20.0  # seconds of the processor for one mutant; the clock says nothing on a busy machine
# what only verify holds against a VM's archive
LACKS = ("the config ", "restore the guest from it alone", "more of the kind")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset(
    (
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.truncate",
        "os.link",
        "os.symlink",
        "os.chmod",
    )
)


class Hang(BaseException):
    """A mutant took too long; no ``except Exception`` may swallow it."""


@dataclass
class Tally:
    """What was counted over all mutants."""

    verdicts: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    wrong: list[str] = field(default_factory=list)


class Watch:
    """Notes every path that this process opens for writing, makes, renames or removes while it is
    on (audit events).
    """

    def __init__(self) -> None:
        self.on = False
        self.paths: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike) and args[2] & WRITES:
            self.paths.append(os.fsdecode(args[0]))
        elif event in CHANGES or event.startswith("shutil."):
            self.paths += [
                os.fsdecode(one) for one in args[:2] if isinstance(one, str | bytes | os.PathLike)
            ]


WATCH = Watch()


def judge(mutant: Mutant, folder: Path, tally: Tally) -> None:
    """Given a mutant and an empty folder, let the commands read it there and add what they did, and
    did wrong, to the tally.
    """
    path, target = folder / mutant.name, folder / "target"
    path.write_bytes(mutant.data)
    forget_peak()
    before = kilobytes("VmRSS")
    try:
        with limited():
            intact, checksummed, reasons = _verify(path)
            _info(path)
            done = _extract(path, target)
    except (AssertionError, Hang) as problem:
        tally.wrong.append(f"{mutant.number} ({mutant.what}): {problem!r}"[:600])
        tally.verdicts["wrong"] += 1
        _tidy(folder)
        return
    finally:
        peak = (kilobytes("VmHWM") - before) * 1024
        tally.peak = max(tally.peak, peak)
    tally.verdicts["intact" if intact else "not intact"] += 1
    try:
        assert peak < MAX_MEMORY, f"{peak} bytes of memory"
        _hold(mutant, intact, checksummed, reasons, _content(target) if done else None)
    except reference.TooFar:
        tally.verdicts["of these, too large for the second reading"] += 1
    except AssertionError as problem:
        tally.wrong.append(f"{mutant.number} ({mutant.what}): {problem}"[:600])
    finally:
        _tidy(folder)


def _tidy(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


def _hold(
    mutant: Mutant,
    intact: bool,
    checksummed: bool,
    reasons: list[str],
    extracted: dict[str, bytes] | None,
) -> None:
    """Raise AssertionError for a false pass, and for content that came out other than it lies in
    the stream.
    """
    if not intact and extracted is None:
        return
    raw = _plain(mutant)
    if mutant.hurt and checksummed:
        assert raw == mutant.sealed, (
            "FALSE PASS: what was changed after its checksum was made is called intact"
        )
    if mutant.name.startswith("vzdump-lxc"):
        assert extracted is None
        if intact and (refused := _tar_refuses(raw)):
            raise AssertionError(f"FALSE PASS: tar says {refused}")
        return
    if mutant.hurt and not checksummed and raw != mutant.sealed:
        same = reference.skeleton(raw) == reference.skeleton(mutant.sealed)
        assert same or _is_whole(raw), "FALSE PASS: a changed header is called intact"
    try:
        expected = reference.vma(raw)
    except reference.NotWhole as error:
        raise AssertionError(f"FALSE PASS: {error}") from error
    assert extracted is not None, "FALSE PASS: verify calls intact what extract cannot extract"
    assert {name: _stripped(name, data) for name, data in extracted.items()} == {
        name: _stripped(name, data) for name, data in expected.items()
    }, "what was extracted is not what the stream holds"
    if not intact:
        assert all(any(word in reason for word in LACKS) for reason in reasons), (
            f"extract passed, verify said {reasons}"
        )


def _plain(mutant: Mutant) -> bytes:
    """Return the stream in the file, as zstd's own one-shot decoder reads it. Raise AssertionError
    if that refuses it.
    """
    try:
        return decompress(mutant.data) if mutant.name.endswith(".zst") else mutant.data
    except ZstdError as error:
        raise AssertionError(f"FALSE PASS: {error}") from error


def _is_whole(raw: bytes) -> bool:
    try:
        reference.vma(raw)
    except (reference.NotWhole, ValueError):
        return False
    except reference.TooFar:
        return True
    return True


def _stripped(name: str, data: bytes) -> bytes:
    return data.rstrip(b"\0") if name == "vmstate.raw" else data


def _tar_refuses(raw: bytes) -> str:
    """Return what GNU tar has against a stream, "" if nothing."""
    done = subprocess.run(
        ["tar", "-t", "-v", "-f", "-"],
        input=raw,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.stderr.decode("utf-8", "replace")[-300:] if done.returncode else ""


# --- the three commands, as their users run them --------------------------------------------------


def _run(*words: str) -> tuple[int, str]:
    """Run a command in this process. Raise AssertionError if it ends in anything but one of the
    service's own errors.
    """
    with RUNNER.isolation() as (out, _, _):
        try:
            COMMAND.main(list(words), prog_name="archive")
        except SystemExit as ended:
            code = ended.code
        except BackupsvcError as error:
            code = error.exit_code
        except Exception as error:
            raise AssertionError(f"{words[0]} ended in a traceback: {error!r}") from error
        sys.stdout.flush()
        said = out.getvalue().decode(RUNNER.charset)
    assert isinstance(code, int), f"{words[0]} ended with {code!r}"
    return code, said


def _verify(path: Path) -> tuple[bool, bool, list[str]]:
    code, said = _run("verify", "--json", str(path))
    found = json.loads(said)["archives"][0]
    assert code == (0 if found["intact"] else 1), f"verify ended with {code}"
    return found["intact"], found["checksummed"], [problem["text"] for problem in found["problems"]]


def _info(path: Path) -> None:
    for words in (["info"], ["info", "--json"]):
        code, _ = _run(*words, str(path))
        assert code in (0, 1), f"info ended with {code}"


def _content(target: Path) -> dict[str, bytes]:
    """Return the files that were extracted. Raise TooFar if they are too large to be held here."""
    if any(file.stat().st_size > reference.MAX_DISK for file in target.iterdir()):
        raise reference.TooFar
    return {file.name: file.read_bytes() for file in target.iterdir()}


def _extract(path: Path, target: Path) -> bool:
    """Return whether the archive was extracted; it may be refused. Raise AssertionError if anything
    else is left or touched.
    """
    WATCH.paths.clear()
    WATCH.on = True
    try:
        code, _ = _run("extract", str(path), str(target))
    finally:
        WATCH.on = False
    touched = [Path(one).absolute() for one in WATCH.paths]
    outside = [
        str(one)
        for one in touched
        if ".." in one.parts or (one != target and target not in one.parents)
    ]
    assert not outside, f"touched outside of the target: {outside[:3]}"
    assert sorted(one.name for one in path.parent.iterdir()) == sorted(
        [path.name, *([target.name] if not code else [])]
    )
    return not code


# --- the watch ------------------------------------------------------------------------------------


@contextmanager
def limited() -> Iterator[None]:
    def ended(*_: object) -> None:
        raise Hang(f"more than {MAX_CPU} s of the processor")

    old = signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def forget_peak() -> None:
    """Let the kernel count the peak of resident memory anew from here (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def kilobytes(what: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{what}:")[2].split()[0])
