"""Bring a snapshot of the catalog to the copy targets: a catalog that burns takes the proofs with
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backports import zstd

from backupsvc.catalog.snapshot import snapshot, suffix
from backupsvc.copies import age
from backupsvc.copies.opening import open_target
from backupsvc.copies.snapshots import Put, name_at, put
from backupsvc.copies.target import CHUNK, Alive
from backupsvc.errors import BackupsvcError, CatalogUnreachable, LeaseLost
from backupsvc.operations.copy.break_glass_rehearsing import remember
from backupsvc.operations.copy.work_folder import SNAPSHOT, work_folder
from backupsvc.services import Nodes
from policies.model import CopyTarget

_CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}


@contextmanager
def packed(service: Nodes, alive: Alive) -> Iterator[tuple[Path, str]]:
    """Yield a snapshot of the catalog as it is now, packed, and the name that it has at a target;
    it is gone afterwards. Raise as ``snapshot`` does, and CatalogUnreachable if there is no room.
    """
    url, at = service.settings.catalog_url, int(service.clock.now())
    state = service.settings.state_dir
    with ExitStack() as stack:
        try:
            # beside the catalog: a snapshot is as large, and holds what that holds
            folder = stack.enter_context(work_folder(state, SNAPSHOT))
            snapshot(url, folder / "plain", alive)
            with (
                (folder / "plain").open("rb") as source,
                zstd.open(folder / "packed", "wb", options=_CHECKED) as target,
            ):
                while data := source.read(CHUNK):
                    target.write(data)
                    alive()
        except OSError as error:
            raise _unwritten(state, error) from None
        yield folder / "packed", name_at(at, suffix(url))


def save(
    service: Nodes, targets: Sequence[CopyTarget], alive: Alive = lambda: None
) -> list[tuple[CopyTarget, Put | BackupsvcError]]:
    """Given copy targets, bring one snapshot of the catalog to each; return what lies there now, or
    why it does not, for each of them. Raise as ``packed`` does: then there is nothing to bring.
    ``alive`` is called again and again meanwhile; what it raises ends the work.
    """
    if not targets:
        return []
    # one snapshot for all: what lies at each target is the same moment
    with packed(service, alive) as (path, name):
        found = bring(service, path, name, targets, alive)
    remember(service, found)
    return found


def bring(
    service: Nodes, path: Path, name: str, targets: Sequence[CopyTarget], alive: Alive
) -> list[tuple[CopyTarget, Put | BackupsvcError]]:
    """Given a snapshot's file and its name, bring it to each target, encrypted where copies are:
    it has the names of guests and their configurations. Return as ``save`` does.
    """
    found: list[tuple[CopyTarget, Put | BackupsvcError]] = []
    for target in targets:
        try:
            brought, its_name = path, name
            if target.recipients:
                # it has names and configurations, as the archives have
                brought, its_name = _encrypted(path, target, alive), f"{name}.age"
            with open_target(target, service.nodes, service.settings.ssh) as folder:
                immutable = target.immutable
                put_there = put(folder, brought, its_name, immutable=immutable, alive=alive)
                found.append((target, put_there))
        except LeaseLost:
            raise  # the work is somebody else's by now: no target is at fault
        except BackupsvcError as error:
            found.append((target, error))
    return found


def _encrypted(packed: Path, target: CopyTarget, alive: Alive) -> Path:
    """Given a packed snapshot and a target whose copies are encrypted, return a file beside it with
    the same, encrypted to its recipients.
    """
    path = packed.with_name("encrypted")

    def read(size: int) -> bytes:
        alive()
        return source.read(size)

    try:
        with packed.open("rb") as source, path.open("wb") as written:
            age.encrypt(read, written.write, target.recipients)
    except OSError as error:
        raise _unwritten(packed.parent, error) from None
    return path


def _unwritten(state: Path, error: OSError) -> CatalogUnreachable:
    return CatalogUnreachable(
        f"no snapshot of the catalog could be written under {state}: {error.strerror}",
        "it takes as much room there as the catalog itself (BACKUPSVC_STATE_DIR)",
    )
