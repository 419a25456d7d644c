"""Celery: beat and workers. Messages are hints; the catalog is the truth (DESIGN section 4)."""
