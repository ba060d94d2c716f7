"""The service's routes. What answers them, models and decoders, is given: nothing here knows Ray.

GET  /health  /health/live         without a token: whether it can answer, whether it runs
GET  /v1/models                    the model
POST /v1/chat/completions          OpenAI's, with video
POST /v1/pairs                     order pairs (pair_routes.py); GET and DELETE /v1/pairs/ID, GET .../result
GET  /metrics                      what the service counts, for Prometheus
GET  /openapi.json
"""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

import videopasta
from videopasta.config import ServeConfig
from videopasta.engine import Answer, EngineDead, RequestError
from videopasta.serve.chat import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    CompletionUsage,
    Delta,
    ModelCard,
    ModelList,
    PromptTokensDetails,
    event,
)
from videopasta.serve.errors import ApiError, ErrorAnswer, as_api_error
from videopasta.serve.guard import Guard
from videopasta.serve.limits import Room
from videopasta.serve.metrics import Count
from videopasta.serve.pair_jobs import PairJobs
from videopasta.serve.pair_routes import pair_routes
from videopasta.serve.reading import Question, read_chat
from videopasta.serve.tokens import Tokens
from videopasta.telemetry import sample
from videopasta.video import VideoError

Said = str | Answer | RequestError | VideoError | EngineDead
"""A part of an answer; the answer, which ends it; or why there is none. Errors are values: they come from processes."""


class Backend(Protocol):
    """What answers."""

    def answer(self, question: Question) -> AsyncGenerator[Said]:
        """Parts, then the answer; or an error, which is the last."""
        ...

    async def is_ready(self) -> bool:
        """Whether a question would be answered now."""
        ...

    async def metrics(self) -> str | None:
        """In Prometheus' format; None: nobody gathers them."""
        ...


@dataclass(frozen=True)
class Service:
    """What the routes are made of."""

    config: ServeConfig
    tokens: Tokens
    backend: Backend
    room: Room
    count: Count
    jobs: PairJobs | None = None
    """None: no pairs are made."""
    clock: Callable[[], float] = time.monotonic
    started_at: int = field(default_factory=lambda: int(time.time()))


class Health(BaseModel):
    """Of `/health`."""

    status: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 408, 409, 413, 429, 502, 503, 504)
} | {"default": {"model": ErrorAnswer, "description": "Any other error"}}
_CHAT = {200: {"content": {"text/event-stream": {}}}, **_ERRORS}


def make_app(service: Service) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        if service.jobs is None:
            yield
            return
        await service.jobs.start()
        try:
            yield
        finally:
            await service.jobs.close()

    app = FastAPI(
        title="videopasta",
        version=videopasta.__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=life,
    )
    app.add_middleware(
        Guard,
        tokens=service.tokens,
        limits=service.config.limits,
        room=service.room,
        count=service.count,
        clock=service.clock,
    )
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(HTTPException, _told_by_starlette)
    app.add_exception_handler(RequestValidationError, _told_by_pydantic)
    app.add_exception_handler(Exception, _untold)
    token = Depends(HTTPBearer(auto_error=False))  # for openapi.json; the guard asks for it

    @app.get("/health/live")
    async def live() -> Health:
        """The service runs."""
        return Health(status="live")

    @app.get("/health", responses={503: _ERRORS[503]})
    async def ready() -> Health:
        """The model answers."""
        if not await service.backend.is_ready():
            raise ApiError(503, "no replica of the model is ready", code="not_ready", retry_after_s=5)
        return Health(status="ready")

    @app.get("/v1/models", dependencies=[token], responses=_ERRORS)
    async def models() -> ModelList:
        """The model that is served."""
        return ModelList(data=[_card(service)])

    @app.get("/v1/models/{model:path}", dependencies=[token], responses=_ERRORS)
    async def model(model: str) -> ModelCard:
        """The model of this name."""
        if model != service.config.served_name:
            raise ApiError(404, f"no model {model!r}", code="model_not_found")
        return _card(service)

    @app.post("/v1/chat/completions", dependencies=[token], responses=_CHAT, response_model=ChatCompletion)
    async def chat(asked: ChatRequest) -> Response | ChatCompletion:
        """Answer a conversation about a video; with `stream`, as server-sent events of `ChatCompletionChunk`."""
        question = read_chat(asked, service.config, seed=secrets.randbelow(2**31))
        return await _answer(service, asked, question)

    @app.get("/metrics", dependencies=[token], responses={200: {"content": {"text/plain": {}}}, **_ERRORS})
    async def metrics() -> PlainTextResponse:
        """What the service has counted."""
        text = await service.backend.metrics()
        if text is None:
            raise ApiError(503, "this Ray has no dashboard, and so no agent that gathers metrics", code="no_metrics")
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    if service.jobs is not None:
        app.include_router(pair_routes(service.jobs, dependencies=[token], responses=_ERRORS))
    return app


