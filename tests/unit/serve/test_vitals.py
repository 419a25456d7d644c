"""What /healthz says, read from a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backupsvc.operations.tick import tick
from backupsvc.serve.vitals import Observer
from policies.model import PolicyError
from tests.unit.engine.test_engine import workers
from tests.unit.operations.worlds import World, world


class Spoilt(World):
    """A site whose policy was saved with a mistake in it while the service runs."""

    @property
    def policy(self) -> Any:
        raise PolicyError("there is no tier called gold", "site.yaml", 3)

    @policy.setter
    def policy(self, found: Any) -> None:
        pass


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


def test_a_policy_that_was_spoilt_while_the_service_runs_is_told_though_the_queues_consume(
    site: World,
) -> None:
    spoilt = Spoilt(site.catalog, site.clock)
    spoilt.engine = workers(spoilt, "backup")
    observer = Observer(site.catalog, site.clock, 30.0, ("polls", "steps"), ())
    for _ in range(14):
        site.clock.sleep(30)
        for queue in ("polls", "steps"):
            site.catalog.heartbeats.record(queue, int(site.clock.now()))
        with pytest.raises(PolicyError):
            tick(spoilt)
    observer.read()
    health, told = observer.report()
    assert (health.status, health.good) == ("failing", False)
    assert "every tick fails" in told["reasons"][0]
