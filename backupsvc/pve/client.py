"""The one place that speaks HTTP to Proxmox VE, through proxmoxer: one client a thread, reads
retried, errors mapped.

Any node answers for the whole cluster, so several may be named: the one that answered last is asked
first. What was not sent (the connection was refused) goes to the next one whatever it is; what may
have been carried out is repeated only if it is a read. A host or a node that let a call wait in
vain is not asked again for a while (``policies.breaker``): later calls fail at once.

proxmoxer's own traps are dealt with here (it exits the process without requests, silences urllib3's
warnings, drops the body's ``message``, takes anything that is no JSON for an answer, and waits five
seconds only).
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import SecretStr

from backupsvc.clock import Clock
from backupsvc.errors import (
    BackupsvcError,
    LawRefused,
    PveAnswerUnreadable,
    PveCertificateRefused,
    PveError,
    PveUnreachable,
    UsageError,
)
from backupsvc.pve import trust
from backupsvc.pve.answers import BadAnswer, Caller
from backupsvc.pve.breakers import Breakers
from backupsvc.pve.fields import Answer
from backupsvc.pve.tries import (
    Asked,
    Failed,
    Host,
    disconnected,
    failure_of,
    joined,
    no_answer,
    not_asked,
)
from backupsvc.settings import PveSettings
from policies.breaker import Place, places

with warnings.catch_warnings():  # its import switches urllib3's warnings off for the whole process
    from proxmoxer import ProxmoxAPI, ResourceException
    from proxmoxer.backends.https import JsonSerializer

Value = str | int | float | bool | list[str] | None

CONNECT_TIMEOUT = 10.0  # seconds; a host that is up accepts at once, whatever the answer then takes
LOOK_TIMEOUT = 3.0  # seconds for the question who is silent, after a call that nobody answered
PAUSES = (0.3, 1.0)  # seconds before the second and the third try of a read
DEFAULT_PORT = 8006
# law 1: no call of this service may overrule a guest's protection or lock
NEVER_SENT = frozenset({"force", "skiplock"})

_TOKEN = re.compile(
    r"(?P<user>[^\s:/!=]+@[A-Za-z][\w.\-]+)!(?P<name>[A-Za-z][\w.\-]+)=(?P<secret>[\x21-\x7e]+)"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>\d{1,5}))?")


class _OfThread(threading.local):
    """What each thread has of its own: proxmoxer's client of each host, for requests' sessions are
    not made for two threads, and what stood beside the data of its last answer.
    """

    def __init__(self) -> None:
        self.apis: dict[Host, ProxmoxAPI] = {}
        self.beside: dict[str, Any] = {}


class _Answers(JsonSerializer):  # type: ignore[misc]
    """Reads PVE's answers whole: an answer that is no PVE answer is an error, and a refusal keeps
    its message.

    What stands beside the data (``changes``, ``total``) is left in ``seen.beside``, where the
    thread that asked finds it.
    """

    def __init__(self, seen: _OfThread) -> None:
        self._seen = seen

    def loads(self, response: requests.Response) -> Any:
        """Given an answer of 200, return its data. Raise PveAnswerUnreadable if it is not PVE's
        envelope.
        """
        try:
            beside = dict(_object(response.content))
            data = beside.pop("data")
            self._seen.beside = beside
            return data
        except (ValueError, KeyError):
            asked = (
                f"{response.request.method} "
                f"{urlsplit(response.url).path.removeprefix('/api2/json/')}"
            )
            raise PveAnswerUnreadable(
                f"{response.url.partition('/api2')[0]} answered {asked} with something that "
                "Proxmox VE does not say",
                "is BACKUPSVC_PVE__HOST the API of a Proxmox VE node (host:8006)?",
            ) from None

    def loads_errors(self, response: requests.Response) -> dict[str, Any]:
        """Given a refusal, return what its body adds to the status line; nothing if the body is
        empty or plain text.
        """
        try:
            return _object(response.content)
        except ValueError:
            return {}


def _object(content: bytes) -> dict[str, Any]:
    """Given a body, return the JSON object in it. Raise ValueError if it holds none, or one that is
    nested without end.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


