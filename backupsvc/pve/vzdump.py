"""Starting a backup."""

from __future__ import annotations

from backupsvc.pve.client import Client

NOTES_LIMIT = 1024  # characters of a notes template (pve-facts 3.2)


class Vzdump:
    """Backups, one guest a task: so each has its own log, exit status and result."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(
        self,
        node: str,
        vmid: int,
        *,
        storage: str,
        mode: str,
        compress: str,
        notes: str,
        keep_all: bool,
        bandwidth: int | None = None,
    ) -> str | None:
        """Given a guest and how to back it up, begin and return the task.

        None means that PVE answered OK and ran nothing, because the guest is not on that node
        (pve-facts 3.1). ``keep_all`` keeps the storage from pruning behind our back and needs
        Datastore.Allocate there; ``bandwidth`` in KiB/s needs Sys.Modify on /.
        """
        asked = {
            "vmid": str(vmid),
            "storage": storage,
            "mode": mode,
            "compress": compress,
            "notes-template": notes_template(notes) or None,
            "prune-backups": "keep-all=1" if keep_all else None,
            "bwlimit": bandwidth or None,
        }
        answer = self._client.post(f"nodes/{node}/vzdump", asked)
        return None if answer.data == "OK" else answer.upid()


def notes_template(notes: str) -> str:
    """Given notes, return the template that PVE turns into exactly them, cut at its limit.

    A backslash and a line feed are escaped; ``{{`` cannot be, so a blank keeps it from being a
    variable (pve-facts 3.6).
    """
    escaped = ""
    for character in notes.replace("\r\n", "\n"):
        piece = {"\\": "\\\\", "\n": "\\n", "\r": " "}.get(character, character)
        if escaped.endswith("{") and piece == "{":
            piece = " {"
        # never within an escape: PVE refuses half of one (pve-facts 3.6)
        if len(escaped) + len(piece) > NOTES_LIMIT:
            break
        escaped += piece
    return escaped
