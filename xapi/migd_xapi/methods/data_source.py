"""Methods of classes host and VM about what is measured of them."""

from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR, VM_ADMIN
from migd_xapi.rrd.recorder import History

METHODS: Final = Methods()


@METHODS.add("host.get_data_sources", "host ref host", returns="data_source record set", is_async=False)
@METHODS.add("VM.get_data_sources", "VM ref self", returns="data_source record set", is_async=False)
def get_data_sources(call: Call, row: Row) -> Value:
    """Return all that is, or could be, recorded."""
    history = call.pool.metrics.of(row)
    if history is None:
        return ()
    return tuple(
        {
            "name_label": source.name,
            "name_description": source.description,
            "enabled": history.database.column(source.name) is not None,
            "standard": source.is_standard,
            "units": source.units,
            "min": source.lowest,
            "max": source.highest,
            "value": 0.0,  # xapi never fills it in
        }
        for source in sorted(history.sources.values(), key=lambda source: source.name)
    )


@METHODS.add("host.query_data_source", "host ref host", "string data_source", returns="float", is_async=False)
def query_host(call: Call, host: Row, name: str) -> float:
    """Return the mean of the last five seconds, NaN where it is not known."""
    return _latest(_history(call, host, name), name)


@METHODS.add("VM.query_data_source", "VM ref self", "string data_source", returns="float", is_async=False)
def query_vm(call: Call, vm: Row, name: str) -> float:
    """Return the mean of the last five seconds of a VM that runs."""
    if vm["power_state"] not in ("Running", "Paused"):
        raise Failure("VM_BAD_POWER_STATE", vm.ref, "running, paused", vm["power_state"].lower())
    return _latest(_history(call, vm, name), name)


@METHODS.add("host.record_data_source", "host ref host", "string data_source", role=POOL_OPERATOR, is_async=False)
@METHODS.add("VM.record_data_source", "VM ref self", "string data_source", role=VM_ADMIN, is_async=False)
def record_data_source(call: Call, row: Row, name: str) -> None:
    """Record a data source that is not recorded by itself."""
    history = _history(call, row, name)
    if name not in history.sources:
        raise _missing(name)
    history.database.record(history.sources[name])


@METHODS.add(
    "host.forget_data_source_archives", "host ref host", "string data_source", role=POOL_OPERATOR, is_async=False
)
@METHODS.add("VM.forget_data_source_archives", "VM ref self", "string data_source", role=VM_ADMIN, is_async=False)
def forget_data_source_archives(call: Call, row: Row, name: str) -> None:
    """Forget what was recorded of a data source, and record it no longer."""
    _history(call, row, name).database.forget(name)


def _history(call: Call, row: Row, name: str) -> History:
    history = call.pool.metrics.of(row)
    if history is None:
        raise _missing(name)
    return history


def _latest(history: History, name: str) -> float:
    try:
        return history.database.latest(name)
    except KeyError:
        raise _missing(name) from None


def _missing(name: str) -> Failure:
    return Failure("INTERNAL_ERROR", f"Rrd_interface.Rrdd_error(Datasource_missing({name}))")
