"""When a copy was read anew at its target, and what was found damaged of it: its words, its time, and
which files those were, also while it is made anew.

Revision ID: 0016
Revises: 0015
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "checked_at": sa.BigInteger(),
    "damaged": sa.Text(),
    "damaged_at": sa.BigInteger(),
    "damaged_file": sa.String(),
    "damaged_segments": sa.Text(),
}


def upgrade() -> None:
    """Add the columns, empty: no copy was read anew yet."""
    for name, type in _COLUMNS.items():
        op.add_column("copy", sa.Column(name, type, nullable=True))


def downgrade() -> None:
    """Remove them again."""
    for name in reversed(_COLUMNS):
        op.drop_column("copy", name)
