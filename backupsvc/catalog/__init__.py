"""The catalog: what the service knows and must not forget, in SQLite or PostgreSQL. Callers see
``Catalog`` and plain values.
"""

from backupsvc.catalog.listings import Observation
from backupsvc.catalog.store import Catalog

__all__ = ["Catalog", "Observation"]
