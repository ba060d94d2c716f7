"""A stand-in for models, named as such: an OpenAI-compatible server whose answers are made of a hash of the request.

Equal requests get equal answers, whoever asks and whenever, so that two runs can be compared row by row. It says
nothing about models; everything that asks it - engine, actors, stages, prompts, seeds - is the real thing. A request
with a white frame is poison: the process that sent it is killed. One with a black frame is never answered.
"""

import base64
import hashlib
import io
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
from PIL import Image, ImageStat

LATENCY_S = 0.05
"""So that a run has a middle to be killed in."""
_WORDS = (
    "red", "blue", "left", "right", "before", "after", "ball", "box", "moves", "stops", "small", "large", "first",
)  # fmt: skip


class Endpoint:
    """The server, on a free port of this machine, until the process ends."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: whoever asked was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        brightness = _brightness(json.loads(body))
        if brightness > 250:
            _kill_owner_of(self.client_address[1])
            return
        if brightness < 2:
            self.rfile.read(1)  # until whoever asked is gone
            return
        time.sleep(LATENCY_S)
        answer = json.dumps(_completion(json.loads(body), random.Random(hashlib.sha256(body).digest()))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def _brightness(request: dict) -> float:
    """Of the first frame, 0 to 255; in the middle where there is none."""
    first = request["messages"][0]["content"][0]
    if first["type"] != "image_url":
        return 128
    image = Image.open(io.BytesIO(base64.b64decode(first["image_url"]["url"].partition(",")[2])))
    return ImageStat.Stat(image.convert("L")).mean[0]


def _kill_owner_of(port: int) -> None:
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            psutil.Process(connection.pid).kill()


def _completion(request: dict, rng: random.Random) -> dict:
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema")
    text = _sentence(rng) if schema is None else json.dumps(_value(schema, rng))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": len(str(request)), "completion_tokens": len(text.split()), "total_tokens": 0}
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice],
        "usage": usage,
    }  # fmt: skip


def _value(schema: dict, rng: random.Random) -> object:
    """Any value of a JSON schema, of the kinds that the stages ask for."""
    kind = schema["type"]
    if kind == "object":
        return {name: _value(one, rng) for name, one in schema["properties"].items()}
    if kind == "array":
        return [_value(schema["items"], rng) for _ in range(schema["minItems"])]
    if kind == "boolean":
        return rng.random() < 0.9
    if kind == "integer":
        return rng.randint(schema["minimum"], schema["maximum"])
    return _sentence(rng)


def _sentence(rng: random.Random) -> str:
    return "The " + " ".join(rng.choices(_WORDS, k=9)) + "."
