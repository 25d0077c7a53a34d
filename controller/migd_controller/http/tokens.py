"""Who is let in over TCP: tokens by name with a role, in one TOML file that holds their hashes only.

A token is 256 random bits, so one SHA-256 of it is as hard to turn round as any slower hash. The file is read again
when it changes; while it cannot be read, nobody is let in.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from migd_core import config
from migd_core.api import Role
from migd_core.errors import ConfigError, MigdError, Refused, UnknownName

log = structlog.get_logger()
PREFIX: Final = "migd_"  # what scanners for leaked secrets can look for
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
MAX_TOKENS: Final = 256


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a token. Times are Unix time in seconds."""

    role: Role
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: float = 0.0
    expires_at: float | None = None

    def has_expired(self, now_s: float) -> bool:
        """True once its time is over."""
        return self.expires_at is not None and now_s >= self.expires_at


class TokensFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's one section."""

    tokens: dict[str, Token] = {}


class Tokens:
    """The list of tokens in one file. Every question reads it again if it has changed."""

    def __init__(self, path: Path) -> None:
        """Read the file; where there is none yet, nobody is let in. Raises ConfigError."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: Mapping[str, Token] = {}
        self.problem = ""
        self._refresh()
        if self.problem:
            raise ConfigError(self.problem)

    def all(self) -> Mapping[str, Token]:
        """Return every token by its name, those that have expired too; none while the file cannot be read."""
        self._refresh()
        return self._tokens

    def readable(self) -> Mapping[str, Token]:
        """Return every token by its name. Raises ConfigError where the file cannot be read."""
        tokens = self.all()
        if self.problem:
            raise ConfigError(self.problem)
        return tokens

    def of(self, secret: str) -> tuple[str, Token] | None:
        """Return name and entry of a token, expired or not; every entry is compared, in constant time."""
        digest = _digest(secret)
        found = None
        for name, token in self.all().items():
            if hmac.compare_digest(digest, token.sha256):
                found = (name, token)
        return found

    def new(self, name: str, role: Role, now_s: float, expires_at: float | None = None) -> str:
        """Add a token and return it; nobody can tell it again. Raises Refused, ConfigError, MigdError."""
        if not NAME.fullmatch(name):
            raise Refused(f"name: expected up to 64 letters, digits and . _ @ -, found {name!r}")
        if expires_at is not None and expires_at <= now_s:
            raise Refused("the token would have expired already; give a time that is to come")
        tokens = dict(self.readable())
        if name in tokens:
            raise Refused(f"there is a token {name} already; `migctl token revoke {name}` takes it away")
        if len(tokens) >= MAX_TOKENS:
            raise Refused(f"there are {len(tokens)} tokens, which is the most; revoke those that nobody uses")
        secret = PREFIX + secrets.token_urlsafe(32)
        entry = Token(role=role, sha256=_digest(secret), created_at=now_s, expires_at=expires_at)
        self._write({**tokens, name: entry})
        return secret

    def revoke(self, name: str) -> Token:
        """Take a token away and return what was kept of it. Raises UnknownName, ConfigError, MigdError."""
        tokens = dict(self.readable())
        if (token := tokens.pop(name, None)) is None:
            known = ", ".join(sorted(tokens)) or "there are none"
            raise UnknownName(f"no token is called {name}; known tokens: {known}")
        self._write(tokens)
        return token

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            self._tokens, self._stamp, self.problem = {}, None, ""
            return
        except OSError as error:
            self._refuse_all(f"{self._path}: cannot be read: {error.strerror}; check its owner and mode", None)
            return
        if stamp == self._stamp:
            return
        try:
            self._tokens = config.load(self._path, TokensFile).tokens
        except ConfigError as error:
            self._refuse_all(str(error), stamp)
            return
        self._stamp, self.problem = stamp, ""

    def _refuse_all(self, problem: str, stamp: tuple[int, int, int] | None) -> None:
        if problem != self.problem:
            log.error("nobody is let in over TCP", why=problem)
        self._tokens, self._stamp, self.problem = {}, stamp, problem

    def _write(self, tokens: Mapping[str, Token]) -> None:
        """Put a new file in the place of the old one, on disk before it counts."""
        lines = [
            "# Who may use migd's API over TCP. Tokens are kept as SHA-256; `migctl token` makes and revokes them."
        ]
        for name, token in sorted(tokens.items()):
            lines += [
                "",
                f"[tokens.{json.dumps(name, ensure_ascii=False)}]",  # a TOML basic string is written like a JSON string
                f'role = "{token.role.value}"',
                f'sha256 = "{token.sha256}"',
                f"created_at = {token.created_at!r}",
                *([f"expires_at = {token.expires_at!r}"] if token.expires_at is not None else []),
            ]
        try:
            descriptor, written = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # mkstemp makes it for its owner alone
                    file.write("\n".join(lines) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(written, self._path)
            except OSError:
                os.unlink(written)
                raise
        except OSError as error:
            raise MigdError(
                f"{self._path}: cannot be written: {error.strerror}; nothing has changed. Check the disk's free space, "
                "and owner and mode of the file's folder"
            ) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
