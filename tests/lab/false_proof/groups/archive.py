"""The archive is not what it seems, or holds less than it should."""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell, forged

CELLS = (
    Cell("truncated", 108, forged(cells.truncated), "failed", "archive", 1, "restore"),
    Cell("flipped", 108, forged(cells.flipped), "failed", "archive", 1, "not intact"),
    Cell(
        "a disk that only the config names",
        108,
        forged(cells.with_config(cells.line_added("scsi7: local-lvm:vm-108-disk-7,size=1G"))),
        "failed",
        "archive",
        4,
        "scsi7",
    ),
    Cell(
        "a mapped disk that the header lacks",
        108,
        forged(cells.with_config(cells.line_added("#qmdump#map:scsi7:drive-scsi7:local-lvm:raw:"))),
        "failed",
        "archive",
        1,
        "scsi7",
    ),
    Cell("no disk at all", 108, forged(cells.with_config(cells.without_disks)), "failed", "archive", 1, "no disk"),
    Cell("no config at all", 108, forged(cells.with_config(lambda text: None)), "failed", "archive", 1, "config"),
    Cell("an empty file", 108, forged(lambda stage, content: b""), "inconclusive", None, 1, "no archive"),
    Cell("a disk that was left out", 105, cells.backed_up_without_disk, "failed", "archive", 1, "scsi1 is not in the archive"),
)
