"""The steps that bring a catalog's tables from one version of backupsvc to the next (Alembic)."""
