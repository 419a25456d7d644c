"""What of a cluster's configuration may be kept in plain text: no password, key, token, and nothing
that follows a word which may announce one.
"""

from __future__ import annotations

import re

LEFT_OUT = "<left out>"

_SECRET = (
    r"pass(?!thr|ed\b|ing\b|es\b|ive)|passwor|kennwort|mot[ _-]de[ _-]passe|\bmdp\b|secret|token"
    r"|credential|identifiants?\b|psk|bindpw|\bpwd?\b|keyring|(?:encryption|private|client|api)[ _-]?key"
    r"|(?:^|[^a-z])keys?\b|(?:^|[^a-z])pin\b|community(?=\s*[:=]|$)|authorization|bearer"
)
_NAMES = re.compile(_SECRET, re.IGNORECASE)
# the name before a `=` within a value: a property string, mount options
_NAMED = re.compile(r"[\w.-]+(?=\s*=)")
# user:password@ of a URL; greedy, as a password may hold an @
_OF_URL = re.compile(r"://\S*@")
# user@realm!name=secret, as PVE shows a token once
_OF_TOKEN = re.compile(r"(![\w.-]+)[=:]\S+")
_PEM = re.compile(r"-----BEGIN.*", re.DOTALL)
# public, though their names sound otherwise
_PUBLIC = frozenset({"sshkeys", "pre-enrolled-keys", "no-key-sharing"})


def secret_name(name: str) -> bool:
    """Given the name of a field, return whether its value may be a secret."""
    if name in _PUBLIC:
        return False
    return name.lower().endswith(("key", "keys")) or _NAMES.search(name) is not None


def within(value: str) -> str:
    """Given a value that has a form of PVE's, return it without a URL's password, a token's secret,
    a key in PEM, and up to the first option whose name says that it is a secret: what follows such
    a one may still belong to it.
    """
    for found in _NAMED.finditer(value):
        if secret_name(found[0]):
            return f"{_anywhere(value[: found.end()])}={LEFT_OUT}"
    return _anywhere(value)


def free(text: str) -> str:
    """Given what a person wrote, return it up to the first word that may announce a secret. Where
    such a secret ends nobody can tell: it may stand on the next line, or in a table below.
    """
    found = _NAMES.search(text)
    if found is None or not text[found.end() :].strip():
        return _anywhere(text)
    return f"{_anywhere(text[: found.end()])} {LEFT_OUT}"


def _anywhere(text: str) -> str:
    found = _OF_URL.sub(f"://{LEFT_OUT}@", text)
    return _PEM.sub(LEFT_OUT, _OF_TOKEN.sub(rf"\1={LEFT_OUT}", found))
