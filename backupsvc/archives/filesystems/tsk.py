"""ext2 to ext4, FAT and NTFS, by The Sleuth Kit (pytsk3). Its numbers are those of its C
headers (tsk_fs.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytsk3

from backupsvc.archives.filesystems.blocks import Blocks
from backupsvc.archives.filesystems.entries import (
    FILE,
    FOLDER,
    MAX_TARGET,
    OTHER,
    SYMLINK,
    Content,
    Found,
    pieces_of,
)

TYPES = {
    "ext2": pytsk3.TSK_FS_TYPE_EXT_DETECT,
    "ext3": pytsk3.TSK_FS_TYPE_EXT_DETECT,
    "ext4": pytsk3.TSK_FS_TYPE_EXT_DETECT,
    "vfat": pytsk3.TSK_FS_TYPE_FAT_DETECT,
    "ntfs": pytsk3.TSK_FS_TYPE_NTFS,
}
IN_USE = 1  # TSK_FS_NAME_FLAG_ALLOC, TSK_FS_META_FLAG_ALLOC
KINDS = {1: FILE, 2: FOLDER, 6: SYMLINK, 3: OTHER, 4: OTHER, 5: OTHER, 7: OTHER, 8: OTHER}
KINDS |= {9: OTHER}
VIRTUAL = (10, 11)  # what The Sleuth Kit adds itself, such as $OrphanFiles
# NTFS keeps its own files under the first numbers of its master file table
NTFS_OWN, NTFS_ROOT, NTFS_VOLUME = 24, 5, 3
NTFS_DATA, NTFS_REPARSE, NTFS_VOLUME_INFO = 128, 192, 112
SPARSE, FILLER = 1, 2
COMPRESSED, ENCRYPTED, RESIDENT = (
    int(flag) for flag in (pytsk3.TSK_FS_ATTR_COMP, pytsk3.TSK_FS_ATTR_ENC, pytsk3.TSK_FS_ATTR_RES)
)
DEFAULT = 1  # the attribute that holds a file's data where a file has but one stream
LABEL_ENTRY = b" (Volume Label Entry)"


class _Image(pytsk3.Img_Info):  # type: ignore[misc]
    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        super().__init__(url="", type=pytsk3.TSK_IMG_TYPE_EXTERNAL)

    def read(self, offset: int, size: int) -> bytes:
        return self._blocks.read(offset, size)

    def get_size(self) -> int:
        return self._blocks.size

    def close(self) -> None:
        pass


class TskFileSystem:
    """A file system of one of TYPES."""

    def __init__(self, blocks: Blocks, kind: str) -> None:
        self._kind = kind
        self._image = _Image(blocks)
        self._system = pytsk3.FS_Info(self._image, offset=0, type=TYPES[kind])
        self.root = int(self._system.info.root_inum)

    def entries(self, folder: int) -> Iterator[Found]:
        """Yield what is in a folder, without what was deleted and what is not the guest's."""
        for one in self._system.open_dir(inode=folder):
            name = one.info.name
            if name is None or int(name.flags) & IN_USE == 0 or name.name in (b".", b".."):
                continue
            meta = one.info.meta
            number = int(name.meta_addr)
            if int(name.type) in VIRTUAL or (meta is not None and int(meta.type) in VIRTUAL):
                continue
            if self._kind == "ntfs" and number < NTFS_OWN:
                continue
            if self._kind == "vfat" and name.name.endswith(LABEL_ENTRY):
                continue
            if meta is None or not int(meta.flags) & IN_USE or int(meta.type) not in KINDS:
                yield Found(name.name, OTHER, number, lack="damaged")
                continue
            found = Found(
                name.name,
                KINDS[int(meta.type)],
                int(meta.addr),
                max(0, int(meta.size)),
                int(meta.mtime),
                int(meta.mode) & 0o7777,
            )
            if found.kind == SYMLINK:
                found.target = meta.link
                if found.target is None and found.size <= MAX_TARGET and self._kind != "ntfs":
                    # The Sleuth Kit tells only what stands in the inode itself
                    with suppress(OSError):
                        opened = self._system.open_meta(inode=found.id)
                        found.target = opened.read_random(0, found.size)
            if self._kind == "ntfs":
                found.lack = self._lack(one)
            yield found

    def _lack(self, one: Any) -> str:
        """Windows keeps what is compressed or put elsewhere behind reparse points: the file itself
        then seems to be zeros.
        """
        for attribute in one:
            if int(attribute.info.type) == NTFS_REPARSE:
                return "reparse"
            if int(attribute.info.type) == NTFS_DATA and int(attribute.info.flags) & ENCRYPTED:
                return "encrypted"
        return ""

    def content(self, file: int) -> Content:
        """Return what is in a file. Raise OSError."""
        opened = self._system.open_meta(inode=file)
        meta = opened.info.meta
        if meta is None or KINDS.get(int(meta.type)) != FILE or not int(meta.flags) & IN_USE:
            raise OSError("it is no file")
        if self._kind == "ntfs" and (lack := self._lack(opened)):
            raise OSError(lack)
        size, end = max(0, int(meta.size)), 0
        block = int(self._system.info.block_size)
        wanted = NTFS_DATA if self._kind == "ntfs" else DEFAULT
        attributes = [one for one in opened if int(one.info.type) == wanted and not one.info.name]
        # runs of what is compressed, or stands in the entry itself, are no places in the file
        told = len(attributes) == 1 and not int(attributes[0].info.flags) & (COMPRESSED | RESIDENT)
        holes: list[tuple[int, int]] = []
        for run in attributes[0] if told else ():
            start, length = int(run.offset) * block, int(run.len) * block
            if start < end or length <= 0:
                holes = []  # out of order: it is read as it is
                break
            end = start + length
            if int(run.flags) & (SPARSE | FILLER) and start < size:
                holes.append((start, min(end, size)))
        return Content(size, pieces_of(opened.read_random, size, holes))

    def replay(self) -> bool | None:
        """Whether NTFS is marked as in use (the volume's dirty flag); None if that cannot be read."""
        with suppress(OSError, IndexError):
            opened = self._system.open_meta(inode=NTFS_VOLUME)
            for one in opened:
                if int(one.info.type) == NTFS_VOLUME_INFO:
                    told = opened.read_random(0, 12, NTFS_VOLUME_INFO, int(one.info.id))
                    return bool(told[10] & 1)
        return None
