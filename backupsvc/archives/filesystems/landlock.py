"""Landlock (Linux, userspace-api/landlock.rst): from here on this process opens no file by its
name, writes, makes and removes none, and reaches no network. What it has open stays.
"""

from __future__ import annotations

import ctypes
import struct

PARENT_DEATH, NO_NEW_PRIVS = 1, 38  # prctl(2)
KILL = 9
CREATE, RESTRICT = 444, 446  # the same numbers on every architecture of PVE's
ABI_ONLY = 1
# how many kinds of access to files each version of the interface knows, from its first on
FILES = (13, 14, 15, 15, 16)
SINCE_NETWORK = 4
NETWORK = 3  # bind and connect


def shut() -> bool:
    """Take everything away; return whether this kernel could."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE, None, ctypes.c_size_t(0), ABI_ONLY)
    if version < 1:
        return False
    files = (1 << FILES[min(version, len(FILES)) - 1]) - 1
    rules = struct.pack("=Q", files)
    if version >= SINCE_NETWORK:
        rules += struct.pack("=Q", NETWORK)
    ruleset = libc.syscall(CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0 or libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(libc.syscall(RESTRICT, ruleset, 0) == 0)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that comes."""
    ctypes.CDLL(None).prctl(PARENT_DEATH, KILL, 0, 0, 0)
