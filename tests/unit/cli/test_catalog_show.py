"""``backupsvc catalog show``: which machine a guest is, and what was recorded of its archives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.cli.catalog import app
from tests.catalogs import new_catalog
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.worlds import World, world

ITEM = archive(108, 1)


@pytest.fixture
def site(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = world(new_catalog(tmp_path))
    made.settings = SimpleNamespace(simulated=False)

    @contextmanager
    def service(*, foreground: bool = True) -> Iterator[Any]:
        yield made

    monkeypatch.setattr(bootstrap, "open_service", service)
    made.catalog.archives.observe([ITEM], scope=[], at=1_773_090_000)
    made.catalog.archives.annotate(
        ITEM.node, ITEM.volid, config=CONFIG, sha256="ab" * 32, operation="OP"
    )
    yield made
    made.catalog.close()


def show(*words: str) -> Result:
    return CliRunner().invoke(app, ["show", *words, "--offline"])


def test_a_guest_whose_archives_are_as_recorded_exits_with_0(site: World) -> None:
    answer = show("108", "--json")
    told = json.loads(answer.stdout)
    assert answer.exit_code == 0 and set(told) == {"schema", "vmid", "lineage", "archives"}
    assert (
        told["lineage"]["uuid"] == told["archives"][0]["uuid"]
        and told["archives"][0]["machine"] == "this"
    )
    plain = show("108").stdout
    assert f"SMBIOS UUID {told['lineage']['uuid']}" in plain and ITEM.volid in plain


def test_a_changed_archive_exits_with_1_and_shows_what_was_recorded_and_what_differs(
    site: World,
) -> None:
    site.catalog.archives.annotate(ITEM.node, ITEM.volid, sha256="cd" * 32, at=1_773_090_600)
    answer = show(ITEM.volid)
    assert answer.exit_code == 1
    assert "SHA-256 abababababab -> cdcdcdcdcdcd" in answer.stdout and "ab" * 32 in answer.stdout
    assert "2026-03-09T21:10:00Z" in answer.stdout
    assert show("108").exit_code == 1
