"""One run of a policy's job: its backups, retention, and the restore tests that are due."""
