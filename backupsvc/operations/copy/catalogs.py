"""Bring a snapshot of the catalog to the copy targets: a catalog that burns takes the proofs with
it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backports import zstd

from backupsvc.catalog.snapshot import snapshot, suffix
from backupsvc.copies.opening import open_target
from backupsvc.copies.snapshots import Put, name_at, put
from backupsvc.errors import BackupsvcError
from backupsvc.services import Nodes
from policies.model import CopyTarget

_PREFIX = "snapshot-"
_LEFT_S = 86_400  # seconds after which a folder of a snapshot is nobody's
_CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}


@contextmanager
def packed(service: Nodes) -> Iterator[tuple[Path, str]]:
    """Yield a snapshot of the catalog as it is now, packed, and the name that it has at a target;
    it is gone afterwards. Raise as ``snapshot`` does.
    """
    url, at = service.settings.catalog_url, int(service.clock.now())
    state = service.settings.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in state.glob(f"{_PREFIX}*"):
        if left.stat().st_mtime < at - _LEFT_S:  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    # beside the catalog: a snapshot is as large, and holds what that holds
    with tempfile.TemporaryDirectory(dir=state, prefix=_PREFIX) as folder:
        plain, whole = Path(folder) / "plain", Path(folder) / "packed"
        snapshot(url, plain)
        with plain.open("rb") as source, zstd.open(whole, "wb", options=_CHECKED) as target:
            while data := source.read(1 << 20):
                target.write(data)
        yield whole, name_at(at, suffix(url))


def save(
    service: Nodes, targets: Sequence[CopyTarget]
) -> list[tuple[CopyTarget, Put | BackupsvcError]]:
    """Given copy targets, bring one snapshot of the catalog to each; return what lies there now, or
    why it does not, for each of them. Raise as ``snapshot`` does: then there is nothing to bring.
    """
    found: list[tuple[CopyTarget, Put | BackupsvcError]] = []
    if not targets:
        return found
    with packed(service) as (path, name):
        for target in targets:
            try:
                with open_target(target, service.nodes, service.settings.ssh) as folder:
                    found.append((target, put(folder, path, name, immutable=target.immutable)))
            except BackupsvcError as error:
                found.append((target, error))
    return found
