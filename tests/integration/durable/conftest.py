"""The stage on which operations are killed and broken, up once a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.durable.scene import Scene, stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A lab with modelled guests, and a warm process that drives operations on it. Its disks are
    hashed before and after.
    """
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made
