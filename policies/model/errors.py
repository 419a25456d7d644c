"""The error that a wrong policy, or a value written like one, raises."""

from __future__ import annotations


class PolicyError(ValueError):
    """A policy, or a value written like one, is wrong.

    Args:
        message: what is wrong and what is allowed, one sentence.
        source: file name as the user gave it, or None when the value came from an option.
        line: 1-based line in that file.
    """

    def __init__(self, message: str, source: str | None = None, line: int | None = None) -> None:
        self.message, self.source, self.line = message, source, line
        where = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        super().__init__(where + message)
