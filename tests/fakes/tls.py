"""Certificates as a node of Proxmox VE has one."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """A leaf signed by a CA of its own: ``chain`` holds certificate and key, ``ca`` the CA
    alone.
    """

    chain: Path
    ca: Path
    fingerprint: str


def make_certificate(
    directory: Path, *, names: tuple[str, ...] = ("localhost",), address: str = "127.0.0.1"
) -> Certificate:
    """Given a directory, write a CA and a server certificate as PVE makes them (a CA of the
    cluster, a leaf of the node).
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cluster Manager CA")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve.test")])
    ca = _sign(issuer, issuer, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    alternative = [
        *(x509.DNSName(name) for name in names),
        x509.IPAddress(ipaddress.ip_address(address)),
    ]
    leaf = _sign(
        subject, issuer, key, ca_key, x509.BasicConstraints(ca=False, path_length=None), alternative
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "chain.pem").write_bytes(private + leaf.public_bytes(pem))
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    digest = hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    shown = ":".join(digest[i : i + 2] for i in range(0, 64, 2))
    return Certificate(directory / "chain.pem", directory / "ca.pem", shown)


def _sign(
    subject: Any,
    issuer: Any,
    key: Any,
    signer: Any,
    basic: Any,
    alternative: list[Any] | None = None,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(basic, critical=True)
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(signer, hashes.SHA256())
