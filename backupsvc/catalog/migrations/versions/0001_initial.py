"""The catalog's first form.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, in the order of their foreign keys."""
    _archives()
    _operations()
    _proofs()


def _archives() -> None:
    op.create_table(
        "archive",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=True),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("ctime", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.Column("rung", sa.String(), nullable=False),
        sa.Column("rung_at", sa.BigInteger(), nullable=True),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("config", sa.Text(), nullable=True),
        sa.Column("uuid", sa.String(), nullable=True),
        sa.Column("consistency", sa.String(), nullable=True),
        sa.Column("excluded", sa.JSON(), nullable=True),
        sa.Column("operation", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("place", "volid", name="uq_archive_place_volid"),
    )
    op.create_index("ix_archive_storage", "archive", ["storage"], unique=False)
    op.create_index("ix_archive_vmid_ctime", "archive", ["vmid", "ctime"], unique=False)


def _operations() -> None:
    op.create_table(
        "operation",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("occurrence", sa.String(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id", name="uq_operation_id"),
        sa.UniqueConstraint("occurrence", name="uq_operation_occurrence"),
    )
    op.create_index("ix_operation_state_kind", "operation", ["state", "kind"], unique=False)
    op.create_index("ix_operation_subject", "operation", ["subject"], unique=False)
    op.create_table(
        "transition",
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("upid", sa.String(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["operation"], ["operation.id"], name="fk_transition_operation"),
        sa.PrimaryKeyConstraint("operation", "seq"),
    )
    op.create_table(
        "vmid_lease",
        sa.Column("vmid", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operation"], ["operation.id"], name="fk_vmid_lease_operation"),
        sa.PrimaryKeyConstraint("vmid"),
    )


def _proofs() -> None:
    op.create_table(
        "proof",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("archive_ctime", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("rung", sa.String(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.Column("rto", sa.Float(), nullable=True),
        sa.Column("scratch_vmid", sa.Integer(), nullable=True),
        sa.Column("scratch_node", sa.String(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("operation", "node", "volid", name="uq_proof_operation_archive"),
    )
    op.create_index("ix_proof_ended", "proof", ["ended"], unique=False)
    op.create_index("ix_proof_vmid_ended", "proof", ["vmid", "ended"], unique=False)


def downgrade() -> None:
    """Remove the tables: the catalog can be rebuilt from the storages (law 8)."""
    for table in ("proof", "vmid_lease", "transition", "operation", "archive"):
        op.drop_table(table)
