"""The public keys that copies are encrypted to: age's recipients of the kind X25519, as text
(``age1`` and 58 characters of Bech32).

Only public keys are read here. Of a text that holds a secret one nothing is ever repeated (law 7).
"""

from __future__ import annotations

import hashlib
import re

SECRET = re.compile(r"AGE-SECRET-KEY-|AGE-PLUGIN-", re.IGNORECASE)
ALLOWED = "an age recipient: age1 and 58 letters and digits, as `age-keygen` prints it"
_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_DIGITS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # Bech32's 32 digits, by value
_CHECK = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_HUMAN_PART = (3, 3, 3, 0, 1, 7, 5)  # "age", as the checksum counts it
_PRIME = 2**255 - 19
# points of low order (RFC 7748, 6.1): whatever is encrypted to one of them, everybody can read
_WEAK = (
    0,
    1,
    _PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


def holds_secret(text: str) -> bool:
    """Given a text, return whether something in it looks like an identity of age, a secret key."""
    return SECRET.search(text) is not None


def fault(recipient: str) -> str | None:
    """Given what should be a recipient, return why it is none, None if it is one."""
    if not _RECIPIENT.fullmatch(recipient):
        return "this is no age recipient"
    digits = [_DIGITS.index(one) for one in recipient[4:]]
    # Bech32's checksum: 1 is left of what nobody mistyped
    checksum = 1
    for value in (*_HUMAN_PART, *digits):
        top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, step in enumerate(_CHECK):
            checksum ^= step if top >> bit & 1 else 0
    if checksum != 1:
        return f"{recipient} is mistyped: its checksum does not fit"
    bits = 0
    for digit in digits[:-6]:
        bits = bits << 5 | digit
    if bits & 0b1111:  # 52 digits are 260 bits, a key has 256
        return f"{recipient} is no key: it has bits beyond its end"
    point = int.from_bytes((bits >> 4).to_bytes(32, "big"), "little") % 2**255 % _PRIME
    if point in _WEAK:
        return f"{recipient} is a weak key: everybody could read what is encrypted to it"
    return None


def fingerprint(recipient: str) -> str:
    """Given a recipient, return by which short name it is shown and remembered: 16 hex digits."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:16]