class Client:
    """Calls to one cluster with one token. Safe to share between threads: each gets its own
    connections.
    """

    def __init__(
        self,
        settings: PveSettings,
        token: SecretStr,
        clock: Clock,
        breakers: Breakers | None = None,
    ) -> None:
        """Given the settings, the token (user@realm!name=secret) and a clock; ``breakers``: what
        this process knows of silence.

        Raise UsageError if one of them is malformed.
        """
        found = _TOKEN.fullmatch(token.get_secret_value().strip())
        if not found:
            raise UsageError(
                "BACKUPSVC_PVE__TOKEN is not an API token",
                "its form is user@realm!name=secret; `pveum user token add USER NAME` prints the "
                "secret once",
            )
        self.token_id = f"{found['user']}!{found['name']}"
        named: list[tuple[str, int]] = []
        for text in settings.host.split(","):
            place = _HOST.fullmatch(text.strip())
            if not place or not 0 < int(place["port"] or DEFAULT_PORT) < 65536:
                raise UsageError(
                    f"BACKUPSVC_PVE__HOST: {text!r} is not host:port",
                    "write it like pve.example.org:8006, without https://",
                )
            named.append((place["host"], int(place["port"] or DEFAULT_PORT)))
        trusts = trust.trusts_of(settings, len(named))
        self._hosts = [Host(*one, proof) for one, proof in zip(named, trusts, strict=True)]
        self._last = self._hosts[0]
        self._secret = SecretStr(found["secret"])
        self._timeout, self._clock = settings.timeout, clock
        self.breakers = breakers or Breakers(clock)
        self._threads = _OfThread()

    def __repr__(self) -> str:
        return f"Client({self.where}, {self.token_id})"

    @property
    def where(self) -> str:
        """Host and port of the node that answered last, as messages name the cluster; the first
        before anything was asked.
        """
        return str(self._last)

    def silent(self) -> list[BackupsvcError]:
        """Ask every host that is named and was not silent just now, and return what is wrong with
        each that does not answer.
        """
        tries = (
            self._unless_silent(host, Asked("GET", "version", again=False), {})
            for host in self._hosts
        )
        return [answer.error for answer in tries if isinstance(answer, Failed)]

    def get(
        self, path: str, params: Mapping[str, Value] | None = None, *, retry: bool = True
    ) -> Answer:
        """Given a path and its parameters, return the answer. Tried three times if nobody answers
        and ``retry``.
        """
        return self._call("GET", path, params, again=retry)

    def post(self, path: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Given a path and its parameters, return the answer. Sent once: after an error the caller
        must look.
        """
        return self._call("POST", path, params)

    def put(self, path: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Given a path and its parameters, return the answer. Sent once."""
        return self._call("PUT", path, params)

    def delete(self, path: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Given a path and its parameters, return the answer. Sent once."""
        return self._call("DELETE", path, params)

    def _call(
        self, method: str, path: str, params: Mapping[str, Value] | None, *, again: bool = False
    ) -> Answer:
        sent = encoded(params or {})
        asked = Asked(method, path, again)
        for pause in (*(PAUSES if again else ()), None):
            started = self._clock.monotonic()
            answer = self._first_that_answers(asked, sent)
            if not isinstance(answer, Failed):
                return Answer(self.where, f"{method} {path}", answer, dict(self._threads.beside))
            # A try that already used up its timeout is not repeated: the reader has waited long
            # enough.
            waited = self._clock.monotonic() - started > CONNECT_TIMEOUT / 2
            # a pause changes no refusal, and is vain where every host is useless for this call
            hopeless = not (answer.transient or answer.busy) or len(asked.useless) == len(
                self._hosts
            )
            if pause is None or waited or hopeless:
                break
            self._clock.sleep(pause)
        raise answer.error

    def _first_that_answers(self, asked: Asked, sent: Mapping[str, Any]) -> Any:
        """Ask host after host, the one that answered last first, as long as nothing can be done
        twice by asking the next.
        """
        failures: list[Failed] = []
        for host in sorted(self._hosts, key=lambda host: host is not self._last):
            if host in asked.useless:
                continue
            answer = self._unless_silent(host, asked, sent)
            if not isinstance(answer, Failed):
                self._last = host
                return answer
            failures.append(answer)
            if answer.useless:
                asked.useless.add(host)
            # an answer, or it may have been carried out there: another host would do it twice
            if not (answer.unsent or (asked.again and answer.transient)):
                break
        return joined(failures)

    def _unless_silent(self, host: Host, asked: Asked, sent: Mapping[str, Any]) -> Any:
        """Make one try, unless somebody whom it needs was silent a moment ago; remember who
        answered and who did not.
        """
        name = str(host)
        # only before its first try: the silence that a call has found itself is no reason to refuse
        # its next
        if host not in asked.tried and (
            refused := self.breakers.refusal(name, asked.path, self._timeout)
        ):
            return not_asked(*refused, asked)
        asked.tried.add(host)
        answer = self._once(host, asked.method, asked.path, dict(sent))
        if isinstance(answer, Failed) and answer.timed_out:
            answer.blame(self._who_is_silent(host, asked.path), asked.path)
        if not isinstance(answer, Failed) or answer.answered:
            self.breakers.answered(name, asked.path)
        elif answer.silent:
            self.breakers.silent(name, asked.path, answer.silent, answer.words)
        else:
            self.breakers.undecided(name, asked.path)
        return answer

    def _who_is_silent(self, host: Host, path: str) -> Place:
        """After a call that was taken and never answered, ask what is quick: is it the host, the
        node, or only what was asked?
        """
        inner, node = (
            places(str(host), path)[-1],
            Caller(str(host), self.token_id, f"GET {path}").node,
        )
        # whoever answers is cleared by that, and it stays with what lies one step further in
        looks: list[tuple[str, Place]] = [("version", (str(host),))]
        if node:
            looks.insert(0, (f"nodes/{node}/version", (str(host), node)))
        for question, wider in looks:
            if question != path.strip("/"):  # else it was just asked, and nobody answered
                look = self._once(host, "GET", question, {}, LOOK_TIMEOUT)
                if not isinstance(look, Failed) or look.answered:
                    return inner
            inner = wider
        return inner

    def _once(
        self,
        host: Host,
        method: str,
        path: str,
        params: dict[str, Any],
        timeout: float | None = None,
    ) -> Any:
        """Make one try; return its data, or what failed. It raises nothing that carries the request
        (law 7).
        """
        caller = Caller(str(host), self.token_id, f"{method} {path}")
        apis = self._threads.apis
        if timeout is not None:
            api = self._connect(host, min(timeout, self._timeout))
        elif host in apis:
            api = apis[host]
        else:
            api = apis[host] = self._connect(host, self._timeout)
        resource = api(quote(path.strip("/"), safe="/:@!"))
        try:
            return getattr(resource, method.lower())(**params)
        except BackupsvcError as error:  # what came is no answer of Proxmox VE
            return Failed(error, answered=True)
        except ResourceException as refusal:
            reason, body = str(refusal.content or ""), refusal.errors or {}
            return failure_of(BadAnswer.of(refusal.status_code, reason, body), caller)
        except requests.exceptions.SSLError as error:
            if "EOF" in str(error):  # it went away over the handshake, or later
                return Failed(no_answer("broke the connection off", caller), transient=True)
            return Failed(self._certificate_refused(host, str(error)))
        except requests.exceptions.ConnectionError as error:
            # before Timeout: a connection that takes too long is both
            return disconnected(host, error, caller)
        except requests.exceptions.Timeout:
            what = f"did not answer within {timeout or self._timeout:g} s"
            return Failed(no_answer(what, caller), transient=True, timed_out=True)
        except requests.exceptions.RequestException as error:
            return Failed(
                no_answer(f"gave an answer that cannot be read ({type(error).__name__})", caller)
            )
        finally:
            if timeout is not None:
                api._store["session"].close()

    def _connect(self, host: Host, timeout: float) -> ProxmoxAPI:
        user, _, name = self.token_id.partition("!")
        api = ProxmoxAPI(
            host.name,
            port=host.port,
            user=user,
            token_name=name,
            token_value=self._secret.get_secret_value(),
            verify_ssl=host.trust.verify,
            timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
        )
        session: requests.Session = api._store["session"]
        # no variable of the environment may change the CA, the proxy or the credentials
        session.trust_env = False
        session.hooks["response"].append(_refuse_redirect)
        if host.trust.pin:
            session.mount("https://", trust.PinnedAdapter(host.trust.pin))
        api._store["serializer"] = _Answers(self._threads)
        return api

    def _certificate_refused(self, host: Host, text: str) -> BackupsvcError:
        # requests calls every handshake that fails an SSLError, also with a server that speaks no
        # TLS
        if "CERTIFICATE_VERIFY_FAILED" not in text and "ingerprint" not in text:
            return PveUnreachable(
                f"{host} does not speak TLS as Proxmox VE does",
                "BACKUPSVC_PVE__HOST is the API's host:8006",
            )
        seen = (
            trust.seen_fingerprint(
                host.name.strip("[]"), host.port, min(CONNECT_TIMEOUT, self._timeout)
            )
            or "unknown by now"
        )
        hint = (
            "compare the one seen with `openssl x509 -in /etc/pve/local/pve-ssl.pem -noout "
            "-fingerprint -sha256` on the node itself; only if they agree set "
            "BACKUPSVC_PVE__FINGERPRINT to it"
        )
        if host.trust.pin:
            return PveCertificateRefused(
                f"{host} shows a certificate with fingerprint {seen}, pinned is "
                f"{trust.shown(host.trust.pin)}; nothing was sent",
                hint,
            )
        why = (
            found[1]
            if (found := re.search(r"certificate verify failed: ([^(]+?)\s*\(", text))
            else "not trusted"
        )
        return PveCertificateRefused(
            f"the certificate of {host} is refused ({why}); its fingerprint is {seen}; nothing "
            "was sent",
            "set BACKUPSVC_PVE__CA_FILE to a copy of the cluster's /etc/pve/pve-root-ca.pem, or: "
            f"{hint}",
        )


def encoded(params: Mapping[str, Value]) -> dict[str, Any]:
    """Given parameters, return them as PVE takes them: booleans as 1 and 0, absent ones left out
    (pve-facts 1.2).

    Raise LawRefused if one of them would overrule a guest's protection or lock (law 1).
    """
    if refused := NEVER_SENT & params.keys():
        raise LawRefused(1, f"{', '.join(sorted(refused))} is never sent to PVE")
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in params.items()
        if value is not None
    }


def _refuse_redirect(response: requests.Response, *args: Any, **kwargs: Any) -> None:
    """Given an answer that points elsewhere, refuse it: the token goes nowhere else (proxmoxer
    would return None).
    """
    if 300 <= response.status_code < 400:
        raise PveError(
            f"{response.url.partition('/api2')[0]} points elsewhere ({response.status_code}), "
            "which Proxmox VE does not do",
            "is BACKUPSVC_PVE__HOST the API of a Proxmox VE node (host:8006)?",
            status=response.status_code,
        )
