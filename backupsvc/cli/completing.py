"""What the shell offers when Tab is pressed: ids of operations, open ones first, and VMIDs. Never
an error, never the cluster.

A shell evaluates what it is offered: zsh's completion runs it through ``eval``. So a name is shown
in harmless characters alone.
"""

from __future__ import annotations

import re

MAX_SUGGESTIONS = 50
_HARMLESS = re.compile(r"[^\w .,@+/-]")  # no quote, bracket, backslash or dollar, and no markup


def operation_ids(incomplete: str) -> list[tuple[str, str]]:
    """Given the beginning of an id, return those that fit, each with what it is."""
    from backupsvc import bootstrap
    from backupsvc.errors import BackupsvcError

    try:
        with bootstrap.open_service() as service:
            found = service.catalog.operations.find(limit=MAX_SUGGESTIONS)
    # a shell that completes a word has no place for an error
    except BackupsvcError:
        return []
    fitting = [operation for operation in found if operation.id.startswith(incomplete.upper())]
    fitting.sort(key=lambda operation: operation.state != "open")
    return [
        (item.id, offered(f"{item.kind} {item.subject or ''} {item.state}".replace("  ", " ")))
        for item in fitting
    ]


def vmids(incomplete: str) -> list[tuple[str, str]]:
    """Given the beginning of a VMID, return the guests of the catalog's archives that fit, each
    with its name.
    """
    from backupsvc import bootstrap
    from backupsvc.errors import BackupsvcError

    try:
        with bootstrap.open_service() as service:
            names = {
                archive.vmid: archive.name
                for archive in service.catalog.archives.find()
                if archive.vmid is not None
            }
    except BackupsvcError:
        return []
    return [
        (str(vmid), offered(name or ""))
        for vmid, name in sorted(names.items())
        if str(vmid).startswith(incomplete)
    ]


def offered(text: str) -> str:
    """Given a foreign text, return it as a shell may be offered it: what is neither letter, digit
    nor plain sign is ``?``.
    """
    return _HARMLESS.sub("?", text)
