"""Everything of migd that reads what somebody else wrote, and how each says that it cannot."""

import json
import tempfile
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final
from xml.parsers.expat import ExpatError

import msgspec
import test_frames

from migd_agent.collectors import sim
from migd_agent.config import AgentConfig
from migd_agent.control_endpoint import Answer
from migd_agent.flows import FlowsUnreadable, bridge, openvswitch
from migd_agent.health import HealthUnreadable, edac, hwmon, ipmi, nics, smart
from migd_agent.identity import parse_inventory, parse_machine_id
from migd_agent.xen import xentop
from migd_agent.xen.log_dirty import StoodBack
from migd_agent.xen.reading import XenUnreadable
from migd_cli.client import RequestFailed, decode
from migd_cli.links.across import Endpoint
from migd_controller.config import ControllerConfig
from migd_controller.http import callers
from migd_controller.http.answers import decoded as decoded_body
from migd_controller.http.sessions import Sessions
from migd_controller.http.tokens import Token, TokensFile
from migd_controller.leader_claims import PREFIX, claims_in, text_of
from migd_controller.leadership import Claim
from migd_controller.pool_records import PoolMirror, UnreadableRecords, batch_of
from migd_controller.rrd import RrdError, sample_of
from migd_controller.slurm_drain import nodes
from migd_controller.slurm_hostlist import expanded
from migd_controller.slurm_jobs import SlurmProblem, decoded
from migd_controller.xapi_transport import Transport
from migd_core import config
from migd_core.agents_file import AgentsFile
from migd_core.api import JobRequest, Role, StatusView
from migd_core.decoding import UNDECODABLE
from migd_core.errors import ConfigError, FrameError
from migd_core.frames import decode_request, decode_sample, encode_request, encode_sample
from migd_core.messages import ProbeLease
from migd_core.progress import Progress
from migd_core.units import parse_duration
from migd_policies import rules
from migd_policies.allowed_hours import Window
from migd_xapi import addresses, filters
from migd_xapi.control import decoded_fault
from migd_xapi.database import Database
from migd_xapi.datamodel.types import type_of
from migd_xapi.events import Subscription, parse_token
from migd_xapi.failure import Failure
from migd_xapi.pool_file import PoolFile
from migd_xapi.wire import json_rpc, xml_rpc
from migd_xapi.xl import migrations
from migd_xapi.xl import text as xl_text
from migd_xapi.xl.hosts_file import HostsFile
from scripted_pool import backend_of

TESTS: Final = Path(__file__).parents[1]
ROOT: Final = TESTS.parent


@dataclass(frozen=True)
class Target:
    """A parser: the modules that it is of, what it may raise, and inputs that it takes."""

    modules: tuple[str, ...]
    parse: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode(errors="backslashreplace"))


def _in_part(
    parts: Callable[[bytes], list[bytes]], parse: Callable[[list[bytes]], object]
) -> Callable[[bytes], object]:
    return lambda data: parse(parts(data))


def _frames(data: bytes) -> list[bytes]:
    """A message is one line for each frame but the last."""
    return data.split(b"\n", 2)


def _message(frames: list[bytes]) -> bytes:
    return b"\n".join(frames)


def _files(*names: str) -> tuple[bytes, ...]:
    found = [TESTS / name for name in names]
    files = [each for path in found for each in (sorted(path.iterdir()) if path.is_dir() else [path])]
    assert files
    return tuple(file.read_bytes() for file in files)


def _configuration(type_: type[msgspec.Struct], *modules: str, seeds: tuple[bytes, ...]) -> Target:
    return Target(modules, _text(lambda text: config.parse(text, type_)), (ConfigError,), seeds)


CLAIM: Final = Claim(number=7, seat="a", life="b", attempt=1, lease_s=15.0, sessions=("c",))


def _claims(text: str) -> object:
    """The number and the text of one claim in the pool's database."""
    number, _, claim = text.partition("\n")
    return claims_in({PREFIX + number: claim})


def _screen(text: str) -> object:
    """Blocks as they come from the terminal, and what comes after the last whole one."""
    whole, rest = xentop.blocks(text)
    return [xentop.parse_block(each) for each in (*whole, rest)]


def _records(data: bytes) -> list[tuple[str, str]]:
    """Text in lines `name=value`."""
    return [line.partition("=")[::2] for line in data.decode(errors="replace").splitlines()]  # type: ignore[misc]


def _nics(data: bytes) -> object:
    return nics.parse({"eth0": dict(_records(data))})


def _edac(data: bytes) -> object:
    values = [value for _, value in _records(data)] + [""] * 6
    return edac.parse([edac.Files(*values[:6])])


