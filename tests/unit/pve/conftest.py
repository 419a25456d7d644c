"""A fake PVE over TLS, and the service's own client connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backupsvc.pve import Pve, connect
from backupsvc.settings import PveSettings
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import VirtualCluster
from tests.fakes.pve_server import TOKEN, FakePve
from tests.fakes.recorded import RECORDED_AT
from tests.fakes.tls import Certificate, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def fake(certificate: Certificate) -> Iterator[FakePve]:
    server = FakePve(certificate)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock(RECORDED_AT)


@pytest.fixture
def cluster(fake: FakePve, clock: SteppingClock) -> VirtualCluster:
    """A cluster of one node behind the server, whose tasks end at once."""
    fake.cluster = VirtualCluster(clock, ("pve",), usual=0.0)
    return fake.cluster


def settings_for(fake: FakePve, **changes: Any) -> PveSettings:
    """Settings that reach the fake: its CA, the usual token, a short timeout."""
    known: dict[str, Any] = {
        "host": fake.host,
        "token": SecretStr(TOKEN),
        "ca_file": Path(fake.certificate.ca),
        "timeout": 5,
    }
    return PveSettings(**(known | changes))


@pytest.fixture
def pve(fake: FakePve, clock: SteppingClock) -> Pve:
    return connect(settings_for(fake), clock)
