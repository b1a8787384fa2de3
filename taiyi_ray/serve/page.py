"""The page at `/`: try a text, see what is found. One file, nothing from elsewhere."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def router() -> APIRouter:
    """`GET /`."""
    html = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"content-security-policy": _POLICY})

    return routes
