"""The configuration files of the demo's controller and agents, as text. Pure: values in, TOML out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A cluster thirty times faster makes thirty times shorter migrations; the controller's clocks are set to match, so that
# a demo of a minute shows what takes half an hour on real hosts.
CONTROLLER: Final = """\
state_dir = {state_dir}
socket = {socket}
socket_mode = "0600"
period_s = 1.0

[telemetry]
listen = "tcp://127.0.0.1:*"
secret_key_file = {secret_key_file}
agents_file = {agents_file}

[http]
listen = "127.0.0.1:0"

[xapi]
url = {url}
username = "root"
password_file = {password_file}

[policy]
name = "least-loaded"

[policy.config]
sustained_periods = 6

[guards]
cooldown_s = 20.0

[probe]
guest_time_ratio = 1.0
apart_s = 10.0
first_age_s = 0.01
window_at_least_s = 2.5
window_at_most_s = 2.5

[ledger]
life_at_least_s = 600.0
warm_up_s = 0.1

[topology.links.same-host]
bandwidth_bytes_per_s = 1.8e9

[topology.links.same-switch]
bandwidth_bytes_per_s = 3.3e9
"""

AGENT: Final = """\
[controller]
endpoint = {endpoint}
lease_endpoint = {lease_endpoint}
public_key_file = {public_key_file}
secret_key_file = {secret_key_file}

[measure]
period_s = 0.5
host_uuid = {host_uuid}

[measure.guests]
source = "sim"
url = {control}
"""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the controller takes samples, where leases to probe guests come from, and where its page is."""

    telemetry: str
    leases: str
    page: str


@dataclass(frozen=True, slots=True)
class Files:
    """Where the demo keeps what; all of it goes with the folder."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "controller.sock"

    @property
    def password(self) -> Path:
        return self.folder / "xapi.password"

    @property
    def agents(self) -> Path:
        return self.folder / "agents.toml"

    def public_key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def secret_key(self, name: str) -> Path:
        return self.folder / f"{name}.key_secret"

    def config(self, name: str) -> Path:
        return self.folder / f"{name}.toml"


def controller_toml(files: Files, url: str) -> str:
    """Return the controller's configuration; `url` is the pool's."""
    return CONTROLLER.format_map(
        _quoted(
            state_dir=files.folder / "state",
            socket=files.socket,
            secret_key_file=files.secret_key("controller"),
            agents_file=files.agents,
            url=url,
            password_file=files.password,
        )
    )


def agent_toml(files: Files, name: str, host_uuid: str, endpoints: Endpoints, control: str) -> str:
    """Return the configuration of the agent `name`; `control` is the emulated pool's endpoint."""
    return AGENT.format_map(
        _quoted(
            endpoint=endpoints.telemetry,
            lease_endpoint=endpoints.leases,
            public_key_file=files.public_key("controller"),
            secret_key_file=files.secret_key(name),
            host_uuid=host_uuid,
            control=control,
        )
    )


def agents_toml(public_keys: Mapping[str, str]) -> str:
    """Return the list of agents that the controller lets in: a public key for each host's uuid."""
    return "[agents]\n" + "".join(f"{json.dumps(uuid)} = {json.dumps(key)}\n" for uuid, key in public_keys.items())


def _quoted(**values: object) -> Mapping[str, str]:
    """A TOML basic string is written like a JSON string."""
    return {name: json.dumps(str(value)) for name, value in values.items()}
