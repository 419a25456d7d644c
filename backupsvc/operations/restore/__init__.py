"""A lost guest brought back under its own VMID."""
