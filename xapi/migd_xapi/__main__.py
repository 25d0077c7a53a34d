"""`migd-xapi`: a pool that speaks XenAPI: an emulated one, or hosts that know only `xl`."""

import argparse
import asyncio
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from msgspec import structs

from migd_core import __version__, logs
from migd_core.errors import ConfigError, MigdError
from migd_xapi import addresses, pool_file, readiness, xl_pool
from migd_xapi.control import Control
from migd_xapi.injector import Injector
from migd_xapi.server import Server
from migd_xapi.settings import Settings, Tls
from migd_xapi.sim_backend import SimBackend
from migd_xapi.xl import hosts_file

ENDED, NOT_STARTED = 0, 3
_EPILOG: Final = """\
When the pool can be used, one line of JSON on standard output names its URLs:
  {"ready": true, "url": "http://127.0.0.1:8080", "control": "http://127.0.0.1:8081"}
With TLS it also has the certificate's fingerprint, "certificate_sha256": "AB:CD:...".

exit codes:
  0  ended by SIGTERM or SIGINT
  2  the command line is wrong
  3  the pool file is wrong, or an address cannot be had
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the pool until told to end; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    wanted, other = ("pool", "hosts") if options.backend == "sim" else ("hosts", "pool")
    if getattr(options, wanted) is None or getattr(options, other) is not None:
        parser.error(f"--backend {options.backend} takes --{wanted} FILE, and no --{other}")
    logs.configure(component="xapi", level=options.log_level)
    try:
        asyncio.run(_serve(options) if options.backend == "sim" else xl_pool.serve(*_xl_arguments(options)))
    except MigdError as error:
        sys.stderr.write(f"migd-xapi: {error}\n")
        return NOT_STARTED
    return ENDED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="migd-xapi",
        description="Serves a pool of Xen hosts over XenAPI: a cluster that is simulated in real time, or Debian Dom0s "
        "that know only xl, reached by ssh.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"migd-xapi {__version__}")
    parser.add_argument(
        "--backend", choices=("sim", "xl"), default="sim", help="what runs the guests, default %(default)s"
    )
    parser.add_argument("--pool", type=Path, metavar="FILE", help="the pool file of the simulated cluster, TOML")
    parser.add_argument("--hosts", type=Path, metavar="FILE", help="the file of the hosts that know only xl, TOML")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("/var/lib/migd-xapi"),
        metavar="FOLDER",
        help="where what clients set on guests of xl hosts is kept, default %(default)s",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS:PORT",
        help="where the coordinator answers, default %(default)s; port 0 takes any that is free; "
        "each other host answers at its own address and the same port",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="serve https, with a certificate that is made at the start unless one is given; default: the pool file's",
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="serve https with this certificate, PEM")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the certificate's key, PEM")
    parser.add_argument(
        "--control",
        default="127.0.0.1:0",
        metavar="ADDRESS:PORT",
        help="where counters and the truth are told, default %(default)s",
    )
    parser.add_argument(
        "--faster",
        type=_positive,
        metavar="N",
        help="processors, links and clocks N times faster; default: the pool file's",
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="default %(default)s"
    )
    return parser


def _xl_arguments(options: argparse.Namespace) -> tuple[hosts_file.HostsFile, Settings, Path, tuple[str, int]]:
    file = hosts_file.load(options.hosts)
    return file, _settings(file.settings(), options), options.state, addresses.parse(options.listen, "--listen")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def _settings(settings: Settings, options: argparse.Namespace) -> Settings:
    """Return the pool file's settings with what the command line says of TLS. Raises ConfigError."""
    if options.certificate or options.key:
        try:
            tls = Tls(certificate_file=options.certificate, key_file=options.key)
        except ValueError as error:
            raise ConfigError(f"--certificate and --key: {error}") from error
        return structs.replace(settings, tls=tls)
    return structs.replace(settings, tls=settings.tls or Tls()) if options.tls else settings


async def _serve(options: argparse.Namespace) -> None:
    address, port = addresses.parse(options.listen, "--listen")
    control_address, control_port = addresses.parse(options.control, "--control")
    file = pool_file.load(options.pool)
    times_faster = file.times_faster if options.faster is None else options.faster
    backend = SimBackend(pool_file.cluster_of(file, times_faster, str(options.pool)))
    server = Server(backend, file.name, _settings(file.xapi, options).faster(times_faster))
    injector = Injector(server, backend)
    control = Control(backend, injector)
    faults = file.faults_in(times_faster)
    injector.check(faults, str(options.pool))
    stop = readiness.stop_event()
    cluster = asyncio.create_task(backend.run(), name="cluster")
    try:
        ready = readiness.ready(server, await server.start(address, port))
        ready["control"] = await control.start(control_address, control_port)
        for fault in faults:
            await injector.inject(fault)
        structlog.get_logger().info("pool is served", pool=file.name, faster=times_faster, **ready)
        readiness.announce(ready)
        await readiness.until_stopped(stop, cluster)
    finally:
        cluster.cancel()
        await injector.close()
        await control.stop()
        await server.stop()


if __name__ == "__main__":
    sys.exit(main())
