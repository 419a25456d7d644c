"""Keep the garbage collector out of work that makes many values and no circles.

Of a million archives nothing is garbage while they are decided on, and each time that a quarter
more values are there, all of them would be looked through again.
"""

from __future__ import annotations

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
