"""The one place that speaks HTTP to Proxmox VE, through proxmoxer: one client a thread, reads retried, errors mapped.

proxmoxer's own traps are dealt with here (it exits the process without requests, silences urllib3's warnings, drops the body's
``message``, takes anything that is no JSON for an answer, and waits five seconds only).
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests
from pydantic import SecretStr
from urllib3.exceptions import NameResolutionError

from backupsvc.clock import Clock
from backupsvc.errors import BackupsvcError, LawRefused, PveCertificateRefused, PveError, PveUnreachable, UsageError
from backupsvc.pve import trust
from backupsvc.pve.answers import BadAnswer, Caller, error_for, unreachable
from backupsvc.settings import PveSettings

with warnings.catch_warnings():  # its import switches urllib3's warnings off for the whole process
    from proxmoxer import ProxmoxAPI, ResourceException
    from proxmoxer.backends.https import JsonSerializer

Value = str | int | float | bool | list[str] | None

CONNECT_TIMEOUT = 10.0  # seconds; a host that is up accepts at once, whatever the answer then takes
PAUSES = (0.3, 1.0)  # seconds before the second and the third try of a read
DEFAULT_PORT = 8006
NEVER_SENT = frozenset({"force", "skiplock"})  # law 1: no call of this service may overrule a guest's protection or lock

_TOKEN = re.compile(r"(?P<user>[^\s:/!=]+@[A-Za-z][\w.\-]+)!(?P<name>[A-Za-z][\w.\-]+)=(?P<secret>[\x21-\x7e]+)")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>\d{1,5}))?")


class _Answers(JsonSerializer):  # type: ignore[misc]
    """Reads PVE's answers whole: an answer that is no PVE answer is an error, and a refusal keeps its message."""

    def loads(self, response: requests.Response) -> Any:
        """Given an answer of 200, return its data. Raise PveError if it is not PVE's envelope."""
        try:
            return json.loads(response.content)["data"]
        except (ValueError, KeyError, TypeError):
            raise PveError(
                f"{response.url.partition('/api2')[0]} answered with something that Proxmox VE does not say",
                "is BACKUPSVC_PVE__HOST the API of a Proxmox VE node (host:8006)?",
                status=response.status_code,
            ) from None

    def loads_errors(self, response: requests.Response) -> dict[str, Any]:
        """Given a refusal, return what its body adds to the status line; nothing if the body is empty or plain text."""
        try:
            body = json.loads(response.content)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


