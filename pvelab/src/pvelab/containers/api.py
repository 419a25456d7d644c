"""Importing this module registers every call about containers, and how they are dumped, read and listed."""

from pvelab.containers import config_api, create_api, dump, listing, status_api

__all__ = ["config_api", "create_api", "dump", "listing", "status_api"]
