"""What a client hears, from an application whose model is scripted."""

import asyncio
import json
import math

import pytest
from starlette.testclient import TestClient

from tests.serve.chats import AUTHORIZED, OTHER_TOKEN, TOKEN, Scripted, chat, make_service, user, video_message
from videopasta.engine import EngineDead, RequestError
from videopasta.telemetry import Sample
from videopasta.video import Reason, VideoError

CHAT = "/v1/chat/completions"


def client_of(*arguments, **settings) -> TestClient:
    return TestClient(make_service(*arguments, **settings), headers=AUTHORIZED, raise_server_exceptions=False)


def error_of(response) -> dict:
    (name,) = response.json()
    assert name == "error"
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.json()["error"]


def events_of(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/openapi.json", "/metrics", "/v1/pairs/x", "/docs", "/healthy"])
def test_nothing_but_health_answers_without_a_token(path: str):
    """401 in OpenAI's shape, whether there is such a route or not."""
    stranger = TestClient(make_service())
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = stranger.get(path, headers=headers)
        assert response.status_code == 401
        assert error_of(response)["type"] == "authentication_error"
    assert stranger.get("/health").json() == {"status": "ready"}
    assert stranger.get("/health/live").json() == {"status": "live"}


def test_health_tells_of_a_model_that_does_not_answer():
    """503, for whoever spreads requests; it lives all the same."""
    client = client_of(Scripted(end=RequestError("endpoint_failed", "")))
    assert client.get("/health").status_code == 503
    assert client.get("/health/live").status_code == 200


def test_answer_is_whole_with_its_tokens():
    """Content, reason of its end, usage."""
    answer = client_of().post(CHAT, json=chat()).json()
    (choice,) = answer["choices"]
    assert choice.pop("message") == {"role": "assistant", "content": "The ball moves.", "refusal": None}
    assert choice == {"index": 0, "finish_reason": "stop", "logprobs": None}
    assert answer["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip


def test_stream_is_events_that_end_with_done():
    """The role, the parts, the reason; usage where it is asked for."""
    response = client_of().post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events_of(response.text)
    assert done == "[DONE]"
    first, *parts, last, usage = map(json.loads, chunks)
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    assert [part["choices"][0]["delta"]["content"] for part in parts] == ["The ball", " moves."]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 11)


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (VideoError(Reason.NOT_ALLOWED, "no"), 403, "not_allowed"),
        (VideoError(Reason.TOO_LARGE_FILE, "no"), 413, "too_large_file"),
        (VideoError(Reason.CORRUPT, "no"), 400, "corrupt"),
        (RequestError("prompt_too_long", "no"), 400, "prompt_too_long"),
        (RequestError("deadline", "no"), 504, "deadline"),
        (EngineDead("no"), 503, "engine_died"),
    ],
)
def test_errors_of_decoders_and_engines_have_a_status(end: Exception, status: int, code: str):
    """Also of a stream that has not begun; of one that has, an event tells."""
    for stream in (False, True):
        response = client_of(Scripted(parts=(), end=end)).post(CHAT, json=chat(stream=stream))
        assert (response.status_code, error_of(response)["code"]) == (status, code)
    begun = client_of(Scripted(end=end)).post(CHAT, json=chat(stream=True))
    assert json.loads(events_of(begun.text)[-1])["error"]["code"] == code


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(stop="."), "stop"),
        (chat(tools=[]), "tools"),
        (chat(n=2), "n"),
        (chat(presence_penalty=0.5), "presence_penalty"),
        (chat(media_io_kwargs={"video": {"fps": 1e-300}}), "media_io_kwargs.video.fps"),
        (chat(media_io_kwargs={"video": {"fps": 1e300}}), "media_io_kwargs.video.fps"),
        (chat(temperature=-1), "temperature"),
        (chat(temperature=math.nan), "temperature"),
        (chat(stream_options={"include_usage": True}), "stream_options"),
        (chat(user([{"type": "input_audio"}])), "messages[0].content[0]"),
        (chat(user([{"type": "text"}])), "messages[0].content[0].text"),
        (chat(video_message(1)), "messages[0].content[0].video_url.url"),
        (chat(user([])), "messages[0].content"),
        (chat(user(3)), "messages[0].content"),
        (chat(user("a"), {"role": "tool", "content": "b", "tool_call_id": "c"}), "messages[1].role"),
        (chat(user("a"), {"role": "assistant", "content": None}), "messages[1].content"),
        ({"model": "tiny:vl"}, "messages"),
    ],
)
def test_parameters_that_are_not_heeded_are_refused(body: dict, param: str):
    """400, and which."""
    response = client_of().post(CHAT, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("message", [user("\ud800"), video_message("/v/\udcff.mp4"), video_message("/v", "\udfff")])
def test_halves_of_characters_are_no_text(message: dict):
    """JSON's escapes can name them, and no tokenizer, log or answer takes them."""
    body = json.dumps(chat(message))
    response = client_of().post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert "no text: surrogates" in error_of(response)["message"]


def test_parameters_that_say_nothing_are_let_through():
    """As clients send them: null, no penalty, plain text; also in a message of an answer that is sent back."""
    nothing = {
        "stop": None, "frequency_penalty": 0, "response_format": {"type": "text"}, "logprobs": False, "logit_bias": {},
        "modalities": ["text"], "service_tier": "auto",
    }  # fmt: skip
    said = {"role": "assistant", "content": "Yes.", "refusal": None, "tool_calls": None}
    assert client_of().post(CHAT, json=chat(user("a"), said, user("b"), **nothing)).status_code == 200


def test_mistakes_do_not_repeat_what_was_sent():
    """It may be a whole video."""
    response = client_of().post(CHAT, json=chat(user([{"type": "text", "text": ["a" * 1000]}])))
    assert response.status_code == 400
    assert "aaa" not in response.text


def test_other_routes_and_methods_are_errors_too():
    """404 and 405 in the same shape; no page that loads scripts from elsewhere."""
    client = client_of()
    assert error_of(client.get("/docs"))["type"] == "not_found_error"
    assert client.get("/v1/pairs/pairs-1").status_code == 404  # no pairs are made here
    assert client.put("/v1/models").status_code == 405


def test_a_mistake_of_ours_says_nothing_about_itself():
    """500 without a traceback."""

    class Broken(Scripted):
        async def is_ready(self) -> bool:
            raise RuntimeError("a secret")

    response = client_of(Broken()).get("/health")
    assert response.status_code == 500
    assert "secret" not in response.text


def test_request_that_is_too_large_is_refused_before_it_is_read():
    """By its length, or where it has none as soon as it is over."""
    client = client_of(limits={"body_mib": 0.001})
    small, large = chat(user("a" * 500)), chat(user("a" * 2000))
    assert client.post(CHAT, json=small).status_code == 200
    assert client.post(CHAT, json=large).status_code == 413
    pieces = iter([json.dumps(large).encode()[:1000], json.dumps(large).encode()[1000:]])
    response = client.post(CHAT, content=pieces, headers={"content-type": "application/json"})
    assert "content-length" not in response.request.headers
    assert response.status_code == 413
    assert error_of(response)["type"] == "invalid_request_error"


def test_a_request_that_never_ends_is_given_up():
    """408 at its deadline, and its room is there for another; a stream that is answered has all the time it takes."""
    app = make_service(limits={"body_s": 0.05, "in_flight": 1})

    async def status_of(*messages: dict) -> int:
        coming, sent = [*messages], []

        async def receive() -> dict:
            return coming.pop(0) if coming else await asyncio.sleep(10)

        async def send(message: dict) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"", "headers": headers}
        await asyncio.wait_for(app(scope, receive, send), 5)
        return sent[0]["status"]

    assert asyncio.run(status_of({"type": "http.request", "body": b"{", "more_body": True})) == 408
    assert asyncio.run(status_of({"type": "http.request", "body": json.dumps(chat()).encode()})) == 200


