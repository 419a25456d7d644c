"""Keep the garbage collector out of work that makes many values and no circles.

Of a million archives nothing is garbage while they are decided on, and each time that a quarter
more values are there, all of them would be looked through again.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_out() -> Iterator[None]:
    """Let no collection begin by itself meanwhile, in the whole process; afterwards it is as it
    was before.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def seldom() -> None:
    """Let a collection begin after 20,000 new values rather than 700, in the whole process: a
    command makes a hundred thousand while it is loaded, and of these nothing is garbage. And let
    none look through all that is left when the process ends: the system takes all of it back.
    """
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)
