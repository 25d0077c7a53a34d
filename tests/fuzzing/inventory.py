"""Which modules read what somebody else wrote: found in their source, so that a new one cannot be forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "core/migd_core",
    "agent/migd_agent",
    "policies/migd_policies",
    "controller/migd_controller",
    "sim/migd_sim",
    "xapi/migd_xapi",
    "cli/migd_cli",
)
# Functions that take text or bytes apart, by their first word.
_VERBS: Final = ("parse", "decode", "decoded", "expanded")
# Calls that do: `json.loads`, `text.splitlines`, `msgspec.json.decode`, a Decoder made once.
_CALLS: Final = (
    *("loads", "splitlines", "getparser", "Decoder", "fullmatch", "finditer"),
    *("urlsplit", "unpack", "unpack_from", "from_bytes"),
)
_DECODES: Final = ("json", "msgpack")

# What is left out, and why nobody can put anything into it whom migd has to fear.
EXEMPT: Final = {
    "migd_cli.app": "a command line, which click has read",
    "migd_agent.collectors.dom0": "numbers that psutil took from this machine's own kernel",
    "migd_agent.collectors.xen": "counters that another reader, which is fuzzed, has made numbers of",
    "migd_agent.xen.libxenstat": "structures of a C library, no text",
    "migd_agent.config": "an address in the agent's own configuration, which is fuzzed",
    "migd_agent.connection": "an event of the process's own socket",
    "migd_agent.control_endpoint": "an address in the agent's own configuration, which is fuzzed",
    "migd_controller.activity": "the controller's own memory",
    "migd_controller.api": "one pattern for a decision's id, of a bounded path",
    "migd_controller.audit": "rows of the controller's own journal",
    "migd_controller.config": "one pattern for a fingerprint in the controller's own configuration, which is fuzzed",
    "migd_controller.core": "a policy's plan, made plain by writing and reading it in one process",
    "migd_controller.http.audited": "the controller's own refusal, to keep its words",
    "migd_controller.http.live": "the controller's own views, written in the same process",
    "migd_controller.http.tokens": "one pattern for a token's name; the file is fuzzed",
    "migd_controller.journal": "the controller's own journal, which only it may write; what a torn one does is tested",
    "migd_controller.inheritance": "memory that another controller of the same secret key has sealed",
    "migd_controller.journal_database": "the first line of what a database's driver says",
    "migd_controller.journal_export": "the controller's own journal, which only it may write",
    "migd_controller.leader": "one pattern for the controller's own seat; what a torn one does is tested",
    "migd_controller.memory_stream": "memory that another controller of the same secret key has sealed",
    "migd_controller.record.format": "records of the controller's own; cut, damaged and foreign ones are tested",
    "migd_controller.record.parts": "names of the controller's own files",
    "migd_controller.record.reading": "records of the controller's own; cut, damaged and foreign ones are tested",
    "migd_controller.timeline_store": "the controller's own file, which only it may write",
    "migd_sim.run.replay.difference": "frames that `record.format` has read",
    "migd_sim.run.replay.replaying": "frames that `record.format` has read",
    "migd_sim.run.soak.agents": "what a simulated agent was asked",
    "migd_sim.run.soak.case": "cases that the soak itself wrote",
    "migd_sim.run.soak.loop": "the simulated controller's own memory",
    "migd_sim.run.closed_loop": "the simulated controller's own memory",
    "migd_xapi.datamodel.classes": "tables that are part of the package",
    "migd_xapi.datamodel.enumerations": "tables that are part of the package",
    "migd_xapi.datamodel.vm_operation_table": "tables that are part of the package",
    "migd_xapi.keeping": "the server's own file, which only it may write",
    "migd_cli.demo.children": "logs of the demo's own processes",
    "migd_cli.demo.emulated_pool": "answers of the demo's own pool",
    "migd_cli.demo.run": "answers of the demo's own controller",
    "migd_cli.demo.staging": "logs of the demo's own processes",
    "migd_cli.commands.report": "the report's own answer, made in the same process",
    "migd_cli.experiment.application": "lines of the operator's own application, which are shown",
    "migd_cli.experiment.runs": "the experiment's own file; what a torn one does is tested",
    "migd_cli.experiment.silence": "one pattern for a line of ping",
    "migd_cli.over_tcp": "an address in the operator's own words",
    "migd_cli.links.ping_pong": "four bytes of a partner that knows the measurement's own token; what they ask for is bounded",
    "migd_cli.names": "names for the shell's completion, which has none where anything goes wrong",
}


def readers() -> Iterator[tuple[str, str]]:
    """Yield each module that takes apart what it did not write, and what shows it."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to((ROOT / package).parent).with_suffix("").parts).removesuffix(".__init__")
            if (shown := _shown(ast.parse(path.read_text()))) is not None:
                yield name, shown


def _shown(tree: ast.Module) -> str | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.lstrip("_").partition("_")[0] in _VERBS:
                return f"def {node.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _CALLS:
                return f"{node.func.id}()"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, owner = node.func.attr, node.func.value
            of = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if called in _CALLS or (called == "decode" and of in _DECODES):
                return f"{of}.{called}()"
    return None
