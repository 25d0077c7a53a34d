"""The API as an OpenAPI 3.1 document, made from the routes, the roles and the Structs of `migd_core.api`."""

import functools
import re
from typing import Any, Final

import msgspec

from migd_core import __version__
from migd_core.api import QUERIES, ROLES, ROUTES, Problem, Role, SessionRequest, SessionView
from migd_core.world import Level

Route = tuple[str, str]

_SUMMARIES: Final[dict[Route, str]] = {
    ("GET", "/v1/status"): "The controller at a glance.",
    ("GET", "/v1/doctor"): "What keeps migd from its work, and how to mend it.",
    ("GET", "/v1/hosts"): "Every host, by name.",
    ("PUT", "/v1/hosts/{host}/maintenance"): "Let a host receive nothing.",
    ("DELETE", "/v1/hosts/{host}/maintenance"): "Take a host back into service.",
    ("GET", "/v1/hosts/{host}/evacuation"): "What is left on a host, or what emptying it would do.",
    ("POST", "/v1/hosts/{host}/evacuation"): "Empty a host.",
    ("DELETE", "/v1/hosts/{host}/evacuation"): "Empty a host no further.",
    ("GET", "/v1/automation"): "How much migd does by itself, for the cluster and for each job.",
    ("PUT", "/v1/automation"): "Choose how much migd does by itself.",
    ("GET", "/v1/recommendations"): "The moves that wait for an operator's word.",
    ("POST", "/v1/recommendations/{name}/approve"): "Let what is recommended be done, if it still holds.",
    ("POST", "/v1/recommendations/{name}/refuse"): "Do not let what is recommended be done.",
    ("GET", "/v1/guests"): "Every running guest, by name.",
    ("GET", "/v1/jobs"): "Every job, by name.",
    ("POST", "/v1/jobs"): "Say which guests run one job.",
    ("DELETE", "/v1/jobs/{name}"): "Say that a job is over.",
    ("PATCH", "/v1/jobs/{name}"): "Change a job's own limits.",
    ("POST", "/v1/jobs/{name}/progress"): "Say how far a job is.",
    ("GET", "/v1/links"): "What the network carries at each level.",
    ("PUT", "/v1/links"): "Say what was measured of some levels.",
    ("GET", "/v1/policies"): "The policies that can be set.",
    ("PUT", "/v1/policy"): "Use a policy from the next control period on.",
    ("POST", "/v1/policy/dry-run"): "What setting a policy would change; nothing does.",
    ("GET", "/v1/policies/comparison"): "Which policy would have done best.",
    ("GET", "/v1/shadows"): "The policies that run beside the active one and only propose.",
    ("POST", "/v1/shadows"): "Run a policy beside the active one.",
    ("DELETE", "/v1/shadows/{label}"): "Stop running a policy beside the active one.",
    ("GET", "/v1/plan"): "What would move now; nothing does.",
    ("GET", "/v1/migrations"): "The newest migrations.",
    ("POST", "/v1/migrations"): "Move one guest to a host now.",
    ("POST", "/v1/migrations/{name}/cancel"): "End a migration under way, by its id or its guest.",
    ("POST", "/v1/guests/{guest}/release"): "Let a guest be moved again that was held back.",
    ("POST", "/v1/pause"): "Start no migration any more.",
    ("POST", "/v1/resume"): "Allow migrations again.",
    ("GET", "/v1/explain/{subject}"): "Why a decision was made, or why a guest moved or stayed.",
    ("GET", "/v1/record"): "Whether what happens is recorded, and what has been.",
    ("PUT", "/v1/record"): "Record what happens from now on, or no longer.",
    ("GET", "/v1/traffic"): "Who talks to whom, the greatest flows first.",
    ("GET", "/v1/decisions"): "The decision log, newest first.",
    ("GET", "/v1/report"): "A period in figures: moves, gains, losses, and what other policies would have done.",
    ("GET", "/v1/history"): "The cluster over hours or days.",
    ("GET", "/v1/jobs/{name}/timeline"): "A job's speed over time, and its migrations.",
    ("GET", "/v1/guests/{guest}/dirty"): "How fast a guest dirties its memory, and what was predicted of it.",
    ("GET", "/v1/guests/{guest}/probe"): "Whether a guest's dirty pages are counted, or what that waits for.",
    ("POST", "/v1/guests/{guest}/probe"): "Have a guest's dirty pages counted as soon as it may be probed.",
    ("GET", "/v1/guests/{guest}/targets"): "What moving a guest to each other host would take, and what forbids it.",
    ("GET", "/v1/tokens"): "The tokens that are let in over TCP.",
    ("POST", "/v1/tokens"): "Make a token; it is told this once.",
    ("DELETE", "/v1/tokens/{name}"): "Take a token away.",
    ("GET", "/v1/audit"): "Who asked for what, and what came of it.",
    ("GET", "/v1/events"): "The live document, and then what changes in it.",
    ("GET", "/metrics"): "What Prometheus scrapes.",
    ("GET", "/v1/session"): "Who asks, as the controller sees it.",
    ("POST", "/v1/session"): "Log a browser in with a token; answers with a cookie.",
    ("DELETE", "/v1/session"): "Log a browser out.",
}
_SESSION: Final[dict[Route, tuple[Any, Any]]] = {
    ("GET", "/v1/session"): (None, SessionView),
    ("POST", "/v1/session"): (SessionRequest, SessionView),
    ("DELETE", "/v1/session"): (None, SessionView),
}
# What is no JSON, with its type and what stands in it; of the event stream, in each of its events.
_TEXTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "/v1/events": (
        "text/event-stream",
        {
            "type": "object",
            "required": ["id", "event", "data"],
            "properties": {
                "id": {"type": "string"},
                "event": {"enum": ["snapshot", "change"]},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
        },
    ),
    "/metrics": ("text/plain", {"type": "string"}),
}
# Where it is not 200.
_DONE: Final[dict[Route, int]] = {
    ("POST", "/v1/jobs"): 201,
    ("POST", "/v1/migrations"): 202,
    ("POST", "/v1/guests/{guest}/probe"): 202,
    ("POST", "/v1/migrations/{name}/cancel"): 202,
    ("POST", "/v1/hosts/{host}/evacuation"): 202,
    ("POST", "/v1/recommendations/{name}/approve"): 202,
    ("POST", "/v1/shadows"): 201,
    ("POST", "/v1/tokens"): 201,
}
_REFUSALS: Final = {
    400: "The body is not what is taken here.",
    401: "Nobody knows who asks.",
    403: "The role does not allow it.",
    404: "There is nothing of that name.",
    409: "It was understood and turned down; the text says what would lift that.",
    413: "The body is too large.",
    429: "That was too much or too often; Retry-After says when to come again.",
    500: "It could not be put on record, so it was not done.",
}
_DESCRIPTION: Final = (
    "What operators see and steer of migd. Over TCP a token is needed (`migctl token new`) whose role must be at least "
    "the one each operation names in `x-role`; who may open the socket may do all. `GET /v1/events` sends "
    "server-sent events: a `snapshot` of the live document, then each `change` as a JSON Merge Patch (RFC 7396) to it. "
    "Durations are seconds, times are Unix time in seconds, ratios are 0..1; units stand in the names."
)


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the whole document, as plain data."""
    routes = {**ROUTES, **_SESSION}
    types = [type_ for pair in routes.values() for type_ in pair if type_ is not None]
    queries = [type_ for query in QUERIES.values() for type_ in query.values()]
    schemas, components = msgspec.json.schema_components(
        [*types, *queries, Problem], ref_template="#/components/schemas/{name}"
    )
    # What JSON Schema says of the names in an object, msgspec leaves out.
    components["LinksRequest"]["properties"]["links"]["propertyNames"] = {"enum": [level.value for level in Level]}
    known = list(zip([*types, *queries, Problem], schemas, strict=True))

    def schema(type_: Any) -> dict[str, Any]:
        return next(found for each, found in known if each is type_ or each == type_)

    paths: dict[str, dict[str, Any]] = {}
    for route, (takes, answers) in routes.items():
        operation = _operation(route)
        operation["parameters"] = [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in re.findall(r"{(\w+)}", route[1])
            ),
            *({"name": name, "in": "query", "schema": schema(type_)} for name, type_ in QUERIES.get(route, {}).items()),
        ]
        if takes is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema(takes)}}}
        content = {"application/json": {"schema": schema(answers)}}
        operation["responses"][str(_DONE.get(route, 200))] = {"description": "Done.", "content": content}
        paths.setdefault(route[1], {})[route[0].lower()] = operation
    for path, (kind, content_schema) in _TEXTS.items():
        operation = _operation(("GET", path))
        operation["responses"]["200"] = {"description": "Done.", "content": {kind: {"schema": content_schema}}}
        paths[path] = {"get": operation}
    refused = {"application/json": {"schema": schema(Problem)}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "migd controller",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{"token": []}, {"session": []}],
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "migd_session"},
            },
            "responses": {
                f"Refused{status}": {"description": text, "content": refused} for status, text in _REFUSALS.items()
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    """Return what every operation has, with its refusals."""
    method, path = route
    words = re.findall(r"\w+", path.removeprefix("/v1"))
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *words]),
        "summary": _SUMMARIES.get(route, f"{method} {path}"),
        "responses": {str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in _REFUSALS},
    }
    if route == ("POST", "/v1/session"):
        operation["security"] = []
    else:
        operation["x-role"] = ROLES.get(route, Role.ADMIN).value
    return operation
