"""Who this service is: a random name in the catalog, by which it tells its own copies from those of
another.

Revision ID: 0007
Revises: 0006
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its one row. A catalog that was lost and made anew is another
    service.
    """
    identity = op.create_table(
        "identity",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.execute(sa.insert(identity).values(number=1, id=secrets.token_hex(16)))


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("identity")
