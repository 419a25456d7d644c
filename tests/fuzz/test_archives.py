"""`archive verify|info|extract` over thousands of damaged and hostile archives: 3,000 in `make
test`, 20,000 in `make soak`.

When is a pass false? Whoever changes an archive and makes all its checksums anew has made another
good archive, and no reader can know better. So "intact" is false

- when bytes were changed after the checksum over them was made, and the content is another than the
  one that was sealed
  (zstd with checksums: every byte of the content; a plain VMA, of which verify says "structure
  only": its headers);
- when a second reading, written from the format alone (``reference``), finds the stream not whole:
  a cluster missing, twice or
  out of its disk, a seal that does not hold; for a container, when GNU tar, with which PVE restores
  it, refuses the stream;
- when ``extract`` cannot extract what ``verify`` passes, or extracts other files than the second
  reading finds.

Besides: no command ends in anything but an error of ``errors.py``; none takes 20 s of the processor
or 100 MB; ``extract`` opens, makes, renames and removes nothing outside of its target, and leaves
nothing of what it refuses.

One mutant again: ``python -m tests.fuzz.test_archives NUMBER``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.judge import Tally, judge
from tests.fuzz.mutants import mutant

COUNT = int(os.environ.get("FUZZ_COUNT", "3000"))
PARTS = 10


@pytest.mark.slow
@pytest.mark.long(900)
@pytest.mark.timeout(1500 + COUNT // PARTS * 2)
@pytest.mark.parametrize("part", range(PARTS))
def test_law_5_no_mutant_passes_that_is_not_whole_or_costs_more_than_it_may(
    part: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    tally, began = Tally(), time.process_time()
    numbers = range(part, COUNT, PARTS)
    for number in numbers:
        judge(mutant(number), tmp_path, tally)
    verdicts = ", ".join(f"{count} {word}" for word, count in sorted(tally.verdicts.items()))
    seconds, peak = time.process_time() - began, tally.peak / 10**6
    record_property(
        "counted",
        f"fuzz {part}: {len(numbers)} mutants: {verdicts}; {seconds:.1f} s, {peak:.1f} MB at most",
    )
    assert not tally.wrong, f"{len(tally.wrong)} wrong:\n" + "\n".join(tally.wrong[:12])
    assert min(tally.verdicts["intact"], tally.verdicts["not intact"]) > len(numbers) // 50, (
        "the mutants reach both verdicts"
    )


def test_the_same_number_is_the_same_mutant() -> None:
    assert [mutant(number) for number in range(20)] == [mutant(number) for number in range(20)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        tally = Tally()
        judge(mutant(int(sys.argv[1])), Path(place), tally)
        print(mutant(int(sys.argv[1])).what, tally.verdicts, tally.peak, *tally.wrong, sep="\n")
