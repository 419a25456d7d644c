"""Decisions of backupsvc: pure functions over frozen values.

Nothing in this package reads a clock, a file or a socket, and nothing logs. Time is an argument,
and every decision returns all of its inputs with the reasons, so that a person can check it and a
test can hold it.
"""
