"""`migctl measure`: links here, the rest in modules of their own."""

import click
import msgspec

from migd_cli.app import Group
from migd_cli.commands.links import bandwidth, latency, link_lines
from migd_cli.commands.measure_guest import guest
from migd_cli.commands.measure_migration import migration, show
from migd_cli.failures import Failure
from migd_cli.links.across import Endpoint, command_of
from migd_cli.links.across import measure as measured
from migd_cli.links.fit import fit
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import LinkMeasurement, LinksRequest, LinkView
from migd_core.world import Level

Pair = tuple[Level, Endpoint, Endpoint]


def _pairs(
    _context: click.Context, _parameter: click.Parameter, values: tuple[tuple[str, str, str], ...]
) -> list[Pair]:
    try:
        pairs = [(Level(level), Endpoint.parse(a), Endpoint.parse(b)) for level, a, b in values]
    except ValueError as error:
        raise click.BadParameter(f"{error}; levels are {', '.join(Level)}") from error
    levels = [level for level, _, _ in pairs]
    if twice := sorted(level for level in set(levels) if levels.count(level) > 1):
        raise click.BadParameter(f"level {twice[0]} is measured between one pair, found two")
    return pairs


def _via(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        command_of(value, "host")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.group(cls=Group)
def measure() -> None:
    """Measure what migd must not assume."""


measure.add_command(migration)
measure.add_command(show)
measure.add_command(guest)


@measure.command()
@click.option(
    "--between",
    "pairs",
    nargs=3,
    multiple=True,
    required=True,
    callback=_pairs,
    metavar="LEVEL A B",
    help="A pair at that level: same-guest, same-host, same-switch or wide-area. May be given once for each.",
)
@click.option(
    "--via", default="ssh {host}", show_default=True, callback=_via, help="What runs a command on {host}, A or B."
)
@click.option("--store", is_flag=True, help="Let the controller use what was measured.")
@click.pass_obj
def links(session: Session, pairs: list[Pair], via: str, store: bool) -> None:
    """Measure latency and bandwidth at levels of the topology, with messages to and fro.

    A and B are guests (or hosts) that are near to each other as the level says, while nothing else runs there. A is
    HOST, or HOST=ADDRESS where B reaches it under another address. Both need Python 3.9; nothing is left there. Each
    pair takes some seconds: messages of 1 B to 4 MiB, medians, one connection, as NetPIPE does.
    """
    found: dict[Level, LinkMeasurement] = {}
    for level, a, b in pairs:
        try:
            fitted = fit(measured(via, a, b))
        except ValueError as error:
            raise Failure(f"{level} between {a.host} and {b.host}: {error}") from error
        found[level] = LinkMeasurement(
            bandwidth_bytes_per_s=fitted.bandwidth_bytes_per_s,
            latency_s=fitted.latency_s,
            between=f"{a.host} and {b.host}",
        )
    request = LinksRequest(links=found)
    if store:
        session.show(session.ask("PUT", "/v1/links", request), list[LinkView], link_lines)
    else:
        session.show(msgspec.json.encode(request), LinksRequest, snippet_lines)


def snippet_lines(request: LinksRequest, screen: Screen) -> list[str]:
    """Return what was measured as a part of the controller's configuration."""
    lines = []
    for level, link in request.links.items():
        lines += [
            f"# between {link.between}: {bandwidth(link.bandwidth_bytes_per_s)}, {latency(link.latency_s)}",
            f"[topology.links.{level.value}]",
            f"bandwidth_bytes_per_s = {link.bandwidth_bytes_per_s:.4g}",
            f"latency_s = {link.latency_s:.3g}",
            "",
        ]
    return lines[:-1]
