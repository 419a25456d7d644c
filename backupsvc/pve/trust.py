"""Whose certificate is believed: a pinned SHA-256 fingerprint, a CA file, or the system's CAs.
Never everybody's.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter

from backupsvc.errors import UsageError
from backupsvc.settings import PveSettings

SHA256_HEX = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """What proves the server. ``verify`` is what requests calls so: a CA bundle's path, or False
    when ``pin`` decides alone.
    """

    verify: str | bool
    pin: str | None = None


def trusts_of(settings: PveSettings, hosts: int) -> list[Trust]:
    """Given the settings and how many hosts they name, return what proves each host.

    A fingerprint decides alone, as PVE's own clients have it: one for all hosts, or one for each in
    their order. Raise UsageError, naming the setting, if there are too many or too few, one is no
    SHA-256, or the CA file is not there.
    """
    if settings.fingerprint:
        pins = [
            # a node's own certificate is signed by no CA that this machine knows
            Trust(verify=False, pin=normal_fingerprint(text))
            for text in settings.fingerprint.split(",")
        ]
        if len(pins) not in (1, hosts):
            raise UsageError(
                f"BACKUPSVC_PVE__FINGERPRINT has {len(pins)} fingerprints for {hosts} in "
                "BACKUPSVC_PVE__HOST",
                "write one for each host in the same order, separated by commas; or set "
                "BACKUPSVC_PVE__CA_FILE instead",
            )
        return pins * hosts if len(pins) == 1 else pins
    if settings.ca_file is None:
        return [Trust(verify=system_bundle())] * hosts
    if not settings.ca_file.is_file():
        raise UsageError(
            f"BACKUPSVC_PVE__CA_FILE: {settings.ca_file} is not a file",
            "copy a node's /etc/pve/pve-root-ca.pem to this machine and name it there, or set "
            "BACKUPSVC_PVE__FINGERPRINT instead",
        )
    return [Trust(verify=str(settings.ca_file))] * hosts


def normal_fingerprint(text: str) -> str:
    """Given a fingerprint with or without colons, return 64 lower-case hex digits. Raise UsageError
    if it is none.
    """
    digits = re.sub(r"[:\s]", "", text).lower()
    if len(digits) != SHA256_HEX or re.search("[^0-9a-f]", digits):
        raise UsageError(
            "BACKUPSVC_PVE__FINGERPRINT is not a SHA-256 fingerprint (32 bytes in hex, colons "
            "allowed)",
            "`openssl x509 -in /etc/pve/local/pve-ssl.pem -noout -fingerprint -sha256` prints it "
            "on the node",
        )
    return digits


def shown(digits: str) -> str:
    """Given hex digits, return them as openssl and PVE show a fingerprint (AA:BB:...)."""
    upper = digits.upper()
    return ":".join(upper[i : i + 2] for i in range(0, len(upper), 2))


def system_bundle() -> str | bool:
    """Return where this machine keeps its CAs; True (requests' own bundle) if it has none."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def seen_fingerprint(host: str, port: int, timeout: float) -> str | None:
    """Given a server that was refused, return the fingerprint it shows, for the message; None if it
    shows none by now.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # anybody's is taken here, for it is only shown: nothing is sent over this connection
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            leaf = wrapped.getpeercert(binary_form=True)
    except OSError:
        return None
    return shown(hashlib.sha256(leaf).hexdigest()) if leaf else None


class PinnedAdapter(HTTPAdapter):
    """Speaks only to the server whose leaf certificate has the given fingerprint; checked before
    any request is sent.
    """

    def __init__(self, pin: str) -> None:
        self._pin = pin
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Given requests' pool options, build the pool with the pin in it."""
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._pin)
