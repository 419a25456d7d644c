"""The lab's own endpoint, outside PVE's API: ``/lab/faults``, for root@pam alone (a ticket or a
token of it).

GET lists the faults; POST sets one (JSON: ``{"kind": "drift", "options": {"node": "clovis",
"seconds": 60}}``); DELETE clears the one whose number stands behind the path, or all.
"""

from __future__ import annotations

import json
from typing import Any

from pvelab import authentication
from pvelab.errors import LabError, UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from pvelab.wire import JSON_TYPE, Reply, Request

PATH = "/lab/faults"


def answer(lab: Lab, request: Request) -> Reply:
    """Given a request whose path begins with PATH, carry it out and return the reply."""
    try:
        if authentication.identify(lab.access, request.method, request.headers).user != "root@pam":
            raise LabError(403, "only root@pam may break the lab")
        number = request.path.removeprefix(PATH).strip("/")
        if (number and not number.isdigit()) or (number and request.method != "DELETE"):
            raise LabError(404, f"there is no {request.method} {request.path}")
        data: Any
        if request.method == "GET":
            data = [fault.as_json() for fault in lab.faults.all()]
        elif request.method == "DELETE":
            gone = effects.clear(lab, int(number) if number else None)
            data = [fault.as_json() for fault in gone]
        elif request.method == "POST":
            try:
                asked = json.loads(request.body)
            except ValueError:
                asked = None
            if not isinstance(asked, dict) or not isinstance(asked.get("options") or {}, dict):
                raise UsageError(
                    "the body is no JSON object",
                    'as in {"kind": "drift", "options": {"node": "clovis", "seconds": 60}}',
                )
            kind, options = str(asked.get("kind", "")), asked.get("options") or {}
            data = effects.set_fault(lab, kind, options).as_json()
        else:
            raise LabError(501, f"there is no {request.method} {request.path}")
    except LabError as error:
        return _reply(error.status, {"data": None, "message": error.reason, "hint": ""})
    except UsageError as error:
        return _reply(400, {"data": None, "message": error.message, "hint": error.hint})
    return _reply(200, {"data": data})


def _reply(status: int, content: dict[str, Any]) -> Reply:
    reason = "OK" if status == 200 else str(content["message"]).split("\n")[0]
    return Reply(status, reason, json.dumps(content).encode(), JSON_TYPE)
