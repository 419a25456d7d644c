"""A directory server answers a search: it names the directories that it serves, in its root entry
(rootDSE).

The root entry can be read without a login on every server (RFC 4512, 5.1), Active Directory
included. A server that answers with
an error, or that serves no directory, has failed: its port is open, its database is not.
"""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc2251

from backupsvc.checks.kinds import PORT, Answer, Kind, Option, Target
from backupsvc.checks.wire import certificate, connection, printable, why
from policies.model import CheckSpec, Outcome

ATTRIBUTES = ("namingContexts", "ldapServiceName")
MAX_ANSWER = 64 * 1024  # bytes of a whole answer; a root entry has a few hundred
MESSAGE = 1  # the number of our request, which the answers to it bear
_SEQUENCE = 0x30
_SHOWN = 4  # of the directories that it serves
Entry = dict[str, list[bytes]]  # values by attribute, in lower case


class NotLdap(Exception):
    """What came is no answer in LDAP; the sentence says what it is."""


def ask(spec: CheckSpec, target: Target) -> Answer:
    """Given port (389, or 636 with tls) and base (any), read the root entry once; ``base`` must be
    a directory that it serves.
    """
    tls = bool(spec.options.get("tls", False))
    port = int(str(spec.options.get("port", 636 if tls else 389)))
    url = f"{'ldaps' if tls else 'ldap'}://{target.address}:{port}"
    try:
        with connection(target, port, spec.timeout, tls=tls) as wire:
            wire.sendall(request())
            shown = certificate(wire)
            entries, refusal = _search(wire)
    except OSError as error:
        return Outcome.FAILED, f"{url}: {why(error, spec.timeout)}"
    except NotLdap as error:
        return Outcome.FAILED, f"{url} does not answer in LDAP: {error}"
    served = [
        value.decode("utf-8", "replace")
        for entry in entries
        for value in entry.get("namingcontexts", ())
        if value
    ]
    told = ", ".join(printable(name.encode()) for name in served[:_SHOWN])
    base, outcome = str(spec.options.get("base", "")), Outcome.FAILED
    if refusal:
        detail = refusal
    elif not served:
        detail = "answers, but serves no directory: its root entry names none"
    elif base and _same(base) not in map(_same, served):
        detail = f"serves {told}, not {base}"
    else:
        outcome, detail = Outcome.PASSED, f"answers a search: it serves {told}"
        named = [value for entry in entries for value in entry.get("ldapservicename", ())]
        if named and named[0]:
            detail += f" as {printable(named[0])}"
    return outcome, f"{url} {detail}" + (f" ({shown})" if shown else "")


def request() -> bytes:
    """Return the search for the root entry: base "", scope base, every object, two attributes (RFC
    4511, 4.5.1).
    """
    message = rfc2251.LDAPMessage()
    message["messageID"] = MESSAGE
    search = message["protocolOp"]["searchRequest"]
    search["baseObject"], search["scope"], search["derefAliases"] = (
        "",
        "baseObject",
        "neverDerefAliases",
    )
    search["sizeLimit"], search["timeLimit"], search["typesOnly"] = 0, 0, False
    search["filter"]["present"] = "objectClass"
    for number, name in enumerate(ATTRIBUTES):
        search["attributes"][number] = name
    encoded: bytes = encoder.encode(message)
    return encoded


def _search(wire: socket.socket) -> tuple[list[Entry], str]:
    """Read to the end of the search. Return its entries, and why it was refused ("" if it was
    not).
    """
    entries: list[Entry] = []
    left = MAX_ANSWER
    while True:
        data = _message(wire, left)
        # of the whole answer, not of one message: a guest may send many small ones
        left -= len(data)
        try:
            message = decoder.decode(data, asn1Spec=rfc2251.LDAPMessage())[0]
        # pyasn1 raises any of these over bytes that are no BER, which a guest may send
        except (PyAsn1Error, ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            raise NotLdap(f"{printable(data)!r}") from None
        operation = message["protocolOp"]
        kind = operation.getName()
        # a notice of disconnection (RFC 4511, 4.4.1)
        if kind == "extendedResp" and int(message["messageID"]) == 0:
            return entries, f"ends the connection: {_result(operation[kind])}"
        if int(message["messageID"]) != MESSAGE:
            raise NotLdap("it answers another request than ours")
        if kind == "searchResDone":
            done = operation[kind]
            return entries, "" if int(
                done["resultCode"]
            ) == 0 else f"refuses the search: {_result(done)}"
        if kind == "searchResEntry":
            entry: Entry = defaultdict(list)
            for attribute in operation[kind]["attributes"]:
                values = [bytes(value) for value in attribute["vals"]]
                entry[str(attribute["type"]).lower()] += values
            entries.append(entry)
        elif kind != "searchResRef":
            raise NotLdap(f"it answers a search with {kind}")


def _message(wire: socket.socket, most: int) -> bytes:
    """One message: a sequence of definite length (RFC 4511, 5.1), which is looked at before its
    bytes are read.
    """
    head = _exactly(wire, 2, b"")
    if head[0] != _SEQUENCE or head[1] == 0x80:
        raise NotLdap(f"{printable(head)!r}")
    size = head[1]
    if size > 0x80:
        octets = size - 0x80
        if octets > 4:
            raise NotLdap(f"it announces a length of {octets} bytes")
        head = _exactly(wire, octets, head)
        # the long form: the first octet says how many tell the length (X.690, 8.1.3.5)
        size = int.from_bytes(head[2:], "big")
    if len(head) + size > most:
        raise NotLdap(f"its answer is longer than {MAX_ANSWER} bytes")
    return _exactly(wire, size, head)


def _exactly(wire: socket.socket, count: int, before: bytes) -> bytes:
    """Read ``count`` bytes more and return all."""
    wanted, said = len(before) + count, bytearray(before)
    while len(said) < wanted:
        piece = wire.recv(wanted - len(said))
        if not piece:
            raise NotLdap(
                f"it ends in the middle, after {printable(bytes(said))!r}"
                if said
                else "it said nothing"
            )
        said += piece
    return bytes(said)


def _result(answer: Any) -> str:
    """An LDAPResult in words: the code's name, its number and what the server adds."""
    code, said = answer["resultCode"], printable(bytes(answer["errorMessage"]))
    return f"{code.prettyPrint()} ({int(code)})" + (f": {said}" if said else "")


def _same(name: str) -> str:
    """A distinguished name in the form in which two are compared: case and blanks around separators
    do not matter.
    """
    return re.sub(r"\s*([,=+])\s*", r"\1", name.strip()).casefold()


_OPTIONS = {
    "port": PORT,
    "tls": Option(bool, "true or false"),
    "base": Option(str, "the name of a directory that it serves, such as dc=example,dc=com"),
}
KIND = Kind("ldap", ask, _OPTIONS)
