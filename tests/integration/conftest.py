"""A lab whose guests are only modelled: real API, real archives, nothing boots. Quick, and it proves nothing (law 5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Shell
from tests.postgres import fresh_database

LANGEO = Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user whose lab is up, with modelled guests. The catalog is SQLite, unless a module asks for both (ON_BOTH)."""
    env = {}
    if getattr(request, "param", "sqlite") == "postgresql":
        env["BACKUPSVC_CATALOG__URL"] = fresh_database(request.getfixturevalue("postgres"))
    shell = Shell(tmp_path_factory.mktemp("site"), env)
    up = shell("lab", "up", "--hypervisor", "simulated", "--json")
    assert up.code == 0, up.err
    yield shell
    down = shell("lab", "down")
    assert down.code == 0, down.err


@pytest.fixture
def policy_of(tmp_path: Path) -> Path:
    """A file for a policy of the test's own."""
    return tmp_path / "policy.yaml"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The reference policy, its job cut down to two guests and due at every minute."""
    text = (
        LANGEO.read_text(encoding="utf-8").replace('schedule: "21:00"', 'schedule: "*:0/1"').replace("window: 4h", "window: 50s")
    )
    before, _, rest = text.partition("guests: [100")
    path = tmp_path / "policy.yaml"
    path.write_text(before + "guests: [105, 108]" + rest.partition("]")[2])
    return path