class Client:
    """Calls to one cluster with one token. Safe to share between threads: each gets its own connection."""

    def __init__(self, settings: PveSettings, token: SecretStr, clock: Clock) -> None:
        """Given the settings, the token (user@realm!name=secret) and a clock. Raise UsageError if one of them is malformed."""
        found = _TOKEN.fullmatch(token.get_secret_value().strip())
        if not found:
            raise UsageError(
                "BACKUPSVC_PVE__TOKEN is not an API token",
                "its form is user@realm!name=secret; `pveum user token add USER NAME` prints the secret once",
            )
        self.token_id = f"{found['user']}!{found['name']}"
        self.host, self.port = _host_and_port(settings.host)
        self._secret = SecretStr(found["secret"])
        self._timeout, self._clock = settings.timeout, clock
        self._trust = trust.trust_of(settings)
        self._threads = threading.local()

    def __repr__(self) -> str:
        return f"Client({self.where}, {self.token_id})"

    @property
    def where(self) -> str:
        """Host and port, as messages name the cluster."""
        return f"{self.host}:{self.port}"

    def get(self, path: str, params: Mapping[str, Value] | None = None, *, retry: bool = True) -> Any:
        """Given a path and its parameters, return the answer's data. Tried three times if nobody answers and ``retry``."""
        return self._call("GET", path, params, PAUSES if retry else ())

    def post(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once: after an error the caller must look."""
        return self._call("POST", path, params)

    def put(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once."""
        return self._call("PUT", path, params)

    def delete(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once."""
        return self._call("DELETE", path, params)

    def _call(self, method: str, path: str, params: Mapping[str, Value] | None, pauses: tuple[float, ...] = ()) -> Any:
        sent = encoded(params or {})
        caller = Caller(self.where, self.token_id, f"{method} {path}")
        for pause in (*pauses, None):
            started = self._clock.monotonic()
            answer = self._once(method, path, dict(sent), caller)
            if not isinstance(answer, _Failed):
                return answer
            # A try that already used up its patience is not repeated: the reader has waited long enough.
            if pause is None or not answer.transient or self._clock.monotonic() - started > CONNECT_TIMEOUT / 2:
                break
            self._clock.sleep(pause)
        raise answer.error

    def _once(self, method: str, path: str, params: dict[str, Any], caller: Caller) -> Any:
        """Make one try; return its data, or what failed. It raises nothing that carries the request (law 7)."""
        resource = self._api()(quote(path.strip("/"), safe="/:@!"))
        try:
            return getattr(resource, method.lower())(**params)
        except ResourceException as refusal:
            body = refusal.errors or {}
            errors = {str(name): str(text) for name, text in (body.get("errors") or {}).items()}
            answer = BadAnswer(refusal.status_code, str(refusal.content or ""), str(body.get("message") or ""), errors)
            return _Failed(error_for(answer, caller), transient=unreachable(answer.status, caller))
        except requests.exceptions.SSLError as error:
            return _Failed(self._certificate_refused(str(error)))
        except requests.exceptions.Timeout:
            return _Failed(self._silent(f"did not answer within {self._timeout:g} s", caller), transient=True)
        except requests.exceptions.ConnectionError as error:
            return self._disconnected(error, caller)
        except requests.exceptions.RequestException as error:
            return _Failed(self._silent(f"gave an answer that cannot be read ({type(error).__name__})", caller))

    def _api(self) -> ProxmoxAPI:
        """This thread's proxmoxer client; requests' sessions are not made for two threads."""
        if not hasattr(self._threads, "api"):
            self._threads.api = self._connect()
        return self._threads.api

    def _connect(self) -> ProxmoxAPI:
        user, _, name = self.token_id.partition("!")
        api = ProxmoxAPI(
            self.host,
            port=self.port,
            user=user,
            token_name=name,
            token_value=self._secret.get_secret_value(),
            verify_ssl=self._trust.verify,
            timeout=(min(CONNECT_TIMEOUT, self._timeout), self._timeout),
        )
        session: requests.Session = api._store["session"]
        session.trust_env = False  # no variable of the environment may change the CA, the proxy or the credentials
        session.hooks["response"].append(_refuse_redirect)
        if self._trust.pin:
            session.mount("https://", trust.PinnedAdapter(self._trust.pin))
        api._store["serializer"] = _Answers()
        return api

    def _certificate_refused(self, text: str) -> BackupsvcError:
        if "CERTIFICATE_VERIFY_FAILED" not in text and "ingerprint" not in text:
            return PveUnreachable(
                f"{self.where} does not speak TLS as Proxmox VE does", "BACKUPSVC_PVE__HOST is the API's host:8006"
            )
        seen = trust.seen_fingerprint(self.host.strip("[]"), self.port, min(CONNECT_TIMEOUT, self._timeout)) or "unknown by now"
        hint = (
            "compare the one seen with `openssl x509 -in /etc/pve/local/pve-ssl.pem -noout -fingerprint -sha256` on the node "
            "itself; only if they agree set BACKUPSVC_PVE__FINGERPRINT to it"
        )
        if self._trust.pin:
            return PveCertificateRefused(
                f"{self.where} shows a certificate with fingerprint {seen}, pinned is {trust.shown(self._trust.pin)}; "
                "nothing was sent",
                hint,
            )
        why = found[1] if (found := re.search(r"certificate verify failed: ([^(]+?)\s*\(", text)) else "not trusted"
        return PveCertificateRefused(
            f"the certificate of {self.where} is refused ({why}); its fingerprint is {seen}; nothing was sent",
            f"set BACKUPSVC_PVE__CA_FILE to a copy of the cluster's /etc/pve/pve-root-ca.pem, or: {hint}",
        )

    def _disconnected(self, error: requests.exceptions.ConnectionError, caller: Caller) -> _Failed:
        if _caused_by(error, NameResolutionError):
            hint = "correct BACKUPSVC_PVE__HOST, or the name service"
            return _Failed(PveUnreachable(f"there is no host called {self.host}", hint))
        if _caused_by(error, ConnectionRefusedError):
            return _Failed(self._silent("refuses connections", caller), transient=True)
        return _Failed(self._silent("cannot be reached, or broke the connection off", caller), transient=True)

    def _silent(self, what: str, caller: Caller) -> PveUnreachable:
        asked = "" if caller.call.startswith("GET ") else "; whether it was carried out is not known"
        return PveUnreachable(
            f"{self.where} {what} ({caller.call}){asked}",
            "is the node up, pveproxy running, and port 8006 open from here? BACKUPSVC_PVE__HOST says whom to ask",
        )


class _Failed:
    """What one try ended with instead of an answer; ``transient`` if a second try may fare better."""

    def __init__(self, error: BackupsvcError, *, transient: bool = False) -> None:
        self.error, self.transient = error, transient


def encoded(params: Mapping[str, Value]) -> dict[str, Any]:
    """Given parameters, return them as PVE takes them: booleans as 1 and 0, absent ones left out (OBSERVED 3, 4).

    Raise LawRefused if one of them would overrule a guest's protection or lock (law 1).
    """
    if refused := NEVER_SENT & params.keys():
        raise LawRefused(1, f"{', '.join(sorted(refused))} is never sent to PVE")
    return {name: int(value) if isinstance(value, bool) else value for name, value in params.items() if value is not None}


def _refuse_redirect(response: requests.Response, *args: Any, **kwargs: Any) -> None:
    """Given an answer that points elsewhere, refuse it: the token goes nowhere else (proxmoxer would return None)."""
    if 300 <= response.status_code < 400:
        raise PveError(
            f"{response.url.partition('/api2')[0]} points elsewhere ({response.status_code}), which Proxmox VE does not do",
            "is BACKUPSVC_PVE__HOST the API of a Proxmox VE node (host:8006)?",
            status=response.status_code,
        )


def _host_and_port(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text.strip())
    if not found or not 0 < int(found["port"] or DEFAULT_PORT) < 65536:
        raise UsageError(
            f"BACKUPSVC_PVE__HOST: {text!r} is not host:port", "write it like pve.example.org:8006, without https://"
        )
    return found["host"], int(found["port"] or DEFAULT_PORT)


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Given an error of requests, return whether an error of that kind is at its bottom."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop()
        if isinstance(item, kind):
            return True
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            queue += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return False
