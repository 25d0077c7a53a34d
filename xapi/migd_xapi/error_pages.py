"""What the HTTP server itself answers when a request never becomes a call: the pages of xapi's http_svr.ml."""

import html
from typing import Final

from aiohttp import web

_PAGES: Final = {
    400: ("HTTP 400 bad request", "The HTTP request was malformed. Please correct and retry."),
    401: ("HTTP 401 unauthorised", "Please check your credentials and retry."),
    403: ("HTTP 403 forbidden", "Access to the requested resource is forbidden."),
    404: ("HTTP 404 not found", "The requested resource does not exist."),
    500: ("HTTP 500 internal server error", "An unexpected error occurred; please wait a while and try again."),
    501: ("HTTP 501 Method Not Implemented", ""),
}


def error_page(status: int, why: str = "", *, realm: str = "") -> web.Response:
    """Return the page for a status, after which the connection is closed; `realm` asks for HTTP Basic credentials."""
    headline, advice = _PAGES[status]
    extra = f"<h1> Additional information </h1>{html.escape(why)}" if why else ""
    response = web.Response(
        status=status,
        body=f"<html><body><h1>{headline}</h1>{advice}{extra}</body></html>".encode(),
        content_type="text/html",
        headers={"WWW-Authenticate": f'Basic realm="{realm}"'} if realm else None,
    )
    response.force_close()
    return response
