"""Certificates for a test's own listener on 127.0.0.1, valid from and to when the test says."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from migd_controller.config import HttpSection


@dataclass(frozen=True, slots=True)
class Pair:
    """A self-signed certificate and its key, in PEM files."""

    certificate: Path
    key: Path

    @property
    def section(self) -> HttpSection:
        """Return the section of a controller that shows this certificate."""
        return HttpSection(listen="127.0.0.1:0", certificate_file=self.certificate, key_file=self.key)


def pair(folder: Path, *, days_left: float = 90.0, address: str = "127.0.0.1") -> Pair:
    """Write a certificate that ends in so many days, over the one that was there."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "controller")])
    end = datetime.now(UTC) + timedelta(days=days_left)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=365))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = Pair(folder / "controller.pem", folder / "controller.key")
    written.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    written.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return written
