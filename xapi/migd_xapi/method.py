"""A method of the API: what it takes, what it gives, who may call it, and the function that does it."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from migd_xapi.database import Database
from migd_xapi.datamodel.classes import CLASSES
from migd_xapi.datamodel.types import Type, Value, type_of
from migd_xapi.failure import Failure
from migd_xapi.roles import READ_ONLY, ROLES, permits

Handler = Callable[..., Any]
ASYNC: Final = "Async."
_REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `default` is what it is where a client leaves it out.

    A function gets the row that a reference leads to, unless `may_be_null`: then the reference itself.
    """

    name: str
    type: Type
    default: Value = _REQUIRED
    may_be_null: bool = False

    @property
    def is_required(self) -> bool:
        return self.default is _REQUIRED

    @property
    def is_row(self) -> bool:
        return not self.may_be_null and self.type.refers_to in CLASSES


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `role` is the least role that may call it (None: anybody, also without a session).

    `may_wait` says that the function is a coroutine; then a call of it is a task, whether or not the client waits.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: str
    role: str | None
    is_async: bool
    handler: Handler
    may_wait: bool = False
    needs_session: bool = True

    def check_arity(self, name: str, sent: int) -> None:
        """Raise MESSAGE_PARAMETER_COUNT_MISMATCH when `sent` arguments, a session included, are not what it takes."""
        session = int(self.needs_session)
        required = session + sum(parameter.is_required for parameter in self.parameters)
        most = session + len(self.parameters)
        if not required <= sent <= most:
            raise Failure("MESSAGE_PARAMETER_COUNT_MISMATCH", name, most, sent)

    def arguments(self, sent: tuple[object, ...]) -> list[Value]:
        """Return the values of all parameters but the session. Raises Failure."""
        values = [
            parameter.type.accepted(each, parameter.name)
            for parameter, each in zip(self.parameters, sent, strict=False)
        ]
        return values + [parameter.default for parameter in self.parameters[len(sent) :]]

    def resolved(self, db: Database, values: list[Value]) -> list[Value]:
        """Return the values with a row in place of each reference that may not be null. Raises HANDLE_INVALID."""
        return [
            db.get(parameter.type.refers_to or "", value) if parameter.is_row else value
            for parameter, value in zip(self.parameters, values, strict=True)
        ]


class Methods(dict[str, Method]):
    """Methods by name; each module of methods fills one with `@METHODS.add(...)`."""

    def add(
        self,
        name: str,
        *parameters: str,
        returns: str = "void",
        role: str | None = READ_ONLY,
        is_async: bool = True,
        needs_session: bool = True,
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that makes a function the method `name`.

        A parameter is written `host ref host`, or `host ref? host` where it may be null, with its default value behind
        it where it has one: `bool force=false`; an empty default is the type's own empty value.
        """

        def decorate(handler: Handler) -> Handler:
            self[name] = Method(
                name,
                tuple(map(_parameter, parameters)),
                returns,
                role,
                is_async,
                handler,
                may_wait=inspect.iscoroutinefunction(handler),
                needs_session=needs_session,
            )
            return handler

        return decorate


_DEFAULTS: Final[Mapping[str, Value]] = {"true": True, "false": False}


def _parameter(text: str) -> Parameter:
    declaration, has_default, default = text.partition("=")
    type_text, _, name = declaration.rpartition(" ")
    may_be_null = type_text.endswith("?")
    type_ = type_of(type_text.removesuffix("?"))
    if not has_default:
        return Parameter(name, type_, may_be_null=may_be_null)
    value = type_.accept(_DEFAULTS.get(default, default)) if default else type_.empty
    return Parameter(name, type_, value, may_be_null)


def permissions(methods: Iterable[Method]) -> dict[str, tuple[str, ...]]:
    """Return by role the names of what it may call, as XenAPI writes permissions (rbac_static.ml): in small letters."""
    with_role = [(method.name.lower(), method.role) for method in methods if method.role is not None]
    return {role: tuple(sorted(name for name, least in with_role if permits(role, least))) for role in ROLES}
