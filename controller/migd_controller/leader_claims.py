"""How claims are written into the pool's database, and how the sessions in them are kept to the controllers.

A claim is one entry of `pool.other_config`, which everybody with a login may read. The handle of a session would let
any of them act in it, so it is sealed, with a key that is made of the secret key that the controllers have in common.
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from zmq.utils import z85

from migd_controller.leadership import Claim
from migd_core import keys, systemd

PREFIX: Final = "migd:leader:"
_PURPOSE: Final = b"migd leadership"
_NONCE_BYTES: Final = 12
_MOST_DIGITS: Final = 18


def key_of(number: int) -> str:
    """Return the key that a claim stands under."""
    return f"{PREFIX}{number}"


def text_of(claim: Claim) -> str:
    """Return what stands there."""
    return msgspec.json.encode(claim).decode()


def claims_in(entries: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims among the entries of `pool.other_config`.

    What cannot be read is somebody's all the same: a claim of nobody, which is waited for and then passed.
    """
    found = []
    for key, text in entries.items():
        number = key.removeprefix(PREFIX)
        if not key.startswith(PREFIX) or not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
            continue
        try:
            claim = msgspec.json.decode(text, type=Claim)
        except (msgspec.DecodeError, RecursionError):
            claim = Claim(number=0, seat="", life=text, attempt=0, lease_s=0.0)
        found.append(msgspec.structs.replace(claim, number=int(number)))
    return tuple(found)


class Seal:
    """Closes and opens what only the controllers of one secret key are to read."""

    def __init__(self, secret_key_file: Path) -> None:
        """Raises ConfigError."""
        _, secret = keys.read_secret(systemd.secret(secret_key_file))
        kept = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE)
        self._cipher = ChaCha20Poly1305(kept.derive(z85.decode(secret)))

    def closed(self, content: bytes) -> str:
        """Return the content sealed, as text."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, content, None)).decode()

    def opened(self, sealed: str) -> bytes | None:
        """Return the content; None where another key has sealed it, or nothing has."""
        try:
            kept = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):  # binascii.Error is one
            return None
