"""Who asks: API tokens, tickets and their CSRF tokens (libpve-access-control; texts as in pve-facts
1.4).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping

from pvelab.access import Access, Identity
from pvelab.errors import LabError

TICKET_LIFE = 7200  # seconds
# seconds by which the clock of the node that made a ticket may be ahead
_CLOCK_GRACE = 300
_TOKEN = re.compile(r"([^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+)!([A-Za-z][A-Za-z0-9.\-_]+)")


def identify(access: Access, method: str, headers: Mapping[str, str]) -> Identity:
    """Given a request's headers, return who asks. Raise LabError 401 with PVE's text. A ticket wins
    over a token.
    """
    cookies = dict(
        part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";")
    )
    ticket = urllib.parse.unquote(cookies.get("PVEAuthCookie", ""))
    authorization = headers.get("authorization", "")
    if ticket:
        user = check_ticket(access, ticket)
        # a browser sends its cookie whoever wrote the form; only PVE's own pages know this token
        if method != "GET":
            stamp, _, signature = headers.get("csrfpreventiontoken", "").partition(":")
            signed = _sign(access, f"csrf:{stamp}:{user}")
            if not hmac.compare_digest(signature.encode(), signed.encode()) or not _fresh(stamp):
                raise LabError(401, "Permission denied - invalid csrf token")
        return Identity(user)
    if authorization.startswith("PVEAPIToken"):
        return _token(
            access, urllib.parse.unquote(authorization.removeprefix("PVEAPIToken").lstrip("= "))
        )
    raise LabError(401, "No ticket")


def _token(access: Access, text: str) -> Identity:
    name, _, secret = text.partition("=")
    if not secret:
        raise LabError(401, "no tokenid specified")
    parts = _TOKEN.fullmatch(name)
    if not parts:
        raise LabError(
            401, f"'{name}' is not a valid token ID - not able to split into user and token parts"
        )
    identity = Identity(parts[1], parts[2])
    user = access.users.get(identity.user)
    if user is None:
        raise LabError(401, f"no such user ('{identity.user}')")
    if not user.get("enable", 1):
        raise LabError(401, f"user '{identity.user}' is disabled")
    token = access.tokens.get(name)
    if token is None:
        raise LabError(401, f"no such token '{identity.token}' for user '{identity.user}'")
    # 0 is never
    if 0 < int(token.get("expire", 0)) < time.time():
        raise LabError(401, f"token '{name}' access expired")
    if not hmac.compare_digest(
        str(token["secret"]).encode(), secret.encode("utf-8", "surrogateescape")
    ):
        raise LabError(401, "invalid token value!")
    return identity


def login(access: Access, user: str, password: str) -> None:
    """Check a password, or a still valid ticket in its place. Raise LabError 401 with PVE's one
    text for every reason.
    """
    known = access.passwords.get(user)
    if known is not None and hmac.compare_digest(
        known.encode(), password_digest(access, user, password).encode()
    ):
        return
    try:
        if check_ticket(access, password) == user:
            return
    except LabError:
        raise LabError(401, "authentication failure") from None
    raise LabError(401, "authentication failure")


def password_digest(access: Access, user: str, password: str) -> str:
    """Return what is kept of a password."""
    salt = f"{access.key}{user}".encode()
    return hashlib.scrypt(
        password.encode("utf-8", "surrogateescape"), salt=salt, n=2**12, r=8, p=1
    ).hex()


def make_ticket(access: Access, user: str, now: float | None = None) -> str:
    """Return a ticket: ``PVE:user@realm:<time in hex>::<signature>``."""
    plain = f"PVE:{user}:{int(now or time.time()):08X}"
    return f"{plain}::{_sign(access, plain)}"


def make_csrf(access: Access, user: str, now: float | None = None) -> str:
    """Return the CSRF prevention token that goes with a user's tickets."""
    stamp = f"{int(now or time.time()):08X}"
    return f"{stamp}:{_sign(access, f'csrf:{stamp}:{user}')}"


def check_ticket(access: Access, ticket: str) -> str:
    """Given a ticket, return its user. Raise LabError 401 if it is forged, malformed or too old."""
    plain, _, signature = ticket.rpartition("::")
    parts = plain.split(":")
    if (
        len(parts) == 3
        and hmac.compare_digest(signature.encode(), _sign(access, plain).encode())
        and _fresh(parts[2])
    ):
        return parts[1]
    raise LabError(401, "permission denied - invalid PVE ticket")


def _fresh(stamp: str) -> bool:
    try:
        age = time.time() - int(stamp, 16)
    except ValueError:
        return False
    return -_CLOCK_GRACE < age < TICKET_LIFE


def _sign(access: Access, text: str) -> str:
    digest = hmac.new(
        access.key.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha256
    ).digest()
    return base64.b64encode(digest).decode().rstrip("=")
