"""What every request passes before it is read: token, size, rate, room. And what is counted of it.

Plain ASGI, so that answers stream through it and a client that goes away is heard of.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videopasta.config.serve import LimitsConfig
from videopasta.serve.errors import ApiError
from videopasta.serve.limits import Rate, Room
from videopasta.serve.metrics import Count
from videopasta.serve.tokens import Tokens
from videopasta.telemetry import sample

OPEN = "/health"
"""What lies here answers without a token."""
_CLIENT_LEFT = 499
"""Of a client that goes away before anything was sent: nginx's number for it."""
_MAX_DIGITS = 18
"""Of a length that is read as a number."""


class Guard:
    """Around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        limits: LimitsConfig,
        room: Room,
        count: Count,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._tokens, self._limits, self._room = app, tokens, limits, room
        self._count, self._clock = count, clock
        self._rates: dict[str, Rate] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == OPEN or path.startswith(f"{OPEN}/"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        started, status = self._clock(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            scope.setdefault("state", {})["client"] = self._let_in(headers)
            try:
                await self._app(scope, self._bounded(receive), noted)
            except asyncio.CancelledError:
                status = status or _CLIENT_LEFT
                raise
            finally:
                self._room.leave()
        except ApiError as error:
            await error.response()(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._count(sample("videopasta_serve_requests", route=route, status=str(status or 500)))
            self._count(sample("videopasta_serve_seconds", self._clock() - started, route=route))

    def _let_in(self, headers: dict[str, str]) -> str:
        """Who asks; the room is taken."""
        client = self._tokens.client_of(headers.get("authorization"))
        if client is None:
            raise ApiError(401, "give a token of this service: Authorization: Bearer TOKEN", code="invalid_api_key")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _MAX_DIGITS or int(length) > self._limits.body_mib * 2**20:
            raise ApiError(413, self._too_large, code="request_too_large")
        now = self._clock()
        rate = self._rates.setdefault(client, Rate(self._limits.requests_per_minute, now))
        if wait_s := rate.wait_s(now):
            raise ApiError(
                429,
                f"over {self._limits.requests_per_minute:g} requests a minute; come back in {wait_s:.1f} s",
                code="rate_limit_exceeded",
                retry_after_s=wait_s,
            )
        if not self._room.enter():
            raise ApiError(
                429, f"{self._room.most} requests are in flight; come back", code="too_many_requests", retry_after_s=1
            )
        return client

    @property
    def _too_large(self) -> str:
        return f"over this service's {self._limits.body_mib:g} MiB of one request"

    def _bounded(self, receive: Receive) -> Receive:
        """The body, which may come without its length, or with a false one, or never to its end."""
        received, is_whole = 0, False
        ends_at = asyncio.get_running_loop().time() + self._limits.body_s

        async def bounded() -> Message:
            nonlocal received, is_whole
            if is_whole:  # what comes now is that the client goes away
                return await receive()
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request was not whole in {self._limits.body_s:g} s") from None
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._limits.body_mib * 2**20:
                raise HTTPException(413, self._too_large)
            return message

        return bounded
