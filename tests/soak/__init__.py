"""Endurance: many good restore tests in a row on a machine that has no time for them (``make
soak``).
"""