def _answered(parse: Callable[[Answer], object]) -> Callable[[bytes], object]:
    """The first line is the status."""

    def call(data: bytes) -> object:
        status, _, body = data.partition(b"\n")
        return parse(Answer("http://pool/dom0/h", int(status) if status in (b"200", b"404", b"409") else 200, body))

    return call


class _Response(BytesIO):
    """An answer of the pool, as Transport reads one."""

    def getheader(self, name: str, default: str = "") -> str:
        return default


def _pool(data: bytes) -> object:
    """What the controller makes of the pool's answer to `event.from`."""
    transport = Transport()
    transport.verbose = False
    (answer,) = transport.parse_response(_Response(data))
    mirror = PoolMirror()
    token, events, counts = batch_of(answer["Value"] if isinstance(answer, dict) and "Value" in answer else answer)
    return token, mirror.apply(events), mirror.disagrees_with(counts), mirror.addresses, mirror.view()


def _pool_answer() -> bytes:
    import asyncio

    from migd_controller.pool_records import CLASSES
    from migd_xapi.events import events_from
    from migd_xapi.server import Server
    from migd_xapi.settings import Settings

    server = Server(backend_of(2, 2), "fuzzed", Settings())
    batch = asyncio.run(events_from(server.pool.db, Subscription.parse(CLASSES), "", 0.0, lambda: None))
    return xml_rpc.success(batch)


def _filter(text: str) -> object:
    """Parsing is half of it: what comes out is asked about a record."""
    row = Database().create("task", name_label="a", status="pending")
    return filters.parse(text)(row)


def _value(data: bytes) -> object:
    """What a client of the pool sends, taken for each type that a parameter may have."""
    value, found = msgspec.json.decode(data), []
    for name in (
        "string",
        "int",
        "bool",
        "float",
        "datetime",
        "string set",
        "int set",
        "(string -> string) map",
        "VM ref",
    ):
        try:
            found.append(type_of(name).accepted(value, "field"))
        except Failure as refusal:
            found.append(refusal.description)
    return found


def _headers(data: bytes) -> object:
    """Host, Origin and cookie of a request, a line each, as aiohttp reads bytes that are no UTF-8."""
    host, origin, cookie, *_ = [*data.decode(errors="surrogateescape").split("\n"), "", ""]
    with tempfile.TemporaryDirectory() as folder:
        sessions = Sessions(Path(folder) / "key")
        caller = sessions.of(cookie, {"a": Token(role=Role.VIEWER, sha256="0" * 64, created_at=0.0)}, 1.0)
    return callers.host_in(host), callers.is_from(origin, host), callers.printable(host + origin).encode(), caller


SAMPLE: Final = test_frames.SAMPLE
LEASE: Final = ProbeLease(
    lease="D1.p1", host_uuid="h1", guest_uuid="g1", boot_id="b", until_s=9.0, ages_s=(0.1, 1.0), sessions=1
)
CALL: Final = xmlrpc.client.dumps(
    ("s", {"a": [1, 2.5, True]}, xmlrpc.client.DateTime("20260101T00:00:00")), "VM.x"
).encode()
VALUES: Final = {
    "AVERAGE:host:h:cpu0": "1.0",
    "AVERAGE:host:h:memory_total_kib": "9",
    "AVERAGE:host:h:memory_free_kib": "3",
}
RRD: Final = json.dumps(
    {"meta": {"step": 5, "legend": list(VALUES)}, "data": [{"t": 5, "values": list(VALUES.values())}]}
).encode()
NFT: Final = json.dumps(
    {
        "nftables": [
            {"metainfo": {}},
            {"set": {"elem": [{"elem": {"val": {"concat": ["a", "b"]}, "counter": {"packets": 1, "bytes": 9}}}]}},
        ]
    }
).encode()
XL: Final = f"""\
{xl_text.MARK}machine-id
00112233445566778899aabbccddeeff
{xl_text.MARK}cpuinfo
vendor_id : AuthenticAMD
{xl_text.MARK}info
{(TESTS / "xapi/dom0/xl-info.txt").read_text()}
{xl_text.MARK}list
{(TESTS / "xapi/dom0/xl-list-l.json").read_text()}
{xl_text.MARK}states
Name  ID   Mem VCPUs\tState\tTime(s)
Domain-0 0 1024 2 r----- 12.5
{xl_text.MARK}end
""".encode()
STATUS: Final = msgspec.json.encode(
    StatusView(
        version="1",
        uptime_s=1.0,
        policy="observe",
        is_paused=False,
        period_s=5.0,
        hosts=0,
        hosts_frozen=0,
        guests=0,
        jobs=0,
        migrations=[],
        xapi_connected=True,
    )
)
JOB: Final = b'{"name":"brams","guests":["rank0"],"wall_time_limit_s":3600.0,"slurm_job":7}'

