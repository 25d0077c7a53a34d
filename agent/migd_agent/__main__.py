"""`migd-agent`: reads the configuration, puts the parts together, runs them."""

import migd_agent.without_asyncio  # noqa: F401

# isort: split
import argparse
import contextlib
import faulthandler
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import zmq

from migd_agent import config, daemon, identity
from migd_agent.collectors import table
from migd_agent.failures import Failures
from migd_agent.lease_inbox import LeaseInbox
from migd_agent.probing import NAME as DIRTY_CURVE
from migd_agent.probing import Probing
from migd_agent.publisher import Publisher
from migd_agent.sampler import Sampler
from migd_core import __version__, logs
from migd_core.errors import MigdError

ENDED, NOT_MEASURED, NOT_CONFIGURED = 0, 1, 3
_EXIT_CODES: Final = """\
exit codes:
  0  ended by SIGTERM or SIGINT, or the sample was printed
  1  --print-sample: this host could not be measured; otherwise an error that nobody expected, with its traceback
  2  the command line is wrong
  3  the configuration or a key is missing or wrong, or another agent of this host runs
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to end; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command is not None:
            sys.stdout.write(options.answer(options))
            return ENDED
        if options.print_sample:
            settings = config.load(options.config) if options.config else None
            measure = settings.measure if settings else config.MeasureSection()
            return _print_sample(measure, settings.health if settings else config.HealthSection())
        _serve(config.load(options.config or config.DEFAULT_PATH))
    except MigdError as error:
        sys.stderr.write(f"migd-agent: {error}\n")
        return NOT_CONFIGURED
    return ENDED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="migd-agent",
        description="Measures this host and its guests, and publishes one sample a period to the controller of migd.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"migd-agent {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"the configuration; default {config.DEFAULT_PATH}")
    parser.add_argument(
        "--print-sample",
        action="store_true",
        help="measure for one period, print the sample as JSON, send nothing; without --config, this host alone",
    )
    commands = parser.add_subparsers(dest="command", metavar="", title="without them, the agent runs; to let it in")
    join = commands.add_parser(
        "join", help="as root: write this host's configuration and keys, start the agent, and say how it is let in"
    )
    join.add_argument(
        "controller", nargs="+", help="the controller's NAME or NAME:PORT; of several that share a key, each"
    )
    join.add_argument("key", help="its public key, as `migctl keys list` shows it")
    join.set_defaults(answer=_join)
    key = commands.add_parser("key", help="show this host's uuid and the agent's public key; or change the key")
    change = key.add_mutually_exclusive_group()
    change.add_argument("--next", action="store_true", help="make the key that is to be used next, and show that one")
    change.add_argument("--use-next", action="store_true", help="use that key from the agent's next start on")
    key.set_defaults(answer=_key)
    return parser


def _join(options: argparse.Namespace) -> str:
    from migd_agent import joining  # what a running agent does not need takes none of a Dom0's memory

    answer = joining.join(options.controller, options.key)
    joining.restart()
    return answer


def _key(options: argparse.Namespace) -> str:
    from migd_agent import joining

    if options.use_next:
        joining.use_next()
    return joining.who(options.config or config.DEFAULT_PATH, is_next=options.next)


def _print_sample(measure: config.MeasureSection, health: config.HealthSection) -> int:
    logs.configure(component="agent")
    host_uuid = identity.host_uuid(measure.host_uuid)
    with contextlib.ExitStack() as ending:
        stop = ending.enter_context(daemon.StopRequest())  # what counts on the host must go, whoever ends this
        failures = Failures()
        source = table.guest_source(measure, host_uuid, failures, may_probe=False)
        collectors = table.chosen(measure, host_uuid, source, health, failures)
        for collector in collectors:
            ending.callback(collector.close)
        sampler = Sampler(collectors, failures)
        sampler.tick(time.monotonic())
        stop.wait(measure.period_s)
        sample = None if stop.is_asked else sampler.tick(time.monotonic())
    if sample is None:
        return NOT_MEASURED  # the log says what is missing
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(sample), indent=2).decode() + "\n")
    return ENDED


def _serve(settings: config.AgentConfig) -> None:
    faulthandler.enable()  # so that the journal has the stack on which the watchdog found it
    logs.configure(component="agent", level=settings.log_level)
    measure, log = settings.measure, structlog.get_logger()
    host_uuid = identity.host_uuid(measure.host_uuid)
    keys = identity.load_keys(Path(settings.controller.public_key_file), Path(settings.controller.secret_key_file))
    with contextlib.ExitStack() as ending:
        ending.enter_context(identity.claim(host_uuid, settings.controller.endpoint))
        # Before there is anything to be taken back.
        stop = ending.enter_context(daemon.StopRequest())
        failures = Failures()
        source = table.guest_source(measure, host_uuid, failures, may_probe=DIRTY_CURVE not in measure.collectors_off)
        collectors = table.chosen(measure, host_uuid, source, settings.health, failures)
        for collector in collectors:
            ending.callback(collector.close)
        may_probe = source is not None and source.can_probe and DIRTY_CURVE not in measure.collectors_off
        log.info(
            "agent started",
            version=__version__,
            host=host_uuid,
            period_s=measure.period_s,
            measures=[part for collector in collectors for part in collector.supplies] + [DIRTY_CURVE] * may_probe,
            guests=measure.guests.__struct_config__.tag if source is not None else "none",
            controllers=[each.endpoint for each in settings.controller.all],
            public_key=keys.public.decode(),
        )
        context = ending.enter_context(zmq.Context[Any]())
        publishers = [Publisher(context, each, keys, topic=host_uuid) for each in settings.controller.all]
        for publisher in publishers:
            ending.callback(publisher.close)
        sampler = Sampler(collectors, failures)
        probing: Probing | None = None
        if source is not None and may_probe:
            inboxes = [LeaseInbox(context, each.leases_from, keys, host_uuid) for each in settings.controller.all]
            for inbox in inboxes:
                ending.callback(inbox.close)
            probing = Probing(source, inboxes, sampler.boot_id, failures)
            ending.callback(probing.close)
        daemon.run(sampler, probing, publishers, measure.period_s, stop)
    log.info("agent ended", samples_dropped=[publisher.dropped for publisher in publishers])


if __name__ == "__main__":
    sys.exit(main())
