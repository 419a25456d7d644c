"""The check ``ldap`` against a real slapd, and against servers that are none."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pyasn1_modules import rfc2251

from backupsvc.checks.ldap import MAX_ANSWER, NotLdap, _search, request
from policies.model import Outcome
from tests.fakes.tls import make_certificate
from tests.slapd import BASE, Directory, private_slapd

from .test_checks import run, talking


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    chain = make_certificate(
        tmp_path_factory.mktemp("tls"), names=("dc.example.test",), address="127.0.0.1"
    ).chain
    with private_slapd(certificate=chain) as found:
        yield found


# --- a real directory server ----------------------------------------------------------------------


def test_a_directory_server_answers_a_search_with_what_it_serves(directory: Directory) -> None:
    result = run("ldap", port=directory.port)
    assert (result.outcome, result.kind) == (Outcome.PASSED, "ldap")
    assert result.detail == f"ldap://127.0.0.1:{directory.port} answers a search: it serves {BASE}"


def test_over_tls_its_certificate_is_told(directory: Directory) -> None:
    result = run("ldap", port=directory.secure, tls=True)
    assert result.outcome is Outcome.PASSED and result.detail.startswith(
        f"ldaps://127.0.0.1:{directory.secure} answers"
    )
    assert "(certificate of CN=" in result.detail and "valid until" in result.detail


def test_tls_on_the_plain_port_and_a_plain_search_on_that_of_tls_fail(directory: Directory) -> None:
    assert run("ldap", port=directory.port, tls=True).outcome is Outcome.FAILED
    assert run("ldap", port=directory.secure).outcome is Outcome.FAILED


@pytest.mark.parametrize("base", [BASE, "DC=Example, DC=Test"])
def test_the_directory_that_is_wanted_is_known_in_any_spelling(
    directory: Directory, base: str
) -> None:
    assert run("ldap", port=directory.port, base=base).outcome is Outcome.PASSED


def test_a_server_of_another_directory_fails(directory: Directory) -> None:
    result = run("ldap", port=directory.port, base="dc=langeo,dc=lan")
    assert (
        result.outcome is Outcome.FAILED and f"serves {BASE}, not dc=langeo,dc=lan" in result.detail
    )


def test_a_server_without_any_directory_fails_though_it_answers() -> None:
    with private_slapd(database=False) as empty:
        result = run("ldap", port=empty.port)
    assert result.outcome is Outcome.FAILED and "serves no directory" in result.detail


def test_a_server_that_refuses_the_search_fails_with_its_own_words() -> None:
    with private_slapd(closed=True) as closed:
        result = run("ldap", port=closed.port)
    assert result.outcome is Outcome.FAILED
    assert "refuses the search: unwillingToPerform (53): authentication required" in result.detail


def test_a_server_that_is_stopped_fails() -> None:
    with private_slapd() as stopped:
        pass
    result = run("ldap", port=stopped.port)
    assert result.outcome is Outcome.FAILED and "Connection refused" in result.detail


# --- others ---------------------------------------------------------------------------------------


def message(operation: str, number: int = 1, **values: Any) -> bytes:
    """An answer of a server: ``operation`` with its values."""
    made = rfc2251.LDAPMessage()
    made["messageID"] = number
    body = made["protocolOp"][operation]
    for name, value in values.items():
        body[name] = value
    encoded: bytes = encoder.encode(made)
    return encoded


def entry(name: str = "namingContexts", *values: str) -> bytes:
    made = rfc2251.LDAPMessage()
    made["messageID"] = 1
    body = made["protocolOp"]["searchResEntry"]
    body["objectName"] = ""
    body["attributes"][0]["type"] = name
    for number, value in enumerate(values):
        body["attributes"][0]["vals"][number] = value
    if not values:
        body["attributes"][0]["vals"].clear()
    encoded: bytes = encoder.encode(made)
    return encoded


def done(code: str = "success", text: str = "", number: int = 1) -> bytes:
    return message("searchResDone", number, resultCode=code, matchedDN="", errorMessage=text)


def answering(said: bytes) -> Any:
    def answer(peer: socket.socket) -> None:
        peer.recv(1024)
        peer.sendall(said)

    return talking(answer)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "it said nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer in LDAP: 'HT'"),
        (b"SSH-2.0-dropbear\r\n", "does not answer in LDAP"),
        # canned bytes of another answer
        (bytes.fromhex("300c02010161070a010004000400"), "answers a search with bindResponse"),
        (done()[:-3], "ends in the middle"),
        (b"\x30\x80\x02\x01\x01\x00\x00", "does not answer in LDAP"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "announces a length of 5 bytes"),
        (b"\x30\x84\x7f\xff\xff\xff", f"longer than {MAX_ANSWER} bytes"),
        (b"\x30\x03\x02\x01\x01", "does not answer in LDAP"),
        (b"\x30\x00", "does not answer in LDAP"),
        (done(), "serves no directory"),
        (entry() + done(), "serves no directory"),
        (entry("namingContexts", "") + done(), "serves no directory"),
        (entry("namingContexts", BASE), "ends in the middle|said nothing"),
        (
            entry("namingContexts", BASE) + done("busy", "starting up"),
            r"refuses the search: busy \(51\): starting up",
        ),
        (entry("namingContexts", BASE) + done(number=2), "answers another request"),
        (
            message(
                "extendedResp",
                0,
                resultCode="unavailable",
                matchedDN="",
                errorMessage="shutting down",
            ),
            r"ends the connection: unavailable \(52\): shutting down",
        ),
    ],
)
def test_what_is_no_good_answer_fails_and_is_told(said: bytes, told: str) -> None:
    with answering(said) as port:
        result = run("ldap", port=port)
    assert result.outcome is Outcome.FAILED
    assert re.search(told, result.detail), result.detail
    assert result.detail.isprintable()


def test_an_answer_of_which_the_directory_names_its_service_is_told_with_it() -> None:
    said = (
        entry("namingContexts", BASE, "cn=a", "cn=b", "cn=c", "cn=d")
        + entry("LDAPSERVICENAME", "lan:dc$@LAN")
        + done()
    )
    with answering(said) as port:
        result = run("ldap", port=port)
    assert result.outcome is Outcome.PASSED and result.detail.endswith(
        "serves dc=example,dc=test, cn=a, cn=b, cn=c as lan:dc$@LAN"
    )


def test_entries_without_end_are_read_to_a_limit() -> None:
    one = entry("namingContexts", "x" * 1000)

    def flood(peer: socket.socket) -> None:
        peer.recv(1024)
        with contextlib.suppress(OSError):
            while True:
                peer.sendall(one)

    with talking(flood) as port:
        result = run("ldap", port=port)
    assert result.outcome is Outcome.FAILED and "longer than" in result.detail


def test_an_answer_that_drips_is_given_up_at_the_deadline() -> None:
    def drip(peer: socket.socket) -> None:
        peer.recv(1024)
        for byte in entry("namingContexts", "x" * 100):
            peer.sendall(bytes([byte]))
            time.sleep(1)

    with talking(drip) as port:
        started = time.monotonic()
        result = run("ldap", timeout=1, port=port)
    assert result.outcome is Outcome.FAILED and "no answer within 1 s" in result.detail
    assert time.monotonic() - started < 100, "the answer would drip for minutes"


class Wire:
    """A connection on which all that a server says has come already."""

    def __init__(self, said: bytes) -> None:
        self._left = said

    def recv(self, count: int) -> bytes:
        piece, self._left = self._left[:count], self._left[count:]
        return piece


NESTED = st.integers(1, 3000).map(lambda depth: b"\x30\x80" * depth + b"\0\0" * depth)


@given(st.one_of(st.binary(max_size=300), NESTED))
def test_whatever_stands_in_a_message_is_an_answer_or_no_ldap(body: bytes) -> None:
    size = len(body).to_bytes(4, "big")
    with contextlib.suppress(NotLdap):
        _search(Wire(b"\x30\x84" + size + body))  # type: ignore[arg-type]


@given(st.data())
def test_a_good_answer_with_any_byte_changed_is_an_answer_or_no_ldap(data: st.DataObject) -> None:
    said = bytearray(entry("namingContexts", BASE) + done())
    said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotLdap):
        _search(Wire(bytes(said)))  # type: ignore[arg-type]


def test_the_search_asks_for_the_root_entry_alone() -> None:
    asked = decoder.decode(request(), asn1Spec=rfc2251.LDAPMessage())[0]["protocolOp"][
        "searchRequest"
    ]
    assert (str(asked["baseObject"]), int(asked["scope"]), str(asked["filter"]["present"])) == (
        "",
        0,
        "objectClass",
    )
    assert [str(name) for name in asked["attributes"]] == ["namingContexts", "ldapServiceName"]
    assert Path("/usr/sbin/slapd").exists(), "run `make setup`"
