"""How fast an archive is encrypted, next to what else reads the same bytes: ``age``, where it is
installed, ``openssl enc`` with the cipher that age uses, and ``sha256sum``.

    python -m pytest tests/bench/bench_encrypt.py -s

Nothing here asserts a wall time: on a busy machine only the ratio of two medians measured in turns
says anything. ``openssl enc`` has no authentication of what it encrypts (Poly1305), which age has.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from backupsvc.copies import age
from backupsvc.copies.decrypt import decrypt, find
from backupsvc.copies.send import Order, send
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import CHUNK
from tests.unit.copies.encrypted import RECIPIENTS, kit
from tests.unit.copies.scene import NAME, VOLID, directory

SIZE = 256 << 20
SEGMENT = 64 << 20
RUNS = 5


@pytest.mark.bench
def test_encrypting_next_to_other_tools(tmp_path: Path) -> None:
    archive, dice = tmp_path / NAME, random.Random(108)
    with archive.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(dice.randbytes(1 << 20))
    there, plain, out = (tmp_path / name for name in ("there", "plain", "out"))
    works: dict[str, Callable[[], object]] = {
        "sha256sum": partial(_run, "sha256sum", str(archive)),
        "openssl enc -chacha20": partial(_run, *_openssl(archive, tmp_path / "enc")),
        "pyrage alone": partial(_encrypt, archive, tmp_path / "sealed"),
        "a plain copy to a folder": partial(_copy, archive, plain),
        "an encrypted copy to a folder": partial(_seal, archive, there),
        "decrypting it, verified": lambda: decrypt(find(there / NAME), kit(), out),
    }
    if shutil.which("age"):
        words = ["age", *(word for one in RECIPIENTS for word in ("-r", one))]
        works["age"] = partial(_run, *words, "-o", str(tmp_path / "age"), str(archive))
    rows: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS):  # in turns, so that a busy moment of the machine hits all
        for folder in (there, plain, out):
            shutil.rmtree(folder, ignore_errors=True)
        for name, work in works.items():
            start = time.perf_counter()
            work()
            rows[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in rows.items()}
    print(f"\n{SIZE >> 20} MiB to {len(RECIPIENTS)} recipients, medians of {RUNS} runs")
    for name, median in medians.items():
        base = medians["sha256sum"] / median, medians["openssl enc -chacha20"] / median
        print(
            f"  {name:<30} {median:6.2f} s  {(SIZE >> 20) / median:6.0f} MiB/s  "
            f"{base[0]:5.2f} x sha256sum  {base[1]:5.2f} x openssl"
        )


def _openssl(archive: Path, to: Path) -> list[str]:
    key = ["-K", "11" * 32, "-iv", "22" * 16]
    return ["openssl", "enc", "-chacha20", *key, "-in", str(archive), "-out", str(to)]


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _encrypt(archive: Path, to: Path) -> None:
    with archive.open("rb", buffering=CHUNK) as source, to.open("wb", buffering=CHUNK) as sealed:
        age.encrypt(source.read, sealed.write, RECIPIENTS)


def _copy(archive: Path, folder: Path) -> None:
    with closing(directory(folder)) as target:
        assert send(LocalSource(archive), target, Order(VOLID)).moved == SIZE


def _seal(archive: Path, folder: Path) -> None:
    order = Order(VOLID, recipients=RECIPIENTS, segment=SEGMENT)
    with closing(directory(folder)) as target:
        assert send_encrypted(LocalSource(archive), target, order).moved > SIZE
