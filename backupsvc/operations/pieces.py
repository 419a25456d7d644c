"""The pieces of a night: operations that it opens, each once (law 9), and waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backupsvc.errors import OperationFailed, Refused
from backupsvc.operations.run import Run, Wait
from policies.model import Operation

Opener = Callable[[str], Operation | None]


def wait_for(run: Run, openers: Mapping[str, Opener], why: str) -> Wait | None:
    """Open each piece once; return a wait until all have ended. A guest that is busy is tried again at the next call."""
    children: dict[str, Any] = run.data.setdefault("children", {})
    for name, opener in openers.items():
        if name not in children:
            run.beat()
            open_piece(run, name, opener)
    waiting = {children[name] for name in openers if name in children}
    if len(waiting) == len(openers) and not run.service.catalog.still_open(waiting):
        return None
    return Wait(why, most=30.0)


def open_piece(run: Run, name: str, opener: Opener) -> bool:
    """Given a piece's name and what opens it, open it unless that was done before; return False while its guest is busy."""
    key = f"{run.operation.occurrence}#{name}"
    try:
        found = opener(key) or run.service.catalog.occurrence(key)
    except Refused as refused:
        run.say(f"{name} waits: {refused.message}")
        return False
    if found is None:
        raise OperationFailed(f"{name} of night {run.operation.occurrence} could not be opened", operation=run.id)
    run.data.setdefault("children", {})[name] = found.id
    return True


def ended(run: Run, prefix: str | tuple[str, ...]) -> list[Operation]:
    """Given how pieces' names may begin, return the operations that were opened for them, in the order of opening."""
    children: dict[str, str] = run.data.get("children", {})
    found = (run.service.catalog.operation(id) for name, id in children.items() if name.startswith(prefix))
    return [operation for operation in found if operation is not None]
