"""Make a certificate for this machine, so that ``https://{domainName}/{stage}`` works here, too.

An authority is made with it, and its key thrown away once it has signed: nobody can sign anything
else that whoever trusts it would believe.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.httpsession import where
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "*.localhost", "*.execute-api.localhost", "127.0.0.1", "::1")
# What clients take at most: https://support.apple.com/en-us/103214
LIFETIME = timedelta(days=820)
# So that none ends while somebody works.
RENEWED_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """Hold where the files are.

    ``bundle`` is the authority and what was trusted before, for ``AWS_CA_BUNDLE``, which replaces
    what is trusted; ``authority`` alone is for ``NODE_EXTRA_CA_CERTS``, which adds to it.
    """

    chain: Path
    authority: Path
    bundle: Path

    def context(self) -> ssl.SSLContext:
        """Return what a server speaks TLS with."""
        return context(self.chain)


def default_folder() -> Path:
    """Return where the certificate of a user is kept."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "local-gateway"


def context(chain: str | Path, key: str | None = None) -> ssl.SSLContext:
    """Return a server's context with a certificate from files."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(chain, key)
    return made


def ensure(folder: Path, more_names: Sequence[str] = ()) -> Certificate:
    """Return the folder's certificate, made if there is none that is good for a while.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = Certificate(folder / "server.pem", folder / "authority.pem", folder / "ca-bundle.pem")
    names = (*NAMES, *more_names)
    with (folder / "lock").open("w") as lock:
        # Gateways may start at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_good(found, names):
            authority, chain = _make(names)
            _write(found.chain, chain, mode=0o600)
            _write(found.authority, authority)
            _write(found.bundle, authority + _trusted_before(found.bundle))
    return found


def _is_good(certificate: Certificate, names: Sequence[str]) -> bool:
    try:
        read = x509.load_pem_x509_certificate(certificate.chain.read_bytes())
        held = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return (
        certificate.bundle.exists()
        and certificate.authority.exists()
        and {str(each.value) for each in held} >= set(names)
        and read.not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE
    )


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    # Whole or not at all: others may be reading.
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    new.replace(path)


def _trusted_before(own: Path) -> bytes:
    before = os.environ.get("AWS_CA_BUNDLE")
    if not before or Path(before).resolve() == own.resolve():
        # Not the system's, which may be a folder: this is what the SDK trusts without the variable.
        before = where()
    try:
        return Path(before).read_bytes()
    except OSError:
        return b""


def _make(names: Sequence[str]) -> tuple[bytes, bytes]:
    """Return an authority's certificate, and a server's key and certificate, as PEM."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("local-gateway, for this machine only")
    now = datetime.now(UTC)
    of_authority = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def builder(
        subject: x509.Name, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            # Clocks differ, those of virtual machines more so.
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + LIFETIME)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_authority),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        builder(_name("local-gateway"), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return authority.public_bytes(pem), private + server.public_bytes(pem)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
