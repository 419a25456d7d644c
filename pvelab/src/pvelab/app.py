"""The lab's API as an ASGI application: from a request to a handler and back, in PVE's order of
checks.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import re
from dataclasses import replace
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import pvelab.api  # noqa: F401 - importing it registers every handler
from pvelab import authentication, cluster_settings, console, wire
from pvelab.access import Identity
from pvelab.errors import LabError
from pvelab.faults import calls
from pvelab.faults import endpoint as fault_endpoint
from pvelab.kernel import ROUTES, Call, Lab
from pvelab.quorum import check as check_quorum
from pvelab.reason import DROPPED, REASON_HEADER, carried
from pvelab.schema.endpoints import api
from pvelab.schema.validate import validate
from pvelab.wire import Reply, Request

# agent calls block for 3 s and content calls for longer: enough threads that others are not kept
# waiting
THREADS = 64
# pve-facts 1.7: the broken pipe takes 5.2 s where a refused token takes 3
_BROKEN_PIPE_FACTOR = 5.2 / 3
_ALLOCATING = {
    "/storage": "Datastore.Allocate",
    "/vms": "VM.Allocate",
    "/pool": "Pool.Allocate",
}
_log = logging.getLogger(__name__)


def dispatch(lab: Lab, request: Request) -> Reply:
    """Given a request, return the lab's reply, as the faults leave it. Runs in a thread: handlers
    may block.
    """
    if request.node and not lab.nodes[request.node].online:
        return Reply(500, dropped=True)  # it was on its way when the node died
    if request.path.startswith(fault_endpoint.PATH):
        return fault_endpoint.answer(lab, request)
    if request.path == cluster_settings.PATH:
        return cluster_settings.answer(lab, request)
    return calls.around(lab.faults, request, lambda: _dispatch(lab, request))


def _dispatch(lab: Lab, request: Request) -> Reply:
    early = wire.refuse_early(request)
    if early:
        return early
    delay = float(lab.settings.get("auth_delay", 3.0))
    try:
        return wire.success(request, _answer(lab, request))
    except LabError as error:
        if error.status == 401:
            # refused credentials have no body at all; only a failed login has one (pve-facts 1.4)
            if request.call != "/access/ticket" or request.method != "POST":
                return Reply(401, error.reason, delay=delay)
            reply = wire.failure(request, error, pause=0)
            return Reply(reply.status, reply.reason, reply.body, reply.content_type, delay)
        if error.status == 595:
            # the address of a dead host is asked for in vain for as long as a refused login is kept
            # waiting
            return Reply(595, error.reason, delay=delay)
        return wire.failure(request, error, pause=delay * _BROKEN_PIPE_FACTOR)
    except wire.BodyUnreadable as error:
        return error.reply()
    except Exception as error:  # noqa: BLE001 - a handler's bug is an answer of the server (any Perl die is a 500), and is logged
        _log.exception("%s %s failed", request.method, request.path)
        return wire.failure(request, LabError(500, f"{type(error).__name__}: {error}"), pause=delay)


def _answer(lab: Lab, request: Request) -> Any:
    node = request.node or lab.answering()
    if not node:
        raise LabError(595, "No route to host")
    found = api().find(request.method, request.call)
    endpoint = found[0] if found else None
    # the few calls of the world need no credentials, but a token that is sent is still looked at
    world = endpoint and endpoint.permissions.get("user") == "world"
    identity = (
        Identity("")
        if world and "authorization" not in request.headers
        else authentication.identify(lab.access, request.method, request.headers)
    )
    handler = ROUTES.get((endpoint.method, endpoint.path)) if endpoint else None
    if found is None or endpoint is None or handler is None:
        raise LabError(501, f"Method '{request.method} {request.call}' not implemented")
    if identity.token and not endpoint.allow_token:
        raise LabError(
            403,
            f"Permission check failed (URI '{request.call}' not available with API token, need "
            "proper ticket.\n)\n",
        )
    given = wire.parameters(request, endpoint.parameters)
    for name, value in found[1].items():
        if name in given and str(given[name]) != value:
            text = "duplicate parameter (already defined in URI) with conflicting values!"
            raise LabError(400, "Parameter verification failed.", {name: text})
    given |= found[1]
    call = Call(request.method, endpoint.path, given, identity, lab, node)
    check_permissions(call, endpoint.permissions)
    # such a call is forwarded to the node
    if endpoint.proxied and not lab.node(given["node"]).online:
        raise LabError(595, "No route to host")
    call.params = validate(endpoint.parameters, given)
    check_quorum(lab, call.method, call.path)
    return handler(call)


def check_permissions(call: Call, permissions: dict[str, Any]) -> None:
    """Raise LabError 403 unless the caller meets an endpoint's machine-readable rule; handlers
    check the rest themselves.
    """
    if permissions.get("user") == "root@pam only" and not call.is_root_ticket:
        raise LabError(403, "Permission check failed (user != root@pam)")
    if rule := permissions.get("check"):
        _check(call, rule)


def _check(call: Call, rule: list[Any]) -> None:
    kind, *rest = rule
    if kind == "perm":
        call.check(_filled(rest[0], call.params), *dict.fromkeys(rest[1]), any="any" in rest[2:])
    elif kind == "perm-modify":
        path = _filled(rest[0], call.params)
        # what allocates the objects below may change their ACL too (PVE::RPCEnvironment)
        allocating = [priv for prefix, priv in _ALLOCATING.items() if path.startswith(prefix)]
        call.check(path, "Permissions.Modify", *allocating, any=True)
    elif kind == "userid-group":
        call.check("/access/groups", *rest[0], any=True)
    elif kind == "userid-param":
        if rest[0] == "self" and call.params.get("userid") != call.identity.user:
            raise LabError(403, "Permission check failed")
        if rest[0] != "self":
            call.check(
                f"/access/realm/{str(call.params.get('userid', '')).rpartition('@')[2]}", rest[0]
            )
    elif kind == "and":
        for part in rest:
            _check(call, part)
    elif kind == "or":
        refused = LabError(403, "Permission check failed")
        for part in rest:
            try:
                _check(call, part)
            except LabError as error:
                refused = error
            else:
                return
        raise refused
    else:
        raise LabError(500, f"unknown permission test '{kind}'")


def _filled(template: str, params: dict[str, Any]) -> str:
    return re.sub(r"\{([a-z-]+)\}", lambda found: str(params.get(found[1], "")), template)


def make_app(lab: Lab, node: str = "") -> Starlette:
    """Return the ASGI application over a lab, as one node answers or the whole cluster when none is
    named.

    Run it with ``pvelab.reason.ReasonProtocol``.
    """

    limiter: anyio.CapacityLimiter | None = None

    async def answer(request: Request) -> Reply:
        nonlocal limiter
        limiter = limiter or anyio.CapacityLimiter(THREADS)
        reply = await anyio.to_thread.run_sync(
            dispatch, lab, replace(request, node=node), limiter=limiter
        )
        if reply.delay:
            await asyncio.sleep(reply.delay)
        return reply

    async def endpoint(http: HttpRequest) -> Response:
        request = Request(
            http.method,
            http.scope["raw_path"].decode("latin-1").partition("?")[0],
            http.scope["query_string"].decode("latin-1"),
            {name.lower(): value for name, value in http.headers.items()},
            await http.body(),
        )
        return _response(await answer(request))

    async def screen(socket: WebSocket) -> None:
        await console.serve(socket, answer, _response)

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    return Starlette(
        routes=[
            WebSocketRoute("/{rest:path}", screen),
            Route("/{rest:path}", endpoint, methods=methods),
        ]
    )


def _response(reply: Reply) -> Response:
    headers = {
        "Cache-Control": "max-age=0",
        "Pragma": "no-cache",
        "Server": "pve-api-daemon/3.0",
        "Expires": email.utils.formatdate(usegmt=True),
        "Connection": "close" if reply.status >= 400 else "Keep-Alive",
        REASON_HEADER: DROPPED if reply.dropped else carried(reply.reason),
    }
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    return Response(reply.body, reply.status, headers)
