"""Copies of archives: one archive brought to one target, and shown to be there."""
