"""Which policies there are: the table of built-ins, and what installed packages offer as `migd.policies`.

A package's broken policy never stands in the way of the others: it is left out, and `survey` says why.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final, cast

import msgspec

from migd_core.config import convert
from migd_core.errors import ConfigError, UnknownName
from migd_policies.balance import Balance
from migd_policies.colocate import Colocate
from migd_policies.evacuate import Evacuate
from migd_policies.job_time import JobTime
from migd_policies.least_loaded import LeastLoaded
from migd_policies.observe import Observe
from migd_policies.policy import Policy
from migd_policies.potential import Potential

ENTRY_POINT_GROUP: Final = "migd.policies"

BUILT_IN: Final[Mapping[str, type[Policy]]] = MappingProxyType(
    {
        Observe.name: Observe,
        LeastLoaded.name: LeastLoaded,
        Colocate.name: Colocate,
        Balance.name: Balance,
        JobTime.name: JobTime,
        Evacuate.name: Evacuate,
        Potential.name: Potential,
    }
)


@dataclass(frozen=True, slots=True)
class Survey:
    """The policies that can be used, and for each name that cannot be, one sentence that says why."""

    policies: Mapping[str, type[Policy]]
    problems: Mapping[str, str]


def available() -> Mapping[str, type[Policy]]:
    """Return every policy that can be used, by name, built-ins first."""
    return survey().policies


def configure(name: str, values: Mapping[str, object], *, strict: bool = False) -> Policy:
    """Return the policy `name` with `values` as its configuration; what they do not name keeps its default.

    With `strict=False`, text as typed on a command line becomes numbers and booleans. Raises UnknownName if there is no
    such policy or it cannot be used, ConfigError with the key's path if a value does not fit.
    """
    found = survey()
    if name in found.policies:
        try:
            return convert(dict(values), found.policies[name], name=f"policy {name}", strict=strict)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # from its __post_init__, which is anybody's code
            raise ConfigError(
                f"policy {name}: taking its settings failed with {type(error).__name__}: {error}"
            ) from error
    if name in found.problems:
        raise UnknownName(f"policy {name} cannot be used: {found.problems[name]}")
    close = difflib.get_close_matches(name, found.policies, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(found.policies)}"
    raise UnknownName(f"no policy is called {name!r}; {hint}")


def survey() -> Survey:
    """Return the built-in policies and those of installed packages, with a sentence for each that cannot be used."""
    return survey_of(entry_points(group=ENTRY_POINT_GROUP))


def survey_of(offered: Iterable[EntryPoint]) -> Survey:
    """Return the built-in policies and the `offered` ones, with a sentence for each that cannot be used."""
    policies = dict(BUILT_IN)
    problems: dict[str, str] = {}
    by_name: dict[str, list[EntryPoint]] = {}
    for point in offered:
        by_name.setdefault(point.name, []).append(point)
    for name, points in sorted(by_name.items()):
        origins = " and ".join(sorted(_origin(point) for point in points))
        if name in BUILT_IN:
            problems[name] = f"{origins} offers one of this name too; the built-in one is used, rename the other"
        elif len(points) > 1:
            problems[name] = f"{origins} each offer one of this name; uninstall all but one"
        else:
            try:
                policies[name] = _load(points[0])
            except _Unusable as why:
                problems[name] = f"{origins}: {why}"
    return Survey(MappingProxyType(policies), MappingProxyType(problems))


class _Unusable(Exception):
    """Why an entry point is no policy."""


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist is not None else f"entry point {point.value}"


def _load(point: EntryPoint) -> type[Policy]:
    try:
        found: object = point.load()
    except (Exception, SystemExit) as error:  # anybody's code runs here; its failure stays its own
        raise _Unusable(f"importing {point.value} failed with {type(error).__name__}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
        raise _Unusable(f"{point.value} is not a msgspec Struct; derive the policy's class from msgspec.Struct")
    if not (found.__struct_config__.frozen and found.__struct_config__.forbid_unknown_fields):
        raise _Unusable(f"{point.value} must be declared with frozen=True, forbid_unknown_fields=True")
    for attribute in ("name", "summary"):
        if not isinstance(getattr(found, attribute, None), str):
            raise _Unusable(f"{point.value} has no {attribute}; add `{attribute}: ClassVar[str] = …`")
    policy = cast(type[Policy], found)  # what is missing for it is asked for next
    if policy.name != point.name:
        raise _Unusable(f"its entry point is called {point.name}, but {point.value}.name is {policy.name!r}")
    if not _proposes(policy):
        raise _Unusable(f"{point.value} has no usable propose; add `def propose(self, world: World) -> Plan`")
    try:
        policy()
    except (Exception, SystemExit) as error:
        raise _Unusable(
            f"{point.value} cannot be made without settings ({error}); give each field a default"
        ) from error
    return policy


def _proposes(policy: type[Policy]) -> bool:
    propose: object = getattr(policy, "propose", None)
    if not callable(propose) or inspect.iscoroutinefunction(propose):
        return False
    try:
        inspect.signature(propose).bind("self", "world")
    except TypeError:
        return False
    return True
