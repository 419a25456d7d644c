"""The cluster's certificate authority, the nodes' certificates and that of the lab's own port, made
anew for every lab.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=730)


@dataclass(frozen=True)
class Certificates:
    """Files under ``etc/pve`` as PVE names them, and the certificate's SHA-256 fingerprint in PVE's
    notation.
    """

    ca_file: Path
    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, upper-case hex in pairs with colons."""
        der = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


@dataclass(frozen=True)
class _Authority:
    """What signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure(etc: Path, names: Iterable[str], node: str = "") -> Certificates:
    """Given the lab's ``etc/pve`` and the host names and addresses to certify, return the
    certificates, made when missing.

    They are ``node``'s, or those of the lab's own port; one authority signs all of them.
    """
    folder = etc / "nodes" / node if node else etc / "local"
    found = Certificates(etc / "pve-root-ca.pem", folder / "pve-ssl.pem", folder / "pve-ssl.key")
    authority_key = etc / "priv" / "pve-root-ca.key"
    # a lab of a time when the authority's key was not kept gets a new one, and with it a new
    # certificate
    if found.key.is_file() and authority_key.is_file():
        return found
    authority, certified = _authority(found.ca_file, authority_key), list(names)
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), authority.key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certified[0])])
    alternatives: list[x509.GeneralName] = []
    for name in certified:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    server = (
        _builder(subject, authority.certificate.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write_key(found.key, key)
    found.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    return found


def _authority(ca_file: Path, key_file: Path) -> _Authority:
    if key_file.is_file():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_file} holds no key of an elliptic curve")
        return _Authority(x509.load_pem_x509_certificate(ca_file.read_bytes()), key)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lab Cluster Root CA")])
    ca_usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_usage, critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    ca_file.parent.mkdir(parents=True, exist_ok=True)
    ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    _write_key(key_file, ca_key)
    return _Authority(authority, ca_key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
    )
