"""Who may ask the server at all. In: requests. Out: a refusal in a sentence, or what all answers carry.

Loopback keeps other machines out, but not other users of this one, nor web pages that make a browser ask:
so there is a token, which only the terminal that started the server shows, and a cookie once it was given.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
TOKEN = "token"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True)
class Door:
    """Lets in who has the token.

    Attributes:
        most_bytes: of one request.
    """

    most_bytes: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def refusal(self, request: Request) -> Response | None:
        """What is answered instead of a page; None where the request may pass."""
        if request.headers.get("host", "").rsplit(":", 1)[0] not in HOSTS:
            return PlainTextResponse("this server answers to 127.0.0.1 and localhost alone", 403)
        if request.method == "POST" and not _same_origin(request):
            return PlainTextResponse("forms are taken from this server's own pages alone", 403)
        if request.method == "GET" and self._is_token(request.query_params.get(TOKEN, "")):
            return self._with_cookie(request)
        if not self._is_token(request.cookies.get(_cookie(request), "")):
            return PlainTextResponse(
                "open the address with the token that the terminal shows, where the server was started", 403
            )
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not _at_most(length, self.most_bytes):
            return PlainTextResponse(f"at most {self.most_bytes / 2**30:g} GiB at a time", 413)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _with_cookie(self, request: Request) -> Response:
        """The same address without the token, which should stay in no history."""
        asked = [(key, value) for key, value in parse_qsl(request.url.query) if key != TOKEN]
        path = "/" + request.url.path.lstrip("/")
        response = RedirectResponse(path + (f"?{urlencode(asked)}" if asked else ""), 303)
        response.set_cookie(_cookie(request), self.token, httponly=True, samesite="strict", path="/")
        return response


def _cookie(request: Request) -> str:
    """Browsers share cookies among the ports of a machine, so the name tells servers apart."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"reid_ray_review_{port if port.isascii() and port.isdecimal() else 80}"


def _same_origin(request: Request) -> bool:
    """Browsers say where a form came from; other programs may say nothing."""
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # such as http://[
        return False


def _at_most(length: str, most: int) -> bool:
    return length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= most
