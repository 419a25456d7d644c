"""Which clusters of a disk have been seen: a set over 0..count-1 whose memory follows what the archive really holds."""

from __future__ import annotations

import itertools

PAGE = 4096


class ClusterSet:
    """Clusters seen so far, out of ``count``.

    Kept as pages of 4096 flags that exist from their first cluster to their last, so neither a header that claims 256 TiB nor
    a disk in order costs memory.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pages: dict[int, bytearray] = {}
        self._left: dict[int, int] = {}
        self._added = 0

    def add(self, cluster: int) -> bool:
        """Given a cluster below ``count``, note it. Return False if it was there already."""
        number, bit = divmod(cluster, PAGE)
        left = self._left.get(number)
        if left is None:
            self._pages[number], left = bytearray(PAGE), self._size(number)
        elif left == 0 or self._pages[number][bit]:
            return False
        self._added += 1
        self._left[number] = left - 1
        if left == 1:
            del self._pages[number]
        else:
            self._pages[number][bit] = 1
        return True

    def missing(self) -> tuple[int, int]:
        """Return the first cluster that was never seen and how many there are; (0, 0) when all were."""
        total = self.count - self._added
        if not total:
            return 0, 0
        number = next(number for number in itertools.count() if self._left.get(number, 1))
        page = self._pages.get(number)
        return number * PAGE + (page.index(0) if page else 0), total

    def _size(self, number: int) -> int:
        return min(PAGE, self.count - number * PAGE)
