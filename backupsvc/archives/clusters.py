"""Which clusters of a disk have been seen: a set over 0..count-1 whose memory follows what the
archive really holds.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from dataclasses import dataclass

PAGE = 32768  # clusters: 2 GiB of a disk
# up to so many clusters a page is a list of two-byte numbers; with more it is smaller as one bit
# for each cluster
SPARSE = 2048
# bytes that a page takes beside its content: its object, its number, its places in the two maps
OVERHEAD = 400


@dataclass(slots=True)
class Account:
    """How many bytes the sets of one archive take together."""

    bytes: int = 0


class ClusterSet:
    """Clusters seen so far, out of ``count``. What it takes is added to the ``account``.

    Kept as pages that exist from their first cluster to their last, so neither a header that claims
    256 TiB nor a disk in order costs memory. Clusters scattered over a disk cost two bytes each, or
    a bit for each cluster of their page.
    """

    def __init__(self, count: int, account: Account | None = None) -> None:
        self.count = count
        self._account = account or Account()
        self._pages: dict[int, array[int] | bytearray] = {}
        self._left: dict[int, int] = {}
        self._complete = bytearray()
        self._added = 0

    def add(self, cluster: int) -> bool:
        """Given a cluster below ``count``, note it. Return False if it was there already."""
        number, bit = divmod(cluster, PAGE)
        page = self._pages.get(number)
        if page is None:
            if self._is_complete(number):
                return False
            page = self._pages[number] = array("H")
            self._left[number] = min(PAGE, self.count - number * PAGE)
            self._account.bytes += OVERHEAD
        if isinstance(page, bytearray):
            byte, flag = bit >> 3, 1 << (bit & 7)
            if page[byte] & flag:
                return False
            page[byte] |= flag
        else:
            at = bisect_left(page, bit)
            if at < len(page) and page[at] == bit:
                return False
            page.insert(at, bit)
            self._account.bytes += 2
            if len(page) > SPARSE:
                flags = self._pages[number] = bytearray(PAGE // 8)
                for seen in page:
                    flags[seen >> 3] |= 1 << (seen & 7)
                self._account.bytes += len(flags) - 2 * len(page)
        self._added += 1
        self._left[number] -= 1
        if not self._left[number]:
            # of a page that is full one bit is kept, in _complete
            page = self._pages.pop(number)
            del self._left[number]
            self._account.bytes -= OVERHEAD + len(page) * (1 if isinstance(page, bytearray) else 2)
            grown = max(0, (number >> 3) + 1 - len(self._complete))
            self._complete.extend(bytes(grown))
            self._account.bytes += grown
            self._complete[number >> 3] |= 1 << (number & 7)
        return True

    def missing(self) -> tuple[int, int]:
        """Return the first cluster that was never seen and how many there are; (0, 0) when all
        were.
        """
        total = self.count - self._added
        if not total:
            return 0, 0
        number = next(number for number in itertools.count() if not self._is_complete(number))
        page = self._pages.get(number, array("H"))
        if isinstance(page, bytearray):
            at = next(at for at, byte in enumerate(page) if byte != 0xFF)
            gap = 8 * at + (~page[at] & (page[at] + 1)).bit_length() - 1
        else:
            gap = next((at for at, bit in enumerate(page) if bit != at), len(page))
        return number * PAGE + gap, total

    def _is_complete(self, number: int) -> bool:
        return number >> 3 < len(self._complete) and bool(
            self._complete[number >> 3] >> (number & 7) & 1
        )
