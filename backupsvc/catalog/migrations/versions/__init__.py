"""One module a step. The newest one's revision is ``backupsvc.catalog.database.HEAD``."""
