"""How fast a copy travels next to OpenSSH's own ``sftp`` of the same file, over loopback, to the
same server.

    python -m pytest tests/bench/bench_copy.py -s

Wanted: at least 0.9 of what ``sftp`` moves in a second, the reading back left out, which ``sftp``
does not do. Nothing here
asserts a wall time: on a busy machine only the ratio of two medians measured in turns says
anything.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backupsvc.copies.opening import open_target
from backupsvc.copies.send import Order, send
from backupsvc.copies.sources import LocalSource, NodeSource
from backupsvc.copies.target import Came, Digest, Target
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import SshSettings
from policies.model import CopyTarget, SftpFolder
from tests.unit.copies.scene import NAME, VOLID, Watched
from tests.unit.remote.sshd import Sshd, running_sshd

SIZE = 256 << 20
RUNS = 5
CIPHER = "aes128-gcm@openssh.com"  # as ours


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path / "sshd") as one:
        yield one


class Timed(Watched):
    """Keeps how long the reading back took."""

    seconds = 0.0

    def digest(self, name: str, came: Came) -> Digest:
        start = time.perf_counter()
        found = super().digest(name, came)
        self.seconds = time.perf_counter() - start
        return found


@pytest.mark.bench
def test_a_copy_next_to_sftp(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    archive, there, dice = tmp_path / NAME, tmp_path / "there", random.Random(108)
    with archive.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(dice.randbytes(1 << 20))
    place = SftpFolder("127.0.0.1", server.port, server.user, str(there), (server.host_key,))
    ssh = SshSettings(key_file=server.key_file)
    nodes_of = SshSettings(
        nodes={"clovis": server.address},
        user=server.user,
        key_file=server.key_file,
        known_hosts=server.known_hosts,
    )
    rows: dict[str, list[float]] = {
        "sftp": [],
        "sftp, AES-GCM": [],
        "copy, sent and synced": [],
        "copy, from a node over SSH": [],
        "copy, read back there too": [],
    }
    for _ in range(RUNS):  # in turns, so that a busy moment of the machine hits all
        for name, words in (("sftp", []), ("sftp, AES-GCM", ["-c", CIPHER])):
            rows[name].append(
                seconds(there, lambda words=words: openssh(server, archive, there, words))  # type: ignore[misc]
            )
        with (
            closing(NodeConnections(ssh)) as nodes,
            open_target(CopyTarget("x", place, allow_root=True), nodes, ssh) as folder,
        ):
            timed = Timed(folder)
            whole = seconds(there, lambda folder=timed: copy(archive, folder))  # type: ignore[misc]
            rows["copy, read back there too"].append(whole)
            rows["copy, sent and synced"].append(whole - timed.seconds)
        with (
            closing(NodeConnections(nodes_of)) as nodes,
            open_target(CopyTarget("x", place, allow_root=True), nodes, ssh) as folder,
        ):
            timed, source = Timed(folder), NodeSource(nodes, "clovis", str(archive))
            whole = seconds(
                there,
                lambda folder=timed, source=source: send(source, folder, Order(VOLID)),  # type: ignore[misc]
            )
            rows["copy, from a node over SSH"].append(whole - timed.seconds)
    base = statistics.median(rows["sftp"])
    print(f"\n{SIZE >> 20} MiB over loopback, medians of {RUNS} runs")
    for name, times in rows.items():
        median = statistics.median(times)
        print(
            f"  {name:<28} {median:6.2f} s  {(SIZE >> 20) / median:6.0f} MiB/s  "
            f"{base / median:5.2f} x sftp"
        )


def seconds(there: Path, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    passed = time.perf_counter() - start
    assert (there / NAME).stat().st_size == SIZE
    for file in there.iterdir():
        file.unlink()
    return passed


def copy(archive: Path, folder: Target) -> None:
    assert send(LocalSource(archive), folder, Order(VOLID)).moved == SIZE


def openssh(server: Sshd, archive: Path, there: Path, words: list[str]) -> None:
    options = [
        "-q",
        "-P",
        str(server.port),
        "-i",
        str(server.key_file),
        "-o",
        f"UserKnownHostsFile={server.known_hosts}",
    ]
    command = ["sftp", *options, *words, "-b", "-", f"{server.user}@127.0.0.1"]
    subprocess.run(
        command,
        input=f"put -f {archive} {there}/{NAME}\n",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
