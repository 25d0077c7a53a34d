"""The certificate that a pool shows to its clients: one that is given, or one that is made when it starts."""

import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from migd_core.errors import ConfigError

# Made anew at each start: long enough for any test bed, and a day back for clients whose clocks are behind.
VALID: Final = timedelta(days=365)
VALID_BEFORE: Final = timedelta(days=1)


@dataclass(frozen=True)
class ServerCertificate:
    """A certificate in PEM, and the context that serves with it and its key."""

    pem: str
    context: ssl.SSLContext

    @property
    def sha256(self) -> str:
        """Return the fingerprint as openssl prints it: `AB:CD:...`."""
        return x509.load_pem_x509_certificate(self.pem.encode()).fingerprint(hashes.SHA256()).hex(":").upper()


def load(certificate_file: Path, key_file: Path) -> ServerCertificate:
    """Return the certificate in PEM files, chain included. Raises ConfigError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate_file, key_file, password="")  # nobody is there to be asked for one
        chain = x509.load_pem_x509_certificates(certificate_file.read_bytes())
    except (OSError, ValueError) as error:  # SSLError is an OSError too
        raise ConfigError(
            f"xapi.tls: certificate {certificate_file} and key {key_file} cannot be used: {error}; "
            "expected PEM files that belong to each other"
        ) from error
    return ServerCertificate(chain[0].public_bytes(serialization.Encoding.PEM).decode(), context)


def generate(name: str, addresses: Iterable[str]) -> ServerCertificate:
    """Return a new certificate that holds for every address."""
    pem, key_pem = self_signed(name, addresses)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # OpenSSL reads keys from files only; this one is readable by its owner alone, and gone at once.
    with tempfile.NamedTemporaryFile(prefix="migd-xapi-") as file:
        file.write(pem + key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return ServerCertificate(pem.decode(), context)


def self_signed(name: str, addresses: Iterable[str]) -> tuple[bytes, bytes]:
    """Return a new certificate for the addresses, signed by its own key, and that key, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID_BEFORE)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([_general_name(address) for address in addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
