"""The page: plain files of this package, at `/`."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

FOLDER: Final = Path(str(files("migd_controller"))) / "web"


def add_page(app: web.Application) -> None:
    """Serve the folder's files at `/`, `index.html` for `/` itself. To be called once every other route is there."""

    async def index(request: web.Request) -> web.FileResponse:
        return web.FileResponse(FOLDER / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/", FOLDER)
