"""The catalogue's paths: `/id/<identifier>` and `/id/<identifier>.xml`, with the format as a parameter.

What belongs here: finding out what is asked for. What does not: documents (`datasets`), and everything that all answers
have in common (`answers`).
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl_assets.demo.answers import answer
from etl_assets.demo.datasets import DatasetCatalogue

PATH = "/id/"
MEDIA_TYPES = {
    "json": "application/json",
    "gemini": "application/x-gemini+xml",
    "schema.org": "application/ld+json",
}


def dataset_routes(datasets: DatasetCatalogue) -> list[Route]:
    """The routes below `/id/`; like those of the real catalogue they take no token."""

    async def document(request: Request) -> Response:
        identifier, form = request.path_params["identifier"], request.query_params.get("format", "json")
        if form not in MEDIA_TYPES:
            raise HTTPException(406, "no such format")
        if form == "gemini":
            identifier = identifier.removesuffix(".xml")
        # In a thread: writing XML, or reading a file, would hold up all other answers.
        body = await asyncio.to_thread(datasets.document, identifier, form)
        if body is None:
            raise HTTPException(404, "there is no such document")
        return answer(request, body, media_type=MEDIA_TYPES[form])

    return [Route(f"{PATH}{{identifier}}", document)]
