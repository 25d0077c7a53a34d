"""What a browser shows after it has logged in with a token: a cookie that says whose it is and until when.

The cookie holds no token. It is signed with a key of this controller, kept for its owner alone, and with the token's
hash: it outlives a restart, and ends with its token, with its own time, or with that key.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from migd_controller.http.tokens import Token
from migd_core.errors import MigdError

COOKIE: Final = "migd_session"
LASTS_S: Final = 12 * 3600.0
_KEY_BYTES: Final = 32


class Sessions:
    """Makes and reads the cookies of one controller."""

    def __init__(self, key_file: Path) -> None:
        """Read the key, or make one. Raises MigdError."""
        try:
            if not key_file.exists():
                descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(_KEY_BYTES))
            self._key = key_file.read_bytes()
        except OSError as error:
            raise MigdError(
                f"{key_file}: cannot be used: {error.strerror}; check its folder's owner and mode"
            ) from error
        if len(self._key) != _KEY_BYTES:
            raise MigdError(
                f"{key_file}: expected {_KEY_BYTES} bytes, found {len(self._key)}; remove it, then browsers log in anew"
            )

    def cookie(self, name: str, token: Token, now_s: float) -> tuple[str, float]:
        """Return a cookie for the token of that name, and when it ends (Unix time)."""
        ends_at = float(int(now_s + LASTS_S if token.expires_at is None else min(now_s + LASTS_S, token.expires_at)))
        return f"{name}:{ends_at:.0f}:{self._signature(name, ends_at, token)}", ends_at

    def of(self, cookie: str, tokens: Mapping[str, Token], now_s: float) -> tuple[str, Token, float] | None:
        """Return name and token that a cookie stands for, and when it ends; None where it counts no more."""
        name, _, rest = cookie.partition(":")
        ends, _, signature = rest.partition(":")
        token = tokens.get(name)
        if token is None or not (ends.isascii() and ends.isdigit() and len(ends) < 16):
            return None
        expected = self._signature(name, float(ends), token)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="surrogatepass")):
            return None
        return None if now_s >= float(ends) else (name, token, float(ends))

    def _signature(self, name: str, ends_at: float, token: Token) -> str:
        return hmac.new(self._key, f"{name}:{ends_at:.0f}:{token.sha256}".encode(), hashlib.sha256).hexdigest()
