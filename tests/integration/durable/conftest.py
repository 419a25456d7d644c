"""The stage on which operations are killed and broken, up once a worker of the tests: between two of
these tests it may do others, and each of them leaves the stage as it found it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.durable.scene import Scene, stage


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A lab with modelled guests, and a warm process that drives operations on it. Its disks are
    hashed before and after.
    """
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made
