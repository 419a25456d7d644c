"""A web page answers with the status, and the words, that it should have.

The page is fetched by address, with the address as Host unless the check names a ``host``. With
``tls`` the certificate is not verified (see wire); whose it is, and until when it is valid, is
told.
"""

from __future__ import annotations

import http.client
import re

from backupsvc.checks.kinds import PORT, Answer, Kind, Option, Target
from backupsvc.checks.wire import certificate, connection, printable, why
from policies.check_kinds import HOST_NAME
from policies.model import CheckSpec, Outcome

MAX_BODY = 1024 * 1024  # bytes of the body that are read


def ask(spec: CheckSpec, target: Target) -> Answer:
    """Given port (80, or 443 with tls), path (/), status (200), contains (anything) and host, fetch
    the page once.
    """
    tls = bool(spec.options.get("tls", False))
    port = int(str(spec.options.get("port", 443 if tls else 80)))
    path = str(spec.options.get("path", "/"))
    host = str(spec.options["host"]) if "host" in spec.options else None
    url = f"{'https' if tls else 'http'}://{target.address}:{port}{path}"
    try:
        with connection(target, port, spec.timeout, tls=tls, host=host) as wire:
            shown = certificate(wire)
            page = http.client.HTTPConnection(host or str(target.address), port)
            # so that it opens no connection of its own, which nothing would cut at the deadline
            page.sock = wire
            page.request("GET", path, headers={"Connection": "close", "User-Agent": "backupsvc"})
            response = page.getresponse()
            # cut there: a guest may send without an end
            status, body = response.status, response.read(MAX_BODY)
    except OSError as error:
        return Outcome.FAILED, f"{url}: {why(error, spec.timeout)}"
    except http.client.HTTPException as error:
        return (
            Outcome.FAILED,
            f"{url} does not answer in HTTP: "
            f"{printable(str(error).encode()) or type(error).__name__}",
        )
    wanted, words = int(str(spec.options.get("status", 200))), str(spec.options.get("contains", ""))
    outcome, detail = Outcome.FAILED, f"{url} answers {status}"
    if status != wanted:
        detail = f"{detail}, wanted {wanted}: {printable(body)}".rstrip(": ")
    elif words and words.encode() not in body:
        detail += f" without the words {words!r}"
    else:
        outcome, detail = Outcome.PASSED, detail + (f" with the words {words!r}" if words else "")
    return outcome, f"{detail} ({shown})" if shown else detail


_STATUS = Option(int, "a status from 100 to 599", fits=lambda value: 100 <= value < 600)
_PATH = Option(
    str,
    "a path of ASCII letters that begins with / and has no blanks",
    fits=lambda value: re.fullmatch(r"/[!-~]*", value) is not None,
)
_OPTIONS = {
    "port": PORT,
    "path": _PATH,
    "status": _STATUS,
    "contains": Option(str, "a text"),
    "tls": Option(bool, "true or false"),
    "host": Option(
        str, "a host's name", fits=lambda value: re.fullmatch(HOST_NAME, value) is not None
    ),
}
KIND = Kind("http", ask, _OPTIONS)
