"""The copy targets: whether each lets us in, and has room."""

from __future__ import annotations

from collections.abc import Iterator

from backupsvc.copies.opening import open_target
from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.errors import BackupsvcError
from backupsvc.services import DoctorServices
from policies import segments
from policies.amounts import size
from policies.copy_folders import folder_of
from policies.copy_manifest import MANIFEST_END

NAME = "copy targets"
NEARLY_FULL = 20  # it is said when less than one part in so many is free


def look(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield a line for each target of the policy. Nothing is written there."""
    for target in service.policy.copies:
        try:
            with open_target(target, service.nodes, service.settings.ssh) as folder:
                held = sum(
                    name.endswith((MANIFEST_END, segments.MANIFEST_END)) for name in folder.files()
                )
                space = folder.space()
        except BackupsvcError as error:
            yield Line(NAME, FAILED, error.message, error.hint, error.exit_code)
            continue
        said = f"{target.name} ({folder_of(target)}) lets us in; copies there: {held}"
        # an SFTP server need not tell
        if space is None:
            yield Line(NAME, OK, f"{said}; it does not tell its free space")
            continue
        room = f"{said}; free: {size(space.free)} of {size(space.total)}"
        if space.free * NEARLY_FULL < space.total:
            action = "give it more room, or remove copies there that nobody needs"
            yield Line(NAME, WARNING, room, action)
        else:
            yield Line(NAME, OK, room)
