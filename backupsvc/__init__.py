"""Backup lifecycle and restore verification for Proxmox VE clusters."""

__version__ = "0.1.0"
