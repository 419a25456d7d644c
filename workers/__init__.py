"""Celery: beat and workers. Messages are hints; the catalog is the truth (docs/architecture.md)."""
