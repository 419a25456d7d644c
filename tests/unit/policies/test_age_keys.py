"""The public keys of age: what one looks like, and which everybody could open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from policies.age_keys import fault, fingerprint, holds_secret

GOOD = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"  # of age's own README
DIGITS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
PRIME = 2**255 - 19


def checksum(digits: list[int]) -> int:
    found = 1
    for value in (3, 3, 3, 0, 1, 7, 5, *digits):
        top, found = found >> 25, (found & 0x1FFFFFF) << 5 ^ value
        for bit, step in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            found ^= step if top >> bit & 1 else 0
    return found


def text(bits: int) -> str:
    """A recipient of these 260 bits with a checksum that fits."""
    digits = [bits >> 5 * at & 31 for at in range(51, -1, -1)]
    sum_ = checksum([*digits, 0, 0, 0, 0, 0, 0]) ^ 1
    digits += [sum_ >> 5 * (5 - at) & 31 for at in range(6)]
    return "age1" + "".join(DIGITS[one] for one in digits)


def of_point(point: int) -> str:
    return text(int.from_bytes(point.to_bytes(32, "little"), "big") << 4)


def test_a_recipient_that_age_made_is_one() -> None:
    assert fault(GOOD) is None
    for _ in range(50):
        assert fault(str(x25519.Identity.generate().to_public())) is None


@given(st.integers(0, 61), st.sampled_from(DIGITS))
def test_no_single_character_may_be_mistyped(at: int, other: str) -> None:
    wrong = GOOD[:at] + other + GOOD[at + 1 :]
    assert wrong == GOOD or fault(wrong) is not None


@pytest.mark.parametrize(
    "wrong", ["", "age1", GOOD.upper(), GOOD[:-1], f"{GOOD}q", f"{GOOD}\n", "age1" + "b" * 58]
)
def test_what_is_none_is_not_repeated(wrong: str) -> None:
    assert fault(wrong) == "this is no age recipient"


def test_what_has_a_fault_is_named() -> None:
    last = "q" if GOOD[-1] != "q" else "p"
    assert fault(GOOD[:-1] + last) == (f"{GOOD[:-1] + last} is mistyped: its checksum does not fit")
    beyond = text((9).to_bytes(32, "little")[0] << 256 - 4 | 1)
    assert "has bits beyond its end" in str(fault(beyond))


@pytest.mark.parametrize("high", [0, 1 << 255])
@pytest.mark.parametrize(
    "point",
    [
        0,
        1,
        PRIME - 1,
        PRIME,
        PRIME + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    ],
)
def test_a_key_to_which_everybody_could_read_is_refused(point: int, high: int) -> None:
    assert "is a weak key" in str(fault(of_point(point | high)))
    assert fault(of_point(9)) is None, "the base point is a key like any other"


def test_a_secret_is_seen_however_it_is_written() -> None:
    secret = str(x25519.Identity.generate())
    for line in (secret, secret.lower(), f"  - '{secret}' # mine", "AGE-PLUGIN-YUBIKEY-1Q"):
        assert holds_secret(line)
    assert not holds_secret(GOOD) and not holds_secret("")


def test_a_fingerprint_tells_keys_apart_and_is_short() -> None:
    assert len(fingerprint(GOOD)) == 16 and fingerprint(GOOD) == fingerprint(GOOD)
    assert fingerprint(GOOD) != fingerprint(of_point(9))
