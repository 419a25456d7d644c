"""Keep the cluster's configuration: beside the catalog and at the copy targets, for the day when a
node is built anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backupsvc.copies.config_sets import FOLDER, folder_of, pack
from backupsvc.copies.snapshots import CONFIG, Put, name_at
from backupsvc.copies.target import Alive
from backupsvc.errors import BackupsvcError, CopyError
from backupsvc.inventory.cluster_config import read
from backupsvc.operations.copy.catalogs import bring
from backupsvc.operations.copy.work_folder import SNAPSHOT, work_folder
from backupsvc.services import Nodes
from policies.cluster_config import ConfigSet
from policies.model import CopyTarget, Directory

HERE = "state directory"  # what the folder beside the catalog is called among the targets
_ONLY_OURS = 0o600


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read, and for each place what lies there now, or why it does not."""

    config: ConfigSet
    places: tuple[tuple[CopyTarget, Put | BackupsvcError], ...]


def save(
    service: Nodes,
    targets: Sequence[CopyTarget],
    alive: Alive = lambda: None,
    *,
    beside_catalog: bool = True,
) -> Kept:
    """Given copy targets, read the cluster's configuration and bring it to each, and into the state
    directory. Raise Unreachable or Refused if the cluster tells nothing, CopyError if there is no
    room. ``alive`` is called again and again meanwhile; what it raises ends the work.
    """
    config = read(service, alive)
    data, at = pack(config), int(service.clock.now())
    state = service.settings.state_dir
    try:
        with work_folder(state, SNAPSHOT) as folder:
            path = folder / "packed"
            path.write_bytes(data)
            name = name_at(at, "tar", CONFIG)
            found: list[tuple[CopyTarget, Put | BackupsvcError]] = []
            if beside_catalog:
                here = CopyTarget(HERE, Directory(str((state / FOLDER).absolute())))
                # what fails there keeps it from no other place
                try:
                    kept = folder_of(state) / name
                    found = bring(service, path, name, [here], alive)
                    # copies may be read by a group, and this is for us alone
                    if kept.is_file():
                        kept.chmod(_ONLY_OURS)
                except CopyError as error:
                    found = [(here, error)]
            found += bring(service, path, name, targets, alive)
    except OSError as error:
        raise CopyError(
            f"the cluster's configuration could not be written under {state}: {error.strerror}",
            "look at the rights and the room of BACKUPSVC_STATE_DIR",
        ) from None
    return Kept(config, tuple(found))
