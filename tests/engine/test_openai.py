"""The remote engine's own duties: errors, retries, and what it sends."""

import asyncio
import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import openai
import pytest
from PIL import Image

from tests.engine.conftest import make_request, make_video
from videopasta.config import OpenAIModel
from videopasta.engine import RequestError
from videopasta.engine.openai import OpenAIEngine, encode_video


@pytest.fixture
def failing_endpoint():
    """An HTTP server of ours that answers every request alike: a stand-in for an endpoint in trouble."""

    class Handler(BaseHTTPRequestHandler):
        status = 503
        content_type, content = "application/json", b""
        num_requests = 0

        def do_POST(self):
            type(self).num_requests += 1
            self.send_response(self.status)
            self.send_header("content-type", self.content_type)
            self.send_header("content-length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Handler, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_an_endpoint_in_trouble_is_retried_then_the_row_is_given_up(failing_endpoint):
    """5xx is retried max_retries times with back-off, then becomes a reasoned refusal."""
    handler, base_url = failing_endpoint
    engine = OpenAIEngine(OpenAIModel(model="m", base_url=base_url, max_retries=2))
    with pytest.raises(RequestError) as refusal:
        asyncio.run(engine.generate(make_request()))
    assert refusal.value.reason == "endpoint_failed"
    assert handler.num_requests == 3


def test_a_wrong_key_stops_the_run(failing_endpoint):
    """401 concerns every row: it is raised as it is, not made a row's fault, and not retried."""
    handler, base_url = failing_endpoint
    handler.status = 401
    engine = OpenAIEngine(OpenAIModel(model="m", base_url=base_url))
    with pytest.raises(openai.AuthenticationError):
        asyncio.run(engine.generate(make_request()))
    assert handler.num_requests == 1


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/html", b"<html>Sign in: KEY</html>"),
        ("application/json", b"{half"),
        ("application/json", b'["KEY"]'),
        ("application/json", b'{"error": {"message": "no room for KEY"}}'),
        ("application/json", b'{"choices": null, "error": {"message": "KEY"}}'),
        ("application/json", b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'),
        (
            "application/json",
            b'{"choices": [{"message": null}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
        ),
        ("application/json", b'{"choices": [{"message": {"content": "Yes."}}]}'),
        ("application/json", b'{"choices": [{"message": {"content": "Yes."}}], "usage": {"prompt_tokens": null}}'),
        ("application/json", b'{"choices": ["Yes."], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'),
    ],
)
def test_an_answer_that_is_none_fails_its_clip_and_not_the_run(failing_endpoint, monkeypatch, content_type, content):
    """Status 200 with a page, an error of a gateway, or half of what there should be; the key is not repeated."""
    handler, base_url = failing_endpoint
    monkeypatch.setenv("MY_KEY", "hush-hush")
    handler.status, handler.content_type, handler.content = 200, content_type, content.replace(b"KEY", b"hush-hush")
    engine = OpenAIEngine(OpenAIModel(model="m", base_url=base_url, api_key_env="MY_KEY"))
    with pytest.raises(RequestError) as refusal:
        asyncio.run(engine.generate(make_request()))
    assert refusal.value.reason == "endpoint_failed"
    assert base_url in refusal.value.detail
    assert "hush" not in refusal.value.detail


def test_frames_as_images_keep_order_and_content():
    """Each frame is one JPEG, in order, close to the original."""
    frames = np.stack([np.full((56, 84, 3), value, np.uint8) for value in (0, 80, 160, 240)])
    video = make_video()
    video = type(video)(frames, 1.0, "k")
    parts = encode_video(video, "image_frames")
    decoded = [np.asarray(Image.open(io.BytesIO(_payload(part["image_url"]["url"])))) for part in parts]
    assert [int(image.mean().round()) for image in decoded] == pytest.approx([0, 80, 160, 240], abs=2)


def test_video_url_keeps_frames_and_rate():
    """The inline MP4 has exactly the plan's frames, at the sampled rate."""
    (part,) = encode_video(make_video(num_frames=6, fps=1.5), "video_url")
    with av.open(io.BytesIO(_payload(part["video_url"]["url"]))) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(1.5)
        assert sum(1 for _ in container.decode(stream)) == 6


def test_one_video_is_one_content_whenever_it_is_sent():
    """Servers cache by content: other bytes for the same frames would encode the video anew for each question."""
    video = make_video(num_frames=32)
    for video_as in ("image_frames", "video_url"):
        assert all(encode_video(video, video_as) == encode_video(video, video_as) for _ in range(3))


def test_a_video_is_encoded_once_for_all_its_requests(failing_endpoint):
    """Requests about one video share one encoding, and one that is cancelled leaves it to the others."""
    _, base_url = failing_endpoint

    async def two_requests():
        engine = OpenAIEngine(OpenAIModel(model="m", base_url=base_url, max_retries=0))
        cancelled, other = (asyncio.create_task(engine.generate(make_request(video=make_video()))) for _ in range(2))
        await asyncio.sleep(0)
        assert len(engine._encoded) == 1
        cancelled.cancel()
        with pytest.raises(RequestError, match="endpoint_failed"):
            await other

    asyncio.run(two_requests())


def _payload(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])
