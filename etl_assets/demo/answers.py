"""What all good answers of the demo source have in common: an entity tag, 304, and compression.

What belongs here: that. What does not: what is answered (`app`, `dataset_api`), and answers that fail (`middleware`).
"""

from __future__ import annotations

import gzip
import hashlib

from starlette.requests import Request
from starlette.responses import Response

GZIP_LEVEL = 1


def answer(
    request: Request,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Response:
    """Answer with a body, or with 304 where the client has it already.

    Args:
        request: What is answered.
        body: The body, plain.
        headers: Further headers.
        media_type: Of the body.
    """
    tag = hashlib.blake2b(body, digest_size=12).hexdigest()
    headers = {**(headers or {}), "ETag": f'"{tag}"', "Vary": "Accept-Encoding"}
    wanted = request.headers.get("if-none-match", "")
    if wanted.strip() == "*" or tag in {
        each.strip().removeprefix("W/").strip('"') for each in wanted.split(",")
    }:
        return Response(b"", 304, headers)
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        # The tag stands for the plain body; a compressed one is only weakly the same.
        headers = {**headers, "Content-Encoding": "gzip", "ETag": f'W/"{tag}"'}
    return Response(body, 200, headers, media_type=media_type)


def _takes_gzip(accept: str) -> bool:
    for offer in accept.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
