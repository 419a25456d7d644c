"""What is this archive? Read from its name and its header alone, so it costs as little for a
terabyte as for a megabyte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backupsvc.archives.content import Content
from backupsvc.archives.streams import ByteStream, Damage, chunks_of
from backupsvc.archives.tar import CONFIG_FOLDER, TarPass
from backupsvc.archives.vma import Device, Header, read_header
from backupsvc.errors import ArchiveError
from policies.model import GuestType
from policies.pve.volid import parse_name

# The name's line in the current section of a guest's config; a container calls it hostname. A
# snapshot's section starts with "[".
NAME_LINE = re.compile(r"^(?:name|hostname):[^\S\n]*(\S+)[^\S\n]*$", re.MULTILINE)
# vzdump writes a container's configs before all else: an archive that has none among its first
# members has none at all.
MAX_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Description:
    """An archive's identity card. ``vmid`` comes from the file's name, ``name`` (of the guest) from
    the config inside.

    ``uuid`` and ``ctime`` (epoch seconds) are the VMA header's, None for a container. ``configs``
    maps names to texts.
    """

    file: str
    format: str
    vmid: int | None
    type: GuestType | None
    name: str | None
    ctime: int | None
    uuid: str | None
    devices: tuple[Device, ...]
    configs: Mapping[str, str]

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "file": self.file,
            "format": self.format,
            "vmid": self.vmid,
            "type": self.type.value if self.type else None,
            "name": self.name,
            "ctime": self.ctime,
            "uuid": self.uuid,
            "devices": [
                {"name": device.name, "size": device.size, "clusters": device.clusters}
                for device in self.devices
            ],
            "configs": dict(self.configs),
        }


def describe(path: Path | str) -> Description:
    """Given an archive's path, return what its name and header say. Raise ArchiveError if it cannot
    be read.
    """
    path = Path(path)
    header: Header | None = None
    try:
        with path.open("rb", buffering=0) as stream:
            content = Content(ByteStream(chunks_of(stream)), path.name)
            if content.kind() == "vma":
                header = read_header(content.raw)
                configs: Mapping[str, bytes] = header.configs
            else:
                reader = TarPass()
                # vzdump writes them before all else: the first other file behind them ends the search
                reader.read(
                    content.raw,
                    until=lambda name: (
                        (bool(reader.configs) and not name.startswith(CONFIG_FOLDER))
                        or reader.members >= MAX_MEMBERS
                    ),
                )
                configs = reader.configs
    except Damage as damage:
        hint = "`backupsvc archive verify` tells all that is wrong with it."
        raise ArchiveError(f"{path}: {damage.problem}", hint, offset=damage.offset) from damage
    except OSError as error:
        hint = "Check the file, its rights and its storage."
        raise ArchiveError(f"{path} cannot be read: {error.strerror}", hint) from error
    texts = {name: data.decode("utf-8", "replace") for name, data in configs.items()}
    named = parse_name(path.name)
    # a snapshot's section may bear another name: only the current one counts
    current = (text.partition("\n[")[0] for name, text in texts.items() if name.endswith(".conf"))
    name_lines = (match for text in current if (match := NAME_LINE.search(text)))
    return Description(
        file=str(path),
        format=content.format("vma" if header else "tar"),
        vmid=named.vmid if named else None,
        type=GuestType.QEMU if header else GuestType.LXC,
        name=next((match[1] for match in name_lines), None),
        ctime=header.ctime if header else None,
        uuid=str(header.uuid) if header else None,
        devices=tuple(header.devices.values()) if header else (),
        configs=texts,
    )
