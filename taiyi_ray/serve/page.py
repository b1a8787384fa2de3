"""The page at `/`, where people try a text and see its annotations.

The page is one file and loads nothing from other servers. Its script calls the service's routes as
any client does. The sample texts were written for this project; their patients and studies are
invented.
"""

from __future__ import annotations

import json
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from taiyi_ray import highlight
from taiyi_ray.tasks import DEFAULT_TASKS
from taiyi_ray.tasks.vocabulary import MENTION_TYPES


def router(*, with_models: bool) -> APIRouter:
    """Make the route `GET /`.

    Args:
        with_models: whether the service has `/v1/models`, so that the page lets people choose.
    """
    script = highlight.script(__package__, "page")
    style = highlight.style(__package__, "page")
    samples = resources.files(__package__).joinpath("samples.json").read_text("utf-8")
    data = {
        "colours": highlight.colours(term.name for term in MENTION_TYPES),
        "samples": json.loads(samples),
        "tasks": DEFAULT_TASKS,
        "with_models": with_models,
    }
    html = highlight.template(__package__, "page").render(
        script=script, style=style, data=highlight.as_json(data)
    )
    headers = {
        "content-security-policy": "; ".join(
            (
                "default-src 'none'",
                f"style-src {highlight.csp_hash(style)}",
                f"script-src {highlight.csp_hash(script)}",
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        ),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    return routes