def _card(service: Service) -> ModelCard:
    model = service.config.model
    return ModelCard(id=service.config.served_name, created=service.started_at, max_model_len=model.max_model_len)


async def _answer(service: Service, asked: ChatRequest, question: Question) -> Response | ChatCompletion:
    started = service.clock()
    said = service.backend.answer(question)
    first = await anext(said)  # before anything is sent: an error has a status then
    if isinstance(first, Exception):
        await said.aclose()
        raise as_api_error(first)
    service.count(sample("videopasta_serve_first_words"))
    service.count(sample("videopasta_serve_first_words_seconds", service.clock() - started))
    named: dict[str, Any] = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": service.config.served_name,
    }
    if asked.stream:
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        events = _events(service, named, first, said, include_usage=include_usage)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    async with aclosing(_from(first, said)) as rest:
        async for part in rest:
            if isinstance(part, Exception):
                raise as_api_error(part)
            if isinstance(part, Answer):
                choice = Choice(message=AnswerMessage(content=part.text), finish_reason=part.finish_reason)
                return ChatCompletion(**named, choices=[choice], usage=_usage(service, part))
    raise RuntimeError("the engine ended without an answer")


async def _events(
    service: Service, named: dict[str, Any], first: Said, said: AsyncGenerator[Said], *, include_usage: bool
) -> AsyncGenerator[str]:
    def chunk(delta: Delta, finish_reason: str | None = None) -> str:
        choice = ChunkChoice(delta=delta, finish_reason=finish_reason)
        return event(ChatCompletionChunk(**named, choices=[choice]))

    yield chunk(Delta(role="assistant", content=""))
    async with aclosing(_from(first, said)) as rest:
        async for part in rest:
            if isinstance(part, str):
                yield chunk(Delta(content=part))
            elif isinstance(part, Answer):
                yield chunk(Delta(), part.finish_reason)
                usage = _usage(service, part)
                if include_usage:
                    yield event(ChatCompletionChunk(**named, choices=[], usage=usage))
            else:  # the status has gone out: the event says it
                yield event(as_api_error(part).body)
                return
    yield event("[DONE]")


async def _from(first: Said, said: AsyncGenerator[Said]) -> AsyncGenerator[Said]:
    async with aclosing(said) as rest:
        yield first
        async for part in rest:
            yield part


def _usage(service: Service, answer: Answer) -> CompletionUsage:
    usage = answer.usage
    counts = {"prompt": usage.prompt_tokens, "cached": usage.cached_tokens, "completion": usage.completion_tokens}
    for kind, count in counts.items():
        service.count(sample("videopasta_serve_tokens", count, kind=kind))
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _told_by_starlette(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail)).response()


async def _told_by_pydantic(_: Request, error: Exception) -> Response:
    """The first mistake, without the value: it may be a whole video."""
    assert isinstance(error, RequestValidationError)
    first, *others = error.errors()
    of, *steps = first["loc"]
    body = error.body if of == "body" else dict.fromkeys(steps)
    where = _place(steps, body, is_missing=first["type"] == "missing")
    more = f" (and {len(others)} more)" if others else ""
    message = "no such parameter, or not heeded here" if first["type"] == "extra_forbidden" else first["msg"]
    return ApiError(400, f"{where or 'body'}: {message}{more}", param=where or None).response()


def _place(steps: Sequence[str | int], body: Any, *, is_missing: bool) -> str:
    """As `messages[0].content[1].text`: what there is of the way, for pydantic also names the kinds that it tried."""
    place, value = "", body
    for step in steps[:-1] if is_missing else steps:
        if isinstance(value, list) and isinstance(step, int):
            place, value = f"{place}[{step}]", value[step]
        elif isinstance(value, dict) and step in value:
            place, value = f"{place}.{step}", value[step]
    return (f"{place}.{steps[-1]}" if is_missing and steps else place).removeprefix(".")


async def _untold(_: Request, error: Exception) -> Response:
    """Starlette raises it once more, for the log."""
    return ApiError(500, "a mistake of the service, which its log has", code="internal_error").response()