def test_a_client_that_goes_away_is_no_mistake_of_the_service():
    """Counted as 499; its room is there for another."""

    class Waiting(Scripted):
        async def is_ready(self) -> bool:
            return True

        async def metrics(self) -> str:
            return await asyncio.sleep(10)

    async def ask(counted: list[Sample]) -> None:
        app = make_service(Waiting(), count=counted)
        headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": headers}
        asking = asyncio.create_task(app(scope, asyncio.Event().wait, asyncio.Event().wait))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait([asking])

    counted: list[Sample] = []
    asyncio.run(ask(counted))
    assert dict(counted[0].labels) == {"route": "/metrics", "status": "499"}


def test_rate_is_per_token():
    """429 with the time to wait; another client is not touched, and time mends it."""
    now = [0.0]
    client = client_of(clock=lambda: now[0], limits={"requests_per_minute": 2})
    assert [client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/v1/models")
    assert refused.headers["retry-after"] == "30"
    assert error_of(refused)["code"] == "rate_limit_exceeded"
    other = client.get("/v1/models", headers={"Authorization": f"Bearer {OTHER_TOKEN}"})
    assert other.status_code == 200
    now[0] = 30.0
    assert client.get("/v1/models").status_code == 200


def test_requests_in_flight_are_bounded():
    """One that is answered leaves room for the next; one too many is told to come back."""
    seen = []

    class Asking(Scripted):
        async def is_ready(self) -> bool:
            return True

        async def metrics(self) -> str:
            seen.append(client.get("/v1/models"))  # while this one is in flight
            return ""

    client = client_of(Asking(), limits={"in_flight": 1})
    assert client.get("/metrics").status_code == 200
    assert (seen[0].status_code, seen[0].headers["retry-after"]) == (429, "1")
    assert client.get("/v1/models").status_code == 200


def test_models_are_listed_by_the_name_that_clients_use():
    """One of them, alone and in the list."""
    client = client_of(name="org/ours")
    (card,) = client.get("/v1/models").json()["data"]
    assert card["id"] == "org/ours"
    assert client.get("/v1/models/org/ours").json() == card
    assert client.get("/v1/models/other").status_code == 404


def test_openapi_describes_what_is_sent():
    """Routes, the token, videos as parts of messages."""
    document = client_of().get("/openapi.json").json()
    assert {CHAT, "/v1/models", "/health", "/metrics"} <= set(document["paths"])
    answers = document["paths"][CHAT]["post"]["responses"]
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    assert not {"422", "HTTPValidationError"} & {*answers, *document["components"]["schemas"]}  # mistakes are 400
    assert document["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    assert document["components"]["schemas"]["VideoUrl"]["properties"]["url"]["description"].startswith("A path or")
    assert "/v1/pairs" not in document["paths"]


def test_requests_are_counted_by_route_and_status():
    """By the route's pattern, never by what a client wrote into it."""
    counted: list[Sample] = []
    client = client_of(count=counted)
    client.post(CHAT, json=chat())
    client.get("/v1/models/whatever")
    client.get("/nowhere")
    requests = [dict(one.labels) for one in counted if one.name == "videopasta_serve_requests"]
    assert requests == [
        {"route": CHAT, "status": "200"},
        {"route": "/v1/models/{model:path}", "status": "404"},
        {"route": "other", "status": "404"},
    ]
    tokens = {one.labels[0][1]: one.value for one in counted if one.name == "videopasta_serve_tokens"}
    assert tokens == {"prompt": 7, "cached": 2, "completion": 4}
