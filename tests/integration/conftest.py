"""A lab whose guests are only modelled: real API, real archives, nothing boots. Quick, and it
proves nothing (law 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.commands import Shell, briefly, settle_briefly
from tests.integration.administrator import disable_pve_job
from tests.postgres import fresh_database

LANGEO = Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """A user whose lab is up, with modelled guests. The catalog is SQLite, unless a module asks for
    both (ON_BOTH).
    """
    env = {}
    if getattr(request, "param", "sqlite") == "postgresql":
        env["BACKUPSVC_CATALOG__URL"] = fresh_database(request.getfixturevalue("postgres"))
    shell = Shell(tmp_path_factory.mktemp("site"), env)
    up = shell("lab", "up", "--hypervisor", "simulated", "--json")
    assert up.code == 0, up.err
    settle_briefly(shell.state)
    yield shell
    down = shell("lab", "down")
    assert down.code == 0, down.err


@pytest.fixture
def policy_of(tmp_path: Path) -> Path:
    """A file for a policy of the test's own."""
    return tmp_path / "policy.yaml"


@pytest.fixture
def policy(site: Shell, tmp_path: Path) -> Path:
    """The reference policy, its job cut down to two guests and due a minute ago, its restore tests
    free to run at any time.

    PVE's own job of the lab is disabled, so that the backups of a test begun about 21:00 do not
    stand back.
    """
    disable_pve_job(site.state)
    due = datetime.now(ZoneInfo("Europe/Paris")) - timedelta(minutes=1)
    text = briefly(LANGEO.read_text(encoding="utf-8")).replace(
        'schedule: "21:00"', f'schedule: "{due:%H:%M}"'
    )
    text = text.replace("  window: 01:00-06:00", "  # any time", 1)
    before, _, rest = text.partition("guests: [100")
    path = tmp_path / "policy.yaml"
    path.write_text(before + "guests: [105, 108]" + rest.partition("]")[2])
    return path
