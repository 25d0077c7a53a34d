"""The listener's certificate: taken up anew when its file changes, and what is wrong with it told in words."""

import ssl
import time
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from migd_core.errors import ConfigError
from migd_core.units import format_duration

log = structlog.get_logger()
TOLD_BEFORE_S: Final = 14 * 86400.0


class Certificate:
    """A certificate with its key, in PEM files."""

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        """Read both. Raises ConfigError; one that has expired is none, for the controller has more to do than this."""
        self._files = (certificate_file, key_file)
        self._refusal = ""
        self.expires_at = 0.0
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamp = self._stamps()
        self._load()
        if problem := self.problem(time.time()):
            log.warning("http certificate", why=problem)

    def refresh(self) -> None:
        """Read the files again if they changed; connections from then on get what they hold.

        A pair that cannot be used is told, and the one from before goes on.
        """
        try:
            if (stamp := self._stamps()) == self._stamp:
                return
            self._stamp = stamp
            self._load()
        except ConfigError as error:
            if str(error) != self._refusal:
                log.error("http certificate cannot be taken up", why=str(error))
            self._refusal = str(error)
            return
        self._refusal = ""
        log.info("http certificate taken up", problem=self.problem(time.time()) or None)

    def problem(self, now_s: float) -> str:
        """Say what is wrong, or will soon be; empty if nothing is."""
        if self._refusal:
            return self._refusal
        left_s, file = self.expires_at - now_s, self._files[0]
        mend = "put a new one in its place, which is taken up within a minute"
        if left_s <= 0:
            return f"the certificate {file} expired {format_duration(-left_s)} ago and browsers refuse it; {mend}"
        if left_s < TOLD_BEFORE_S:
            return f"the certificate {file} expires in {format_duration(left_s)}; {mend}"
        return ""

    def _load(self) -> None:
        certificate_file, key_file = self._files
        try:
            self.context.load_cert_chain(certificate_file, key_file, password=_no_passphrase)
            leaf = x509.load_pem_x509_certificates(certificate_file.read_bytes())[0]
        except (OSError, ValueError) as error:  # SSLError is an OSError too
            raise ConfigError(
                f"http.certificate_file {certificate_file} and http.key_file {key_file}: expected a certificate in PEM "
                f"and the key that belongs to it, without a passphrase; found: {error}"
            ) from error
        self.expires_at = leaf.not_valid_after_utc.timestamp()

    def _stamps(self) -> list[tuple[int, int, int]]:
        stamps = []
        for name, path in zip(("certificate_file", "key_file"), self._files, strict=True):
            try:
                with path.open("rb"):
                    status = path.stat()
            except OSError as error:
                raise ConfigError(
                    f"http.{name} {path}: cannot be read: {error.strerror}; check path and owner"
                ) from error
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return stamps


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, and nobody is there to be asked for it")
