"""The one place that speaks HTTP to Proxmox VE, through proxmoxer: one client a thread, reads retried, errors mapped.

Any node answers for the whole cluster, so several may be named: the one that answered last is asked first. What was not sent
(the connection was refused) goes to the next one whatever it is; what may have been carried out is repeated only if it is a read.

proxmoxer's own traps are dealt with here (it exits the process without requests, silences urllib3's warnings, drops the body's
``message``, takes anything that is no JSON for an answer, and waits five seconds only).
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from pydantic import SecretStr
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

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
    """Reads PVE's answers whole: an answer that is no PVE answer is an error, and a refusal keeps its message.

    What stands beside the data (``changes``, ``total``) is left in ``seen.beside``, where the thread that asked finds it.
    """

    def __init__(self, seen: threading.local) -> None:
        self._seen = seen

    def loads(self, response: requests.Response) -> Any:
        """Given an answer of 200, return its data. Raise PveError if it is not PVE's envelope."""
        try:
            beside = dict(json.loads(response.content))
            data = beside.pop("data")
            self._seen.beside = beside
            return data
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


@dataclass(frozen=True, slots=True)
class _Host:
    """A node's API and what proves it."""

    name: str
    port: int
    trust: trust.Trust

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


class Client:
    """Calls to one cluster with one token. Safe to share between threads: each gets its own connections."""

    def __init__(self, settings: PveSettings, token: SecretStr, clock: Clock) -> None:
        """Given the settings, the token (user@realm!name=secret) and a clock. Raise UsageError if one of them is malformed."""
        found = _TOKEN.fullmatch(token.get_secret_value().strip())
        if not found:
            raise UsageError(
                "BACKUPSVC_PVE__TOKEN is not an API token",
                "its form is user@realm!name=secret; `pveum user token add USER NAME` prints the secret once",
            )
        self.token_id = f"{found['user']}!{found['name']}"
        named = [_host_and_port(text) for text in settings.host.split(",")]
        trusts = trust.trusts_of(settings, len(named))
        self._hosts = [_Host(*place, proof) for place, proof in zip(named, trusts, strict=True)]
        self._last = self._hosts[0]
        self._secret = SecretStr(found["secret"])
        self._timeout, self._clock = settings.timeout, clock
        self._threads = threading.local()

    def __repr__(self) -> str:
        return f"Client({self.where}, {self.token_id})"

    @property
    def where(self) -> str:
        """Host and port of the node that answered last, as messages name the cluster; the first before anything was asked."""
        return str(self._last)

    def silent(self) -> list[BackupsvcError]:
        """Ask every host that is named, and return what is wrong with each that does not answer."""
        tries = (self._once(host, "GET", "version", {}) for host in self._hosts)
        return [answer.error for answer in tries if isinstance(answer, _Failed)]

    def get(self, path: str, params: Mapping[str, Value] | None = None, *, retry: bool = True) -> Any:
        """Given a path and its parameters, return the answer's data. Tried three times if nobody answers and ``retry``."""
        return self._call("GET", path, params, again=retry)

    def get_with_beside(self, path: str) -> tuple[Any, dict[str, Any]]:
        """Given a path, return the answer's data and what stands beside it, such as ``changes`` that are not in force yet."""
        data = self.get(path)
        return data, dict(self._threads.beside)

    def post(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once: after an error the caller must look."""
        return self._call("POST", path, params)

    def put(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once."""
        return self._call("PUT", path, params)

    def delete(self, path: str, params: Mapping[str, Value] | None = None) -> Any:
        """Given a path and its parameters, return the answer's data. Sent once."""
        return self._call("DELETE", path, params)

    def _call(self, method: str, path: str, params: Mapping[str, Value] | None, *, again: bool = False) -> Any:
        sent = encoded(params or {})
        for pause in (*(PAUSES if again else ()), None):
            started = self._clock.monotonic()
            answer = self._first_that_answers(method, path, sent, again=again)
            if not isinstance(answer, _Failed):
                return answer
            # A try that already used up its patience is not repeated: the reader has waited long enough.
            if pause is None or not answer.transient or self._clock.monotonic() - started > CONNECT_TIMEOUT / 2:
                break
            self._clock.sleep(pause)
        raise answer.error

    def _first_that_answers(self, method: str, path: str, sent: Mapping[str, Any], *, again: bool) -> Any:
        """Ask host after host, the one that answered last first, as long as nothing can be done twice by asking the next."""
        failures: list[_Failed] = []
        for host in sorted(self._hosts, key=lambda host: host is not self._last):
            answer = self._once(host, method, path, dict(sent))
            if not isinstance(answer, _Failed):
                self._last = host
                return answer
            failures.append(answer)
            if not (answer.unsent or (again and answer.transient)):
                break
        return _joined(failures)

    def _once(self, host: _Host, method: str, path: str, params: dict[str, Any]) -> Any:
        """Make one try; return its data, or what failed. It raises nothing that carries the request (law 7)."""
        caller = Caller(str(host), self.token_id, f"{method} {path}")
        resource = self._api(host)(quote(path.strip("/"), safe="/:@!"))
        try:
            return getattr(resource, method.lower())(**params)
        except ResourceException as refusal:
            body = refusal.errors or {}
            errors = {str(name): str(text) for name, text in (body.get("errors") or {}).items()}
            answer = BadAnswer(refusal.status_code, str(refusal.content or ""), str(body.get("message") or ""), errors)
            return _Failed(error_for(answer, caller), transient=unreachable(answer.status, caller))
        except requests.exceptions.SSLError as error:
            if "EOF" in str(error):  # it went away over the handshake, or later
                return _Failed(_silent("broke the connection off", caller), transient=True)
            return _Failed(self._certificate_refused(host, str(error)))
        except requests.exceptions.ConnectionError as error:  # before Timeout: a connection that takes too long is both
            return _disconnected(host, error, caller)
        except requests.exceptions.Timeout:
            return _Failed(_silent(f"did not answer within {self._timeout:g} s", caller), transient=True)
        except requests.exceptions.RequestException as error:
            return _Failed(_silent(f"gave an answer that cannot be read ({type(error).__name__})", caller))

    def _api(self, host: _Host) -> ProxmoxAPI:
        """This thread's proxmoxer client of a host; requests' sessions are not made for two threads."""
        if not hasattr(self._threads, "apis"):
            self._threads.apis = {}
        if host not in self._threads.apis:
            self._threads.apis[host] = self._connect(host)
        return self._threads.apis[host]

    def _connect(self, host: _Host) -> ProxmoxAPI:
        user, _, name = self.token_id.partition("!")
        api = ProxmoxAPI(
            host.name,
            port=host.port,
            user=user,
            token_name=name,
            token_value=self._secret.get_secret_value(),
            verify_ssl=host.trust.verify,
            timeout=(min(CONNECT_TIMEOUT, self._timeout), self._timeout),
        )
        session: requests.Session = api._store["session"]
        session.trust_env = False  # no variable of the environment may change the CA, the proxy or the credentials
        session.hooks["response"].append(_refuse_redirect)
        if host.trust.pin:
            session.mount("https://", trust.PinnedAdapter(host.trust.pin))
        api._store["serializer"] = _Answers(self._threads)
        return api

    def _certificate_refused(self, host: _Host, text: str) -> BackupsvcError:
        if "CERTIFICATE_VERIFY_FAILED" not in text and "ingerprint" not in text:
            return PveUnreachable(f"{host} does not speak TLS as Proxmox VE does", "BACKUPSVC_PVE__HOST is the API's host:8006")
        seen = trust.seen_fingerprint(host.name.strip("[]"), host.port, min(CONNECT_TIMEOUT, self._timeout)) or "unknown by now"
        hint = (
            "compare the one seen with `openssl x509 -in /etc/pve/local/pve-ssl.pem -noout -fingerprint -sha256` on the node "
            "itself; only if they agree set BACKUPSVC_PVE__FINGERPRINT to it"
        )
        if host.trust.pin:
            return PveCertificateRefused(
                f"{host} shows a certificate with fingerprint {seen}, pinned is {trust.shown(host.trust.pin)}; nothing was sent",
                hint,
            )
        why = found[1] if (found := re.search(r"certificate verify failed: ([^(]+?)\s*\(", text)) else "not trusted"
        return PveCertificateRefused(
            f"the certificate of {host} is refused ({why}); its fingerprint is {seen}; nothing was sent",
            f"set BACKUPSVC_PVE__CA_FILE to a copy of the cluster's /etc/pve/pve-root-ca.pem, or: {hint}",
        )


class _Failed:
    """What one try ended with instead of an answer.

    ``transient`` if a second try may fare better; ``unsent`` if the request certainly never left this machine.
    """

    def __init__(self, error: BackupsvcError, *, transient: bool = False, unsent: bool = False) -> None:
        self.error, self.transient, self.unsent = error, transient, unsent


def _joined(failures: list[_Failed]) -> _Failed:
    """Given what each host that was tried ended with, return the one failure to tell; it names them all."""
    *before, last = failures
    if not before or not isinstance(last.error, PveUnreachable):
        return last
    message = "; ".join(dict.fromkeys(failure.error.message for failure in failures))
    transient = any(failure.transient for failure in failures)
    return _Failed(PveUnreachable(message, last.error.hint), transient=transient, unsent=last.unsent)


def _disconnected(host: _Host, error: requests.exceptions.ConnectionError, caller: Caller) -> _Failed:
    unsent = _unsent(error)
    if _caused_by(error, NameResolutionError):
        hint = "correct BACKUPSVC_PVE__HOST, or the name service"
        return _Failed(PveUnreachable(f"there is no host called {host.name}", hint), unsent=unsent)
    what = "refuses connections" if _caused_by(error, ConnectionRefusedError) else "cannot be reached"
    what = what if unsent else "broke the connection off"
    return _Failed(_silent(what, caller, unsent=unsent), transient=True, unsent=unsent)


def _unsent(error: requests.exceptions.ConnectionError) -> bool:
    """Whether no connection came about, so that nothing was sent.

    Only urllib3's own verdict counts, not what stands in the chain of contexts: that may come from quite another call.
    """
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _silent(what: str, caller: Caller, *, unsent: bool = False) -> PveUnreachable:
    known = "nothing was sent" if unsent else "whether it was carried out is not known"
    asked = "" if caller.call.startswith("GET ") else f"; {known}"
    return PveUnreachable(
        f"{caller.host} {what} ({caller.call}){asked}",
        "is the node up, pveproxy running, and port 8006 open from here? BACKUPSVC_PVE__HOST says whom to ask",
    )


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
