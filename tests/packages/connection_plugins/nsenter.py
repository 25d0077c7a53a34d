"""Lets Ansible reach a machine of these tests: `ansible_host` is the process id of its systemd."""

import subprocess
from typing import Any

from ansible.plugins.connection import ConnectionBase

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DOCUMENTATION = """
name: nsenter
short_description: machines that systemd-nspawn has booted
description: Runs commands in the namespaces of a process.
options:
  pid:
    description: the process
    vars:
      - name: ansible_host
"""


class Connection(ConnectionBase):  # type: ignore[misc, unused-ignore]
    """Commands and files by nsenter."""

    transport = "nsenter"
    has_pipelining = True

    def _connect(self) -> "Connection":
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._run(cmd, in_data or b"")
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        with open(in_path, "rb") as file:
            self._run(f"cat > '{out_path}'", file.read()).check_returncode()

    def fetch_file(self, in_path: str, out_path: str) -> None:
        with open(out_path, "wb") as file:
            file.write(self._run(f"cat '{in_path}'", b"").stdout)

    def close(self) -> None:
        self._connected = False

    def _run(self, command: str, data: bytes) -> "subprocess.CompletedProcess[bytes]":
        pid = self.get_option("pid")
        enter: list[Any] = [
            "nsenter",
            f"--target={pid}",
            "--all",
            "--root",
            "--wd=/",
            "env",
            "-i",
            "HOME=/root",
            f"PATH={_PATH}",
        ]
        return subprocess.run([*enter, "/bin/sh", "-c", command], input=data, capture_output=True, check=False)
