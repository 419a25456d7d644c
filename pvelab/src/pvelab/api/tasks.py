"""/nodes/{node}/tasks: list, status, log, stop (pve-manager PVE/API2/Tasks.pm; pve-facts 2.3)."""

from __future__ import annotations

from typing import Any

from pvelab.kernel import Answer, Call, LabError, Raw, Upid, parameter_error, route
from pvelab.schema.formats import split_list


def running_row(upid: Upid) -> dict[str, Any]:
    """Return a task that runs, as a node's list shows it: its user with the token (03_vzdump_ok
    5).
    """
    row = {name: value for name, value in upid.row().items() if name != "tokenid"}
    return {**row, "user": upid.user, "saved": "0", "status": "RUNNING"}


def finished_row(upid: Upid, end: int, status: str) -> dict[str, Any]:
    """Return a task that ended, as lists show it."""
    return {**upid.row(), "endtime": end, "status": status}


def may_see(call: Call, upid: Upid) -> bool:
    """Say whether a task is the caller's own: a token sees its own tasks, a user also those of all
    its tokens.
    """
    return upid.user == call.auth or (
        call.identity.token is None and upid.user.partition("!")[0] == call.auth
    )


def status_type(status: str) -> str:
    """Given an exit status, return PVE's word for its kind: ok, warning, error or unknown."""
    if status == "OK":
        return "ok"
    if status.startswith("WARNINGS: "):
        return "warning"
    return "unknown" if status == "unexpected status" else "error"


@route("GET", "/nodes/{node}/tasks")
def task_list(call: Call) -> Any:
    """List tasks, newest first; ``total`` counts before paging and is absent when nothing
    matches.
    """
    source, tasks = call.params.get("source", "archive"), call.lab.tasks
    rows = [running_row(upid) for upid in tasks.running(call.node)] if source != "archive" else []
    if source != "active":
        rows += [finished_row(*task) for task in tasks.finished(call.node)]
    everything = call.allowed(f"/nodes/{call.node}", "Sys.Audit")
    params, seen = call.params, list[dict[str, Any]]()
    kinds = split_list(params.get("statusfilter", ""))
    for row in rows:
        full_user = f"{row['user']}!{row['tokenid']}" if "tokenid" in row else row["user"]
        if (
            (everything or may_see(call, Upid.parse(row["upid"])))
            and params.get("typefilter") in (None, row["type"])
            and ("vmid" not in params or row["id"] == str(params["vmid"]))
            and params.get("userfilter", "").lower() in full_user.lower()
            and params.get("since", 0) <= row["starttime"] <= params.get("until", row["starttime"])
            and (not kinds or status_type(row["status"]) in kinds)
            # errors=1 includes warnings (pve-facts 2.3)
            and (not params.get("errors") or row["status"] not in ("OK", "RUNNING"))
        ):
            seen.append(row)
    start, limit = params.get("start", 0), params.get("limit", 50)
    page = seen[start : start + limit]
    return Answer(page, total=len(seen)) if seen else page


@route("GET", "/nodes/{node}/tasks/{upid}")
def task_index(call: Call) -> Any:
    """List what is below."""
    return [{"name": "log"}, {"name": "status"}]


@route("GET", "/nodes/{node}/tasks/{upid}/status")
def task_status(call: Call) -> Any:
    """Return whether a task runs, and how it ended."""
    upid = _task(call, "Sys.Audit")
    exitstatus = call.lab.tasks.exitstatus(upid.text)
    if exitstatus is None:
        return {**upid.row(), "status": "running"}
    return {**upid.row(), "status": "stopped", "exitstatus": exitstatus}


@route("GET", "/nodes/{node}/tasks/{upid}/log")
def task_log(call: Call) -> Any:
    """Return numbered lines of a task's log, or all of it as text with ``download``."""
    upid = Upid.parse(call.params["upid"])
    _check_owner(call, upid, "Sys.Audit")
    lines = call.lab.tasks.log(upid) if upid.node == call.node else None
    if call.params.get("download"):
        if "start" in call.params or "limit" in call.params:
            raise LabError(
                500, "'download' cannot be used together with 'start' or 'limit' parameters"
            )
        return Raw("".join(f"{line}\n" for line in lines or ()).encode(), "text/plain")
    if lines is None:
        lines = ["unable to open file - No such file or directory"]
    # an empty log is one line; limit=0 gives all of a log, and no row of a list (pve-facts 2.1,
    # 2.3)
    lines = lines or ["no content"]
    start, limit = call.params.get("start", 0), call.params.get("limit", 50) or len(lines)
    page = [{"n": start + n, "t": text} for n, text in enumerate(lines[start : start + limit], 1)]
    return Answer(page, total=len(lines))


@route("DELETE", "/nodes/{node}/tasks/{upid}")
def task_stop(call: Call) -> Any:
    """Tell a running task to stop; a finished one is left alone. Answers after about a second, as
    PVE does.
    """
    call.lab.tasks.stop(_task(call, "Sys.Modify").text, grace=1.0)


def _task(call: Call, privilege: str) -> Upid:
    upid = Upid.parse(call.params["upid"])
    _check_owner(call, upid, privilege)
    if upid.node != call.node or not call.lab.tasks.known(upid):
        raise parameter_error(upid="no such task")
    return upid


def _check_owner(call: Call, upid: Upid, privilege: str) -> None:
    if not may_see(call, upid):
        call.check(f"/nodes/{call.node}", privilege)