TARGETS: Final[dict[str, Target]] = {
    "sample": Target(("migd_core.frames", "migd_core.messages"), _in_part(_frames, decode_sample), (FrameError,), (_message(encode_sample(SAMPLE)), b"h1\n1\n" + test_frames.OF_AN_OLDER_AGENT)),
    "lease": Target(("migd_core.frames",), _in_part(_frames, decode_request), (FrameError,), (_message(encode_request(LEASE)),)),
    "controller.toml": _configuration(ControllerConfig, "migd_core.config", seeds=((ROOT / "controller/controller.example.toml").read_bytes(),)),
    "agent.toml": _configuration(AgentConfig, "migd_core.config", seeds=((ROOT / "agent/agent.example.toml").read_bytes(),)),
    "agents.toml": _configuration(AgentsFile, "migd_core.config", seeds=(b'[agents]\nh1 = "' + b"x" * 40 + b'"\nh2 = ["a", "b"]\n',)),
    "tokens.toml": _configuration(TokensFile, "migd_core.config", seeds=(b'[tokens."a"]\nrole = "viewer"\nsha256 = "' + b"0" * 64 + b'"\n',)),
    "pool.toml": _configuration(PoolFile, "migd_core.config", seeds=((ROOT / "examples/pool.toml").read_bytes(), (ROOT / "examples/obstacles.toml").read_bytes())),
    "hosts.toml": _configuration(HostsFile, "migd_core.config", seeds=(b'users = [{ name = "root", password = "p" }]\n[[hosts]]\nname = "xen1"\naddress = "10.0.0.1"\n',)),
    "duration": Target(("migd_core.units",), _text(parse_duration), (ValueError,), (b"1d12h", b"90s", b"15 min")),
    "progress": Target(("migd_core.progress",), _text(Progress.parse), (ValueError,), (b"120/5000", b"1.5")),
    "xentop": Target(("migd_agent.xen.xentop",), _text(lambda text: _screen(text)), (XenUnreadable,), _files("agent/captured/xentop-4.17.txt")),
    "xl vm-list": Target(("migd_agent.xen.xentop",), _text(xentop.parse_vm_list), (XenUnreadable,), _files("agent/captured/xl-vm-list-4.17.txt")),
    "xl info": Target(("migd_agent.xen.xentop",), _text(xentop.parse_info), (XenUnreadable,), _files("agent/captured/xl-info-4.17.txt")),
    "ovs-appctl": Target(("migd_agent.flows.openvswitch",), openvswitch.parse, (FlowsUnreadable,), _files("agent/captured/ovs-dump-flows.txt")),
    "nft": Target(("migd_agent.flows.bridge",), bridge.parse, (FlowsUnreadable,), (NFT,)),
    "smartctl --scan": Target(("migd_agent.health.smart",), smart.parse_scan, (HealthUnreadable,), _files("agent/fixtures/smart")),
    "smartctl": Target(("migd_agent.health.smart",), lambda data: smart.parse(data, smart.Disk("/dev/sda", "sda", "scsi")), (HealthUnreadable,), _files("agent/fixtures/smart")),
    "ipmitool": Target(("migd_agent.health.ipmi",), ipmi.parse, (HealthUnreadable,), _files("agent/fixtures/ipmi")),
    "hwmon": Target(("migd_agent.health.hwmon",), hwmon.parse, (HealthUnreadable,), (b"/sys/class/hwmon/hwmon0/name\0coretemp\n/sys/class/hwmon/hwmon0/temp1_input\x0045000\n/sys/class/hwmon/hwmon0/fan1_input\x004200\n/sys/class/hwmon/hwmon0/temp1_crit\x00100000\n",)),
    "nics": Target(("migd_agent.health.nics",), _nics, (), (b"statistics/rx_packets=1\nstatistics/tx_packets=2\nstatistics/rx_errors=0\nstatistics/tx_errors=0\ncarrier=1\ncarrier_down_count=3\n",)),
    "edac": Target(("migd_agent.health.edac",), _edac, (), (b"of=mc0\nmodule=dimm0\nlabel=A\ncorrected=1\nuncorrected=0\nsince=1000\n",)),
    "xensource-inventory": Target(("migd_agent.identity",), _text(lambda text: parse_inventory(text, "file")), (ConfigError,), (b"INSTALLATION_UUID='0a1b2c3d-0000-4000-8000-000000000001'\n",)),
    "machine-id": Target(("migd_agent.identity",), _text(lambda text: parse_machine_id(text, "file")), (ConfigError,), (b"00112233445566778899aabbccddeeff\n",)),
    "counters of the emulated pool": Target(("migd_agent.collectors.sim",), _answered(lambda answer: sim.parse(answer, "h")), (sim.UnusableAnswer,), (b'200\n{"host_uuid":"h","boot_id":"b","at_s":1.0,"cpus":4,"cpu_s":1.0,"dom0_cpu_s":0.5,"memory_bytes":100,"memory_free_bytes":50,"rx_bytes":1,"tx_bytes":2}',)),
    "curve of the emulated pool": Target(("migd_agent.collectors.sim",), _answered(sim.parse_curve), (sim.UnusableAnswer, StoodBack), (b'200\n{"ages_s":[0.1,1.0],"unique_pages":[10,20],"measured_s":5.0}', b"409\nit is being migrated")),
    "rrd_updates": Target(("migd_controller.rrd",), lambda data: sample_of(data, "h", ()), (RrdError,), (RRD,)),
    "squeue": Target(("migd_controller.slurm_jobs",), decoded, (SlurmProblem,), _files("controller/squeue-22.05.8.json")),
    "host list": Target(("migd_controller.slurm_hostlist",), _text(expanded), (ValueError,), (b"n[01-04,7],login1", b"r[1-2]n[001-100]")),
    "sinfo": Target(("migd_controller.slurm_drain",), nodes, (), (b"n1|idle|none\nn2|drained|migd: host xen1 is failing\n",)),
    "job, as asked for": Target(("migd_controller.http.answers",), lambda data: decoded_body(data, JobRequest, "POST /v1/jobs"), (ConfigError,), (JOB,)),
    "headers of a request": Target(("migd_controller.http.callers", "migd_controller.http.sessions"), _headers, (), (b"localhost:8443\nhttps://[::1]:8443\na:1700000000:" + b"0" * 64,)),
    "event.from, as answered": Target(("migd_controller.pool_records", "migd_controller.xapi_transport", "migd_controller.xapi"), _pool, (xmlrpc.client.Error, ExpatError, UnreadableRecords), (_pool_answer(),)),
    "claims to lead": Target(("migd_controller.leader_claims",), _text(_claims), (), (b"7\n" + text_of(CLAIM).encode(), b"9" * 5000 + b"\n{}", b"1\n{}")),
    "XML-RPC call": Target(("migd_xapi.wire.xml_rpc",), xml_rpc.read_call, (xml_rpc.NotXmlRpc,), (CALL,)),
    "JSON-RPC call": Target(("migd_xapi.wire.json_rpc",), json_rpc.read_call, (json_rpc.NotJsonRpc,), (b'{"jsonrpc":"2.0","method":"VM.x","params":["a",{"b":[1]}],"id":7}',)),
    "value in a call": Target(("migd_xapi.datamodel.types",), _value, UNDECODABLE, (b'"20260101T00:00:00Z"', b"12", b"1.5", b'["a","b"]', b'{"a":"b"}', b"9" * 400)),
    "filter": Target(("migd_xapi.filters",), _text(_filter), (Failure,), (b'field "status" = "pending" and not (field "name__label" = "a" or true)',)),
    "event token": Target(("migd_xapi.events",), _text(parse_token), (Failure,), (b"00000000000000000048,00000000000000000048",)),
    "event classes": Target(("migd_xapi.events",), _text(lambda text: Subscription.parse(tuple(text.split(",")))), (Failure,), (b"*,vm,task/OpaqueRef:x",)),
    "fault": Target(("migd_xapi.control",), decoded_fault, UNDECODABLE, (b'{"kind":"host-dies","host":"xen1"}',)),
    "address": Target(("migd_xapi.addresses",), _text(lambda text: addresses.parse(text, "--listen")), (ConfigError,), (b"127.0.0.1:8080",)),
    "facts of xl": Target(("migd_xapi.xl.text",), _text(xl_text.parse), (xl_text.Malformed,), (XL,)),
    "output of xl migrate": Target(("migd_xapi.xl.text",), _text(lambda text: (xl_text.why_of(text), xl_text.reason_of(text, "1"))), (), (b"xc: detail: a\nmigration target: failed to free memory\n",)),
    "look at a migration": Target(("migd_xapi.xl.migrations",), _text(migrations.parse_look), (), (b"going\nxc: x\n", b"0\nTarget has acknowledged transfer")),
    "unfinished migrations": Target(("migd_xapi.xl.migrations",), _text(migrations.parse_unfinished), (), (b'{"id":"a","guest_uuid":"g","domid":3,"target_uuid":"h"}\n',)),
    "answer to migctl": Target(("migd_cli.client",), lambda data: decode(data, StatusView), (RequestFailed,), (STATUS,)),
    "end of a link": Target(("migd_cli.links.across",), _text(Endpoint.parse), (ValueError,), (b"root@node1=10.0.0.1",)),
    "tag": Target(("migd_policies.rules",), _text(rules._parse), (), (b"migd:apart?=db", b"migd:hosts=a,b")),
    "hours": Target(("migd_policies.allowed_hours",), _text(Window.parse), (ValueError,), (b"Mon-Fri 20:00-06:00", b"20:00-06:00")),
}  # fmt: skip
