"""migd itself on a lab: `migd-xapi` in front of the nodes' Dom0s, and the controller that migrates through it."""

import json
import os
from pathlib import Path
from typing import Final

from migd_lab.addresses import CONTROLLER
from migd_lab.lab import TELEMETRY_PORT, Lab

_PASSWORD: Final = "migd"
_HOSTS: Final = """\
name = "lab"
coordinator = "node1"
users = [{{ name = "root", password = {password} }}]
migrate = ["xl", "-v", "migrate", "-s", "/lab/connect.py"]
ssh_options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
migration_bytes_per_s = 12e6
timeout_s = 60.0
poll_s = 6.0
down_after_s = 90.0
"""
_HOST: Final = """\

[[hosts]]
name = {name}
uuid = {uuid}
address = {address}
identity = {identity}
"""
# A migration takes seconds here and the lab lives for minutes, so what guards against going to and fro is shortened.
# The bandwidth is what `xl migrate` was seen to copy under emulation.
_CONTROLLER: Final = """\
state_dir = {state}
socket = {socket}
period_s = 2.0

[telemetry]
listen = {listen}
secret_key_file = {secret}
agents_file = {agents}
stale_after_s = 20.0

[xapi]
url = {url}
username = "root"
password_file = {password_file}

[guards]
cooldown_s = 60.0
retry_after_s = 60.0
max_concurrent = 1

[ledger]
life_at_least_s = 600.0
bandwidth_bytes_per_s = {bandwidth}
"""
BANDWIDTH_BYTES_PER_S: Final = 15e6


def start_migd(lab: Lab) -> None:
    """Start both daemons and wait until they are ready. Raises LabError."""
    hosts = lab.folder / "hosts.toml"
    _write(
        hosts,
        _HOSTS.format(password=_toml(_PASSWORD))
        + "".join(
            _HOST.format(
                name=_toml(node.name),
                uuid=_toml(node.uuid),
                address=_toml(node.address),
                identity=_toml(lab.folder / "key"),
            )
            for node in lab.nodes
        ),
    )
    lab.xapi.start("migd_xapi", "--backend", "xl", "--hosts", hosts, "--state", lab.folder / "xapi")
    url = json.loads(lab.xapi.says('"ready"', timeout_s=120))["url"]
    password_file = lab.folder / "xapi.password"
    _write(password_file, f"{_PASSWORD}\n")
    config = lab.folder / "controller.toml"
    _write(
        config,
        _CONTROLLER.format(
            state=_toml(lab.folder / "state"),
            socket=_toml(lab.socket),
            listen=_toml(f"tcp://{CONTROLLER}:{TELEMETRY_PORT}"),
            secret=_toml(lab.folder / "controller.key_secret"),
            agents=_toml(lab.folder / "agents.toml"),
            url=_toml(url),
            password_file=_toml(password_file),
            bandwidth=BANDWIDTH_BYTES_PER_S,
        ),
    )
    lab.controller.start("migd_controller", "--config", config)
    lab.controller.says("controller ready")


def _write(file: Path, text: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


def _toml(value: str | Path) -> str:
    """A TOML basic string is written like a JSON string."""
    return json.dumps(str(value), ensure_ascii=False)
