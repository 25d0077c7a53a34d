"""A PostgreSQL server of the test's own: a cluster in a temporary folder, on a Unix socket and a loopback port.

The server refuses to run as root, so it runs as the user that its Debian package brings, or as whoever runs the tests.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

LIMIT_S = 30.0


def programs() -> Path:
    """Return the folder with initdb and postgres; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    if not found:
        pytest.skip("there is no PostgreSQL server here; as root: apt-get install postgresql-15")
    return found[-1].parent


class Postgresql:
    """One server; `start` after `kill` recovers what was committed."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        folder.chmod(0o755)
        self._databases = itertools.count(1)
        options = ("--auth=trust", "--username=migd", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        subprocess.run(
            [programs / "initdb", *options, f"--pgdata={self._data}"],
            check=True,
            capture_output=True,
            cwd=folder,
            **self._as_user(),
        )
        self.start()

    def _as_user(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Start the server; return once it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "shared_buffers": "8MB",
            "max_connections": 20,
            "fsync": "off",  # the processes die in these tests, the machine does not
            "synchronous_commit": "off",  # that migd asks for it nevertheless is tested
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    "-D",
                    self._data,
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as_user(),  # type: ignore[call-overload]
            )
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline_s, (self.folder / "log").read_text()
                time.sleep(0.05)

    def url(self, database: str) -> str:
        return f"postgresql://migd@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make a database that nobody has used; return its URL."""
        name = f"journal{next(self._databases)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def end(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End the server; SIGQUIT is its immediate shutdown, as if it had crashed."""
        self._process.send_signal(number)
        self._process.wait(LIMIT_S)


@contextlib.contextmanager
def postgresql_server() -> Iterator[Postgresql]:
    """A server that ends with the block. The test is skipped where there is none to be had."""
    found = programs()
    folder = Path(tempfile.mkdtemp(prefix="migd-postgresql-"))
    server = None
    try:
        server = Postgresql(folder, found)
        yield server
    finally:
        if server is not None:
            server.end()
        shutil.rmtree(folder)
