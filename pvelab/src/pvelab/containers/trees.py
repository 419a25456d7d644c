"""A container's volume as the lab keeps it: a directory with the files (``tree``) and what they do
not tell (``meta.json``).

PVE makes a file system in an image; here its files lie in a directory, so that everybody can look
at them. A lab does not run as
root: owners and modes are therefore noted in ``meta.json``, and go from there into archives and
come back from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pvelab.guests import volumes
from pvelab.kernel import Lab, LabError

_META, _TREE = "meta.json", "tree"


@dataclass
class Tree:
    """A volume's files. ``size`` in bytes is what its image would have; ``owners`` maps ``./path``
    to uid, gid and mode.
    """

    volume: volumes.Volume
    size: int
    owners: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The directory that holds the files."""
        return self.volume.path / _TREE

    def save(self) -> None:
        """Write what the files do not tell."""
        (self.volume.path / _META).write_text(
            json.dumps({"size": self.size, "owners": self.owners})
        )

    def owner(self, name: str, status: os.stat_result) -> tuple[int, int, int]:
        """Return uid, gid and mode of ``./path``: root's unless something else is noted."""
        # not what the files themselves say: they belong to whoever runs the lab
        return self.owners.get(name) or (0, 0, status.st_mode & 0o7777)

    def used(self) -> int:
        """Return how many bytes the files hold."""
        return sum(
            path.lstat().st_size
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink()
        )


def open_tree(lab: Lab, node: str, volid: str) -> Tree:
    """Return a volume's files. Raise LabError 500 if it is not there."""
    volume = volumes.find(lab, node, volid)
    if not (volume.path / _META).is_file():
        raise LabError(500, f"no such volume '{volid}'")
    meta = json.loads((volume.path / _META).read_text())
    return Tree(
        volume,
        int(meta["size"]),
        {name: (uid, gid, mode) for name, (uid, gid, mode) in meta["owners"].items()},
    )


def make_tree(lab: Lab, node: str, storage: str, vmid: int, size: int) -> Tree:
    """Make a new empty volume of ``size`` bytes under the first free name. Raise LabError unless
    the storage takes containers.
    """
    definition = volumes.usable(lab, node, storage)
    if "rootdir" not in definition.content:
        raise LabError(500, f"storage '{storage}' does not support container directories")
    thin = definition.block
    taken = {volume.path.name for volume in volumes.images(lab, node, storage)}
    ending = "" if thin else ".raw"
    number = next(n for n in range(len(taken) + 1) if f"vm-{vmid}-disk-{n}{ending}" not in taken)
    name = f"vm-{vmid}-disk-{number}{ending}"
    tree = Tree(
        volumes.find(lab, node, f"{storage}:{name}" if thin else f"{storage}:{vmid}/{name}"), size
    )
    # fails where two tasks chose the same name
    tree.root.mkdir(parents=True)
    tree.save()
    return tree


def trees(lab: Lab, node: str, storage: str) -> Iterator[Tree]:
    """Yield the containers' volumes on a storage, by name."""
    for volume in volumes.images(lab, node, storage):
        if (volume.path / _META).is_file():
            yield open_tree(lab, node, volume.volid)


def free(lab: Lab, tree: Tree) -> str:
    """Remove a volume; return the line that PVE's log has for it."""
    volumes.free(tree.volume)
    if lab.storage(tree.volume.storage).type == "lvmthin":
        return f'  Logical volume "{tree.volume.path.name}" successfully removed.'
    return f"unlinked '{tree.volume.path}'"
