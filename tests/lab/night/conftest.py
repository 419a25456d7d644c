"""The reference site with real guests, up once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands import Shell, settle_briefly


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user whose lab is up, with real guests."""
    shell = Shell(tmp_path_factory.mktemp("site"))
    up = shell("lab", "up", "--hypervisor", "qemu", timeout=280)
    assert up.code == 0, up.err
    settle_briefly(shell.state)
    yield shell
    assert shell("lab", "down").code == 0
