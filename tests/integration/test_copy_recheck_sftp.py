"""Copies at real OpenSSH servers are read anew: summed there by a shell, read back where SFTP is all
there is, and not called damaged where nobody answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backupsvc.clock import SystemClock
from backupsvc.copies.reread import reread
from backupsvc.copies.send import send
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.errors import RemoteUnreachable
from tests.integration.test_copies_sftp import ONLY_SFTP, opened, place
from tests.unit.copies import encrypted
from tests.unit.copies.scene import NAME, order, write_archive
from tests.unit.copies.test_reread import cut, flip, known
from tests.unit.remote.sshd import Sshd, running_sshd

HOW = {"shell": "sha256sum there", "sftp": "read back by SFTP"}


@pytest.fixture(params=["shell", "sftp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Sshd, str]]:
    extra = ONLY_SFTP if request.param == "sftp" else ""
    with running_sshd(tmp_path / "server", extra=extra) as sshd:
        yield sshd, HOW[request.param]


def test_a_plain_copy_is_read_anew_and_a_bit_that_flipped_is_found(
    server: tuple[Sshd, str], tmp_path: Path
) -> None:
    (sshd, how), there = server, tmp_path / "there"
    there.mkdir()
    source = write_archive(tmp_path / "here")
    with opened(sshd, place(sshd, there)) as folder:
        copy = known(send(source, folder, order()).manifest)
        good = reread(folder, copy, None, SystemClock(), lambda: None)
        assert (good.how, good.problem) == (how, "")
        flip(there / NAME)
        assert "verified were" in reread(folder, copy, None, SystemClock(), lambda: None).problem
        cut(there / NAME)
        assert "bytes, verified" in reread(folder, copy, None, SystemClock(), lambda: None).problem


@pytest.mark.slow
def test_each_segment_is_read_anew(server: tuple[Sshd, str], tmp_path: Path) -> None:
    (sshd, how), there = server, tmp_path / "there"
    there.mkdir()
    source = write_archive(tmp_path / "here")
    with opened(sshd, place(sshd, there)) as folder:
        copy = known(send_encrypted(source, folder, encrypted.order()).manifest)
        good = reread(folder, copy, None, SystemClock(), lambda: None)
        assert (good.how, good.problem) == (f"each segment {how}", "")
        flip(there / encrypted.SEGMENTS[2])
        bad = reread(folder, copy, None, SystemClock(), lambda: None)
        assert bad.problem.startswith(encrypted.SEGMENTS[2])


def test_law_4_a_server_that_is_gone_tells_nothing_of_its_copies(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    source = write_archive(tmp_path / "here")
    with running_sshd(tmp_path / "server") as sshd:
        target = place(sshd, there)
        with opened(sshd, target) as folder:
            copy = known(send(source, folder, order()).manifest)
    with pytest.raises(RemoteUnreachable), opened(sshd, target) as folder:
        reread(folder, copy, None, SystemClock(), lambda: None)
