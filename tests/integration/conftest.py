"""A lab whose guests are only modelled: real API, real archives, nothing boots. Quick, and it proves nothing (law 5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Shell


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user whose lab is up, with modelled guests."""
    shell = Shell(tmp_path_factory.mktemp("site"))
    up = shell("lab", "up", "--hypervisor", "simulated", "--json")
    assert up.code == 0, up.err
    yield shell
    down = shell("lab", "down")
    assert down.code == 0, down.err


@pytest.fixture
def policy_of(tmp_path: Path) -> Path:
    """A file for a policy of the test's own."""
    return tmp_path / "policy.yaml"
