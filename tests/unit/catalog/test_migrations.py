"""The catalog's tables are those that the code uses, wherever the catalog began its life."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import backupsvc.catalog
from backupsvc.catalog import Catalog
from backupsvc.catalog.database import HEAD, upgrade
from backupsvc.catalog.tables import METADATA


def scripts() -> ScriptDirectory:
    """The migrations."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(backupsvc.catalog.__file__).parent / "migrations")
    )
    return ScriptDirectory.from_config(config)


def test_the_newest_migration_is_the_one_that_opening_looks_for() -> None:
    assert scripts().get_heads() == [HEAD]


@pytest.mark.parametrize(
    "released", [None, *(script.revision for script in scripts().walk_revisions())]
)
def test_a_catalog_of_every_release_gets_the_tables_that_the_code_uses(
    new_url: str, released: str | None
) -> None:
    engine = create_engine(new_url)
    if released:
        with engine.begin() as connection:
            upgrade(connection, released)
    Catalog.open(new_url).close()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()
