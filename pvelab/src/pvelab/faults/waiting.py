"""Tasks that hang, and the vzdump lock that another holds."""

from __future__ import annotations

import threading
import time

from pvelab.faults.board import Board
from pvelab.tasks import TaskLog

_NAP = 0.1


def hang(board: Board, log: TaskLog) -> None:
    """Return when a task may do its work. Raise TaskDied when it hangs here and is told to stop."""
    fault = board.strike("task-hang", type=log.upid.type)
    while fault and board.is_set(fault):
        log.check_cancelled()
        time.sleep(_NAP)


def acquire(board: Board, node: str, lock: threading.Lock, timeout: float = 0) -> bool:
    """Take a node's vzdump lock within ``timeout`` seconds; say whether that worked, which it does
    not while another holds it.
    """
    held = board.find("vzdump-lock", node=node)
    if held is None:
        return lock.acquire(timeout=timeout) if timeout else lock.acquire(blocking=False)
    if timeout:
        time.sleep(timeout)
    else:
        board.count(held)
    return False
