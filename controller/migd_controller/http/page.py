"""The page: plain files of this package, at `/`. Each is a route of its own, so that nothing else is within reach."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

FOLDER: Final = Path(str(files("migd_controller"))) / "web"


def add_page(app: web.Application) -> None:
    """Serve the folder's files at their names, and `index.html` at `/` too."""
    app.router.add_get("/", _file(FOLDER / "index.html"))
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            app.router.add_get(f"/{path.relative_to(FOLDER).as_posix()}", _file(path))


def _file(path: Path) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return handler
