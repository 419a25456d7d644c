"""The copy targets: whether each lets us in, and has room."""

from __future__ import annotations

from collections.abc import Iterator

from backupsvc.copies.opening import open_target
from backupsvc.doctor.lines import FAILED, OK, WARNING, Line
from backupsvc.errors import BackupsvcError
from backupsvc.services import DoctorServices
from policies.amounts import size
from policies.copy_folders import folder_of
from policies.copy_manifest import MANIFEST_END
from policies.model import CopyTarget

NAME = "copy targets"
NEARLY_FULL = 20  # it is said when less than one part in so many is free


def look(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield a line for each target of the policy. Nothing is written there."""
    for target in service.policy.copies:
        try:
            yield _one(service, target)
        except BackupsvcError as error:
            yield Line(NAME, FAILED, error.message, error.hint, error.exit_code)


def _one(service: DoctorServices, target: CopyTarget) -> Line:
    where = f"{target.name} ({folder_of(target)})"
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        held = sum(name.endswith(MANIFEST_END) for name in folder.files())
        space = folder.space()
    said = f"{where} lets us in; copies there: {held}"
    if space is None:
        return Line(NAME, OK, f"{said}; it does not tell its free space")
    room = f"{said}; free: {size(space.free)} of {size(space.total)}"
    if space.free * NEARLY_FULL < space.total:
        return Line(
            NAME, WARNING, room, "give it more room, or remove copies there that nobody needs"
        )
    return Line(NAME, OK, room)
