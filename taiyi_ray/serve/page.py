"""The page at `/`: try a text, see what is found. One file, nothing from elsewhere.

It asks the service's own routes, as any client does. The samples were written for this project;
the patients and studies in them are invented.
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
    """`GET /`.

    Args:
        with_models: whether there is `/v1/models`, to choose a model and its adapters from.
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
