"""Encrypted copies to real OpenSSH servers: SFTP alone, a shell, and one that lets nothing be
removed; cut off, changed there, and gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backupsvc.copies.decrypt import decrypt, find
from backupsvc.copies.send import Watch
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import Target
from backupsvc.errors import CopyError, RemoteUnreachable
from policies.copy_decision import Progress
from tests.integration.test_copies_sftp import GUARDED, ONLY_SFTP, left_open, opened, place
from tests.links import link
from tests.unit.copies.encrypted import (
    MANIFEST,
    SEGMENTS,
    WHOLE,
    holds_all_or_nothing,
    killed_everywhere,
    kit,
    manifest_in,
    order,
)
from tests.unit.copies.scene import NAME, Watched, write_archive
from tests.unit.remote.sshd import Sshd, running_sshd


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sftp"), extra=ONLY_SFTP) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("guarded"), extra=GUARDED) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> LocalSource:
    return write_archive(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_where_the_login_is_a_shell_the_segments_are_summed_there(
    tmp_path: Path, source: LocalSource, there: Path
) -> None:
    with running_sshd(tmp_path / "sshd") as server, opened(server, place(server, there)) as folder:
        made = send_encrypted(source, folder, order())
    assert made.how == "encrypted; each segment sha256sum there"
    assert names(there) == WHOLE and holds_all_or_nothing(there, source.path.read_bytes())


def test_a_line_that_breaks_costs_no_whole_segment(
    sftp: Sshd, source: LocalSource, there: Path, tmp_path: Path
) -> None:
    recorded: list[Progress] = []
    with link(("127.0.0.1", sftp.port)) as wire:
        target = place(sftp, there, port=wire.port)

        def cut(known: Progress) -> None:
            recorded.append(known)
            if len(recorded) == 2:
                wire.cut()

        with (
            pytest.raises(RemoteUnreachable, match=r"broke off|cannot be reached"),
            opened(sftp, target) as folder,
        ):
            send_encrypted(source, folder, order(), Watch(record=cut))
        assert MANIFEST not in names(there)
        kept = {name: (there / name).read_bytes() for name in SEGMENTS[:2]}
        wire.mend()
        with opened(sftp, target) as folder:
            made = send_encrypted(source, folder, order(progress=recorded[-1]))
    assert made.how == "encrypted; each segment read back by SFTP"
    assert {name: (there / name).read_bytes() for name in SEGMENTS[:2]} == kept
    assert made.moved < 1_100_000 and names(there) == WHOLE
    decrypt(find(there / NAME), kit(), tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == source.path.read_bytes()


def test_an_immutable_server_lets_whole_segments_be_kept_and_half_ones_be_litter(
    guarded: Sshd, source: LocalSource, there: Path, tmp_path: Path
) -> None:
    recorded: list[Progress] = []

    class Stop(Exception):
        pass

    def stop(said: str) -> None:
        if said == f"digest {SEGMENTS[1]}":
            raise Stop

    target = place(guarded, there)
    with opened(guarded, target) as folder, pytest.raises(Stop):
        watch = Watch(record=recorded.append)
        send_encrypted(source, Watched(folder, stop), order(immutable=True), watch)
    with opened(guarded, target) as folder:
        wanted = order(immutable=True, progress=recorded[-1])
        send_encrypted(source, folder, wanted)
        again = send_encrypted(source, folder, order(immutable=True))
    found = [one.file for one in manifest_in(there).segments]
    assert found == [SEGMENTS[0], f"{SEGMENTS[1]}~2", SEGMENTS[2]]
    assert (again.moved, again.litter) == (0, (SEGMENTS[1],))
    for file in there.iterdir():
        file.chmod(0o600)
    decrypt(find(there / NAME), kit(), tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == source.path.read_bytes()


def test_a_byte_that_flips_there_is_noticed_at_once_and_at_a_resume(
    sftp: Sshd, source: LocalSource, there: Path
) -> None:
    def flip(name: str) -> None:
        data = bytearray((there / name).read_bytes())
        data[500_000] ^= 1
        (there / name).write_bytes(data)

    def step(said: str) -> None:
        if said == f"digest {SEGMENTS[2]}":
            flip(SEGMENTS[2])

    recorded: list[Progress] = []
    with opened(sftp, place(sftp, there)) as folder:
        with pytest.raises(CopyError, match=f"does not hold what was sent to {SEGMENTS[2]}"):
            watch = Watch(record=recorded.append)
            send_encrypted(source, Watched(folder, step), order(), watch)
        flip(SEGMENTS[0])
        second = (there / SEGMENTS[1]).read_bytes()
        send_encrypted(source, folder, order(progress=recorded[-1]))
    assert (there / SEGMENTS[1]).read_bytes() == second
    assert holds_all_or_nothing(there, source.path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("immutable", [False, True])
def test_law_9_a_copy_killed_at_any_step_is_whole_by_its_manifest_or_none(
    sftp: Sshd, guarded: Sshd, tmp_path: Path, immutable: bool
) -> None:
    server = guarded if immutable else sftp

    def open_folder(there: Path) -> Target:
        return left_open(server, place(server, there))

    source = write_archive(tmp_path / "here", 250_000)
    assert killed_everywhere(source, tmp_path, open_folder, immutable=immutable) > 40
