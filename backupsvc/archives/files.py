"""Which files a VM's archive becomes: the one reading of its names that ``verify`` and ``extract``
share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from backupsvc.archives.streams import Damage

# The longest file name that Linux takes is 255 bytes (NAME_MAX); ".raw" is added to a device's.
MAX_NAME = 251
UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def safe_name(name: str) -> str:
    """Given a name from an archive, return one that stays inside its folder and is visible
    there.
    """
    return UNSAFE.sub("_", name).lstrip(".") or "unnamed"


def file_names(devices: Iterable[str], configs: Iterable[str], offset: int) -> list[str]:
    """Given the names of an archive's devices and configs and where they stand, return the files'
    names in the same order.

    Raise Damage if two of them would be one file: then nothing can be extracted, and nothing is to
    be called intact.
    """
    names = [f"{safe_name(name)}.raw" for name in devices] + [safe_name(name) for name in configs]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise Damage(
            offset, f"two things in the archive would get the same file name, {twice}", "vma"
        )
    return names
