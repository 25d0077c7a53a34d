"""Dom0s that know only xl, played by files: what `ssh` and `xl` in tests/xapi/dom0 read, and the server before them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import XenAPI

from faulty_pool import until

FAKES = Path(__file__).parent / "dom0"
LIST = json.loads((FAKES / "xl-list-l.json").read_text())
UUIDS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
NAMES = ("node1", "node2")
GUEST = "d7ba3b6d-a829-43d0-81f2-5e3f01a1dba5"
HOST_REFUSES = "ssh: connect to host 192.168.77.2 port 22: Connection refused"


class Dom0s:
    """Two hosts, `node1` with the guest `d1`, and as many servers as a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[str]]()
        self.clients: list[Served] = []
        for name in NAMES:
            (folder / name).mkdir()
            (folder / name / "info.txt").write_text((FAKES / "xl-info.txt").read_text())
        self.reset()

    def reset(self) -> None:
        """Let the hosts be as they are when they are made; what is being migrated fails first."""
        self.let_migrations("the test has ended")
        until(lambda: not self._is_migrating())
        for name, domains in zip(NAMES, (LIST, LIST[:1]), strict=True):
            (self.folder / name / "refuses").unlink(missing_ok=True)
            for paused in (self.folder / name).glob("paused-*"):
                paused.unlink()
            self.put(name, domains)
        self.let_migrations("succeed")

    def let_migrations(self, how: str) -> None:
        """Let migrations `succeed`, `wait`, or fail with this as what xl says."""
        (self.folder / "migrations.new").write_text(how)
        (self.folder / "migrations.new").replace(self.folder / "migrations")

    def put(self, host: str, domains: Any) -> None:
        """Say what `xl list -l` prints from now on; text as it is."""
        new = self.folder / host / "list.new"
        new.write_text(domains if isinstance(domains, str) else json.dumps(domains))
        new.replace(self.folder / host / "list.json")

    def domains(self, host: str) -> list[str]:
        """Return the names of a host's guests."""
        text = (self.folder / host / "list.json").read_text()
        return [each["config"]["c_info"]["name"] for each in json.loads(text) if each["domid"] != 0]

    def refuse(self, host: str) -> None:
        (self.folder / host / "refuses").write_text(HOST_REFUSES + "\n")

    def answer(self, host: str) -> None:
        (self.folder / host / "refuses").unlink()

    def command(self, state: str = "state", **more: Any) -> list[str]:
        settings = {"poll_s": 0.2, "timeout_s": 5.0, "down_after_s": 1.0, "forget_after_s": 60.0, **more}
        lines = [f"{key} = {value}" for key, value in settings.items()]
        lines.append('users = [{ name = "root", password = "migd" }]')
        for name, uuid in zip(NAMES, UUIDS, strict=True):
            lines.append(f'[[hosts]]\nname = "{name}"\naddress = "{name}"\nuuid = "{uuid}"')
        file = self.folder / f"{state}.toml"
        file.write_text("\n".join(lines))
        arguments = ["--backend", "xl", "--hosts", str(file), "--state", str(self.folder / state)]
        return [sys.executable, "-m", "migd_xapi", *arguments, "--listen", "127.0.0.1:0", "--log-level", "error"]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DOM0S": str(self.folder),
            "PATH": f"{FAKES}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def serve(self, state: str = "state", **more: Any) -> "Served":
        """Start a server, and log in to it."""
        process = subprocess.Popen(
            self.command(state, **more), env=self.environment(), stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, "migd-xapi has not started; it says why on standard error"
        self.clients.append(Served(process, json.loads(ready)["url"]))
        return self.clients[-1]

    def close(self) -> None:
        self.let_migrations("the test has ended")
        for client in self.clients:
            client.session("close")()
        for process in self.processes:
            process.terminate()
            process.communicate(timeout=10)
        until(lambda: not self._is_migrating())

    def _is_migrating(self) -> bool:
        return any(not (each.parent / "code").exists() for each in self.folder.glob("*/run/*/request"))


class Served:
    """A server, and a client of it."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url
        self.session = XenAPI.Session(url)
        self.api = self.session.xenapi
        self.api.login_with_password("root", "migd", "1.0", "test")

    @property
    def vm(self) -> str:
        return str(self.api.VM.get_by_uuid(GUEST))

    def host(self, name: str) -> str:
        return str(self.api.host.get_by_name_label(name)[0])

    def is_live(self, name: str) -> bool:
        return bool(self.api.host_metrics.get_live(self.api.host.get_metrics(self.host(name))))

    def where(self) -> str:
        """Return the name of the guest's host, empty where it has none."""
        ref = self.api.VM.get_resident_on(self.vm)
        return "" if ref == "OpaqueRef:NULL" else str(self.api.host.get_name_label(ref))

    def is_at_rest(self) -> bool:
        """Return whether both hosts answer, and the guest runs where it is at first, with nothing under way."""
        vm = self.api.VM.get_record(self.vm)
        is_idle = (vm["power_state"], vm["current_operations"], self.where()) == ("Running", {}, "node1")
        return is_idle and all(self.is_live(name) for name in NAMES)

    def migrate(self, target: str = "node2") -> str:
        return str(self.api.Async.VM.pool_migrate(self.vm, self.host(target), {"live": "true"}))

    def ended(self, task: str) -> tuple[str, list[str]]:
        """Wait for a task's end; return its state and its failure."""
        until(lambda: self.api.task.get_status(task) != "pending")
        return self.api.task.get_status(task), self.api.task.get_error_info(task)
