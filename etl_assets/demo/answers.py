"""What all good answers of the demo source have in common: an entity tag, 304, and compression.

What belongs here: that. What does not: what is answered (`app`, `dataset_api`), and answers that fail (`middleware`).
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

GZIP_LEVEL = 1


@dataclass(slots=True)
class Body:
    """A body with what is made of it, each made once.

    Attributes:
        plain: The body, or None where it is only kept for its entity tag and its compressed form.
        tag: Its entity tag, without quotation marks.
        packed: The body compressed, once somebody asked for it.
    """

    plain: bytes | None
    tag: str
    packed: bytes | None = None

    @classmethod
    def of(cls, plain: bytes) -> Body:
        """A body that was just made."""
        return cls(plain, hashlib.blake2b(plain, digest_size=12).hexdigest())


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
    response = answer_known(request, Body.of(body), headers, media_type=media_type)
    assert response is not None
    return response


def answer_known(
    request: Request,
    body: Body,
    headers: dict[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Response | None:
    """Answer with a body that may be there only in part; None where the missing part is asked for.

    Args:
        request: What is answered.
        body: The body; compressed here if that is asked for.
        headers: Further headers.
        media_type: Of the body.
    """
    headers = {**(headers or {}), "ETag": f'"{body.tag}"', "Vary": "Accept-Encoding"}
    wanted = request.headers.get("if-none-match", "")
    if wanted.strip() == "*" or body.tag in {
        each.strip().removeprefix("W/").strip('"') for each in wanted.split(",")
    }:
        return Response(b"", 304, headers)
    if not _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(body.plain, 200, headers, media_type=media_type) if body.plain is not None else None
    if body.packed is None:
        if body.plain is None:
            return None
        body.packed = gzip.compress(body.plain, GZIP_LEVEL, mtime=0)
    # The tag stands for the plain body; a compressed one is only weakly the same.
    headers = {**headers, "Content-Encoding": "gzip", "ETag": f'W/"{body.tag}"'}
    return Response(body.packed, 200, headers, media_type=media_type)


def _takes_gzip(accept: str) -> bool:
    for offer in accept.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
