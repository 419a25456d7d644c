"""Retention: what goes, decided with reasons and removed one by one."""
