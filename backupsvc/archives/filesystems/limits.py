"""How much the reading process may take. It grows with what it delivers, so that a large disk is
read to its end, and a disk that sends its reader in circles is not.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory`` in bytes, times in seconds, rates in bytes a second.

    ``patience`` is what it may let us wait for nothing at all, ``answer`` for each answer more;
    ``entries`` is the most that is told of one folder.
    """

    memory: int = 2 * 1024 * MIB
    cpu: int = 120
    cpu_rate: int = 4 * MIB
    patience: float = 300
    answer: float = 0.1
    rate: int = MIB
    entries: int = 200_000

    def cpu_for(self, size: int) -> int:
        """Given the disks' size in bytes, return the seconds of the processor."""
        return self.cpu + size // self.cpu_rate

    def wait_for(self, answers: int, delivered: int) -> float:
        """Given how many answers and bytes came, return how many seconds of waiting are allowed in
        all.
        """
        return self.patience + self.answer * answers + delivered / self.rate
