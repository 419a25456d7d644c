"""SSH keys in the two forms that the lab needs: OpenSSH's for the host side, Dropbear's for the guests."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 key: ``private`` as OpenSSH keeps it, ``dropbear`` as Dropbear does, ``public`` as ``ssh-ed25519 AAAA...``."""

    private: bytes
    dropbear: bytes
    public: str


def generate() -> KeyPair:
    """Return a new key pair."""
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        _string(b"ssh-ed25519") + _string(seed + point),
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    )


def _string(value: bytes) -> bytes:
    """SSH's string: length and bytes (RFC 4251, section 5)."""
    return struct.pack(">I", len(value)) + value
