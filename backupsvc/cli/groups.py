"""Groups of commands: each notes which of its commands answers, and lists them in whole
sentences.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from backupsvc.cli.output import answering


class Named(TyperGroup):
    """A group that notes which of its commands answers."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Given the words that are left, return the command's name, the command, and its words."""
        found = super().resolve_command(ctx, args)
        # which word of the command line that was: how deep the group stands
        answering(_depth(ctx), str(found[0]))
        return found


def _depth(ctx: Any) -> int:
    return 0 if ctx.parent is None else 1 + _depth(ctx.parent)


def first_sentence(text: str | None) -> str:
    """Given a docstring, return its first sentence, on one line."""
    words = " ".join((text or "").split())
    return words.partition(". ")[0].removesuffix(".") + "." if words else ""


def say_whole(group: typer.Typer) -> None:
    """Let the list of a group's commands, and of its groups', show whole sentences: else they are
    cut where a line ends.
    """
    for info in group.registered_commands:
        info.short_help = info.short_help or first_sentence(
            info.callback.__doc__ if info.callback else ""
        )
    for inner in group.registered_groups:
        if inner.typer_instance:
            say_whole(inner.typer_instance)
