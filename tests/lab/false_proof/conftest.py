"""One lab for the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.false_proof.stage import Stage, built


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The lab with its backups, and nothing broken yet."""
    with built(tmp_path_factory.mktemp("false-proof")) as made:
        yield made
