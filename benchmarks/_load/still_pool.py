"""A pool in which nothing happens: `python -m benchmarks._load.still_pool HOSTS GUESTS_PER_HOST`.

Its records are the emulated pool's own, of one host and one guest, with every field; the others are copies with other
names. They are written out once, so that the pool takes no CPU from what is measured. It prints its URL as JSON, and
ends when its input does.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from migd_controller.pool_records import CLASSES
from migd_core.units import GIB
from migd_sim.model.cluster import Cluster
from migd_sim.model.spec import GuestSpec, HostSpec, PoolSpec
from migd_xapi.database import Row
from migd_xapi.events import Subscription, events_from
from migd_xapi.server import Server
from migd_xapi.settings import Settings
from migd_xapi.sim_backend import SimBackend
from migd_xapi.wire.exact import ExactInt
from migd_xapi.wire.xml_rpc import bare, read_call, success, text_of

CPUS: Final = 64
SHARED: Final = ("sr", "network")
OF_GUEST: Final = ("vif", "vdi", "vbd")
TOKEN: Final = "00000000000000000001,00000000000000000001"


def host_uuid(number: int) -> str:
    """Return the uuid of a host, as long as real ones are."""
    return f"00000000-0000-4000-8000-{number:012d}"


def guest_uuid(host: int, number: int) -> str:
    """Return the uuid of a guest of a host."""
    return f"00000000-0000-4000-9{number:03d}-{host:012d}"


def mac(host: int, number: int) -> str:
    """Return the address of a guest's interface."""
    return f"02:00:{host >> 8:02x}:{host & 255:02x}:00:{number:02x}"


@dataclass(frozen=True, slots=True)
class _Template:
    """Events as text, their classes, and what in the text is to be replaced in each copy."""

    text: str
    classes: tuple[str, ...]
    refs: tuple[str, ...]

    def copied(self, number: int, **others: str) -> str:
        """Return the copy of that number; `others` are texts to be replaced besides."""
        text = self.text
        for ref in self.refs:
            text = text.replace(ref, f"{ref[:-8]}{number:08x}")
        for old, new in others.items():
            text = text.replace(old, new)
        return text


def answer(hosts: int, guests_per_host: int) -> tuple[bytes, bytes]:
    """Return what the pool answers to the first `event.from`, and to every later one."""
    spec = PoolSpec(
        name="still",
        hosts=(HostSpec(name="HOSTNAME", uuid="HOSTUUID", cpus=CPUS, memory_bytes=512 * GIB),),
        guests=(GuestSpec(name="GUESTNAME", uuid="GUESTUUID", host="HOSTNAME", vcpus=2, memory_bytes=8 * GIB),),
    )
    server = Server(SimBackend(Cluster(spec)), "still", Settings())
    batch: Any = asyncio.run(
        events_from(server.pool.db, Subscription.parse(CLASSES), "", 0.0, lambda: None),
    )
    of_guest = [event for event in batch["events"] if _is_of_guest(event)]
    shared = [event for event in batch["events"] if event["class"] in SHARED]
    of_host = [event for event in batch["events"] if event not in of_guest and event not in shared]
    host, guest = _template(of_host), _template(of_guest)
    host_refs = host.refs
    old_mac = next(event["snapshot"]["MAC"] for event in of_guest if event["class"] == "vif")

    def copies() -> Iterator[str]:
        yield from (text_of(event) for event in shared)
        for number in range(hosts):
            names = {"HOSTNAME": f"xen{number}", "HOSTUUID": host_uuid(number)}
            yield host.copied(number, **names)
            for each in range(guests_per_host):
                at_host = {ref: f"{ref[:-8]}{number:08x}" for ref in host_refs}
                renamed = {"GUESTNAME": f"g{number}-{each}", "GUESTUUID": guest_uuid(number, each)}
                copy = guest.copied(number * guests_per_host + each, **renamed, **names, **at_host)
                yield copy.replace(old_mac, mac(number, each))

    counts = Counter(event["class"] for event in shared)
    counts.update({name: hosts * count for name, count in Counter(host.classes).items()})
    counts.update({name: hosts * guests_per_host * count for name, count in Counter(guest.classes).items()})
    rest = {"valid_ref_counts": {name: ExactInt(count) for name, count in counts.items()}, "token": TOKEN}
    later = success({"events": (), **rest})
    place = success({"events": ("HERE",), **rest})
    before, _, after = place.partition(b"<value>HERE</value>")
    return b"".join((before, "".join(copies()).encode(), after)), later


def _is_of_guest(event: dict[str, Any]) -> bool:
    record: Row = event["snapshot"]
    return event["class"] in OF_GUEST or (event["class"] == "vm" and not record["is_control_domain"])


def _template(events: Sequence[dict[str, Any]]) -> _Template:
    names = [event["ref"] for event in events]
    names += [
        event["snapshot"]["uuid"] for event in events if event["snapshot"]["uuid"] not in ("HOSTUUID", "GUESTUUID")
    ]
    return _Template("".join(map(text_of, events)), tuple(event["class"] for event in events), tuple(names))


async def _serve(first: bytes, later: bytes) -> None:
    async def call(request: web.Request) -> web.Response:
        method, arguments = read_call(await request.read())
        body = success("")
        if method == "event.from":
            body = later
            if arguments[2] == "":
                body = first
            else:
                await asyncio.sleep(float(arguments[3]))  # type: ignore[arg-type]
        elif method == "session.login_with_password":
            body = success("OpaqueRef:session")
        elif method == "system.listMethods":
            body = bare(())
        return web.Response(body=body, content_type="text/xml")

    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/{anything:.*}", call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(*answer(int(sys.argv[1]), int(sys.argv[2]))))
