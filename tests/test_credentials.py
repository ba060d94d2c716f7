"""No secret gets as far as a row, run.json, a log or an error."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videopasta import storage
from videopasta.config import GenerateConfig, OpenAIModel, SamplingConfig, dump_yaml, load_config
from videopasta.credentials import credential_in, endpoint_key
from videopasta.engine import Request, RequestError
from videopasta.engine.openai import OpenAIEngine
from videopasta.errors import UserError
from videopasta.evaluate.questions import read_questions
from videopasta.run_file import RunFile
from videopasta.video import load_manifest

SECRET = "sk-hush/0123456789"
WITH_SECRETS = (
    f"s3://AKIAKEY:{SECRET}@bucket/videos/a.mp4",
    "s3://AKIAKEY:hush@bucket/a.mp4",
    "simplecache::s3://AKIAKEY:hush@bucket/a.mp4",
    "s3://bucket/a.mp4?region=eu&secret_key=hush",
    "s3://bucket/a.mp4?access_key=hush&region=eu",
    "s3://bucket/a.mp4?session_token=hush",
    "https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Credential=hush&X-Amz-Signature=hush",
    "https://storage.googleapis.com/b/a.mp4?X-Goog-Signature=hush",
    "https://account.blob.core.windows.net/c/a.mp4?sv=2024&sig=hush",
    "https://user:hush@host/a.mp4",
    "https://host/a.mp4?api_key=hush",
    "https://host/a.mp4?access_token=hush",
)


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_uri_with_a_secret_is_refused_wherever_it_is_given(uri: str, tmp_path: Path):
    """As --videos, in each kind of list, as --out and in questions: by its place, and without repeating it."""
    (tmp_path / "list.txt").write_text(f"# videos\n{uri}\n")
    (tmp_path / "list.csv").write_text(f"video,start\n{uri},1\n")
    (tmp_path / "list.jsonl").write_text(json.dumps({"video": uri}) + "\n")
    pq.write_table(pa.table({"video": [uri]}), tmp_path / "list.parquet")
    for given, where in (
        (lambda: load_manifest(uri), "--videos"),
        (lambda: load_manifest(str(tmp_path / "list.txt")), "list.txt, line 2"),
        (lambda: load_manifest(str(tmp_path / "list.csv")), "list.csv, line 2"),
        (lambda: load_manifest(str(tmp_path / "list.jsonl")), "list.jsonl, line 1"),
        (lambda: load_manifest(str(tmp_path / "list.parquet")), "list.parquet, row 0"),
        (lambda: RunFile(uri, 1), "--out"),
        (lambda: storage.resolve(uri), "..."),
    ):
        with pytest.raises(UserError, match="holds a secret") as caught:
            given()
        assert where in str(caught.value)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "/videos/a:b@c?token=1.mp4",
        "s3://bucket/videos/a:b@c.mp4",
        "s3://bucket/a.mp4?region=eu-north-1&endpoint_override=minio:9000",
        "gs://anonymous@bucket/a.mp4",
        "http://host:8000/v1",
        "http://[::1]:8000/v1",
        "zip://a.mp4::http://host/b.zip",
        "https://host/watch?v=1&monkey=2",
    ],
)
def test_plain_uri_holds_none(uri: str):
    """Ports, odd names and public buckets are no secrets."""
    assert credential_in(uri) is None


def test_questions_with_a_secret_are_refused(tmp_path: Path):
    """Their answers would carry it on."""
    question = {
        "question_id": "q", "query_id": "t", "video_uri": WITH_SECRETS[0], "video_sha256": "0", "start_s": None,
        "end_s": None, "failure_mode": "spatial", "kind": "answerable", "adversary": None, "query": "?", "text": "?",
        "options": [], "right": None, "reference": "a", "misled": None,
    }  # fmt: skip
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps(question))
    with pytest.raises(UserError, match=r"questions\.jsonl, line 1: the uri holds a secret") as caught:
        read_questions(str(file))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (f"judge_model.0.base_url=https://user:{SECRET}@host/v1", "judge_model.0.base_url: holds a secret"),
        ("judge_model.0.base_url=https://host/v1?api_key=sk-hush", "give the key by api_key_env or api_key_file"),
        (f"judge_model.0.api_key_env={SECRET}", "is no name of an environment variable"),
        (f"judge_model.0.api_key={SECRET}", "no such key"),
    ],
)
def test_setting_with_a_secret_is_refused_without_repeating_it(tmp_path: Path, override: str, words: str):
    """The message names the key of the configuration and the way to give a secret."""
    (tmp_path / "config.yaml").write_text("judge_model: {engine: openai, model: m}\n")
    with pytest.raises(UserError) as caught:
        load_config(GenerateConfig, tmp_path / "config.yaml", [override])
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)


def test_key_comes_from_its_file_or_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Read when it is used, hidden when it is shown; the configuration knows its place alone."""
    monkeypatch.setenv("MY_KEY", "of-the-variable")
    file = tmp_path / "key"
    by_file = OpenAIModel(model="m", api_key_env="MY_KEY", api_key_file=str(file))
    with pytest.raises(UserError, match="No such file"):
        endpoint_key(by_file)
    file.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        endpoint_key(by_file)
    file.write_text(SECRET + "\n")
    key = endpoint_key(by_file)
    assert key.get_secret_value() == SECRET
    assert SECRET not in f"{key} {key!r} {dump_yaml(by_file)}"
    assert endpoint_key(OpenAIModel(model="m", api_key_env="MY_KEY")).get_secret_value() == "of-the-variable"
    assert endpoint_key(OpenAIModel(model="m", api_key_env="UNSET")).get_secret_value() == "none"


@pytest.fixture
def tactless_endpoint() -> Iterator[tuple[type, str]]:
    """A server that repeats the key it was given in its errors, as some gateways do."""

    class Handler(BaseHTTPRequestHandler):
        status = 400
        keys: list[str] = []  # noqa: RUF012

        def do_POST(self):
            key = self.headers["authorization"].removeprefix("Bearer ")
            self.keys.append(key)
            self.rfile.read(int(self.headers["content-length"]))  # or the client may be cut off in the middle of it
            body = json.dumps({"error": {"message": f"the key {key} may not", "code": key}}).encode()
            self.send_response(self.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Handler, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RequestError), (422, RequestError), (500, RequestError), (401, openai.AuthenticationError)],
)
def test_key_that_an_endpoint_repeats_is_blotted_out(
    tactless_endpoint: tuple[type, str], tmp_path: Path, status: int, error: type[Exception]
):
    """What an endpoint says of a request goes into quarantine and logs."""
    handler, base_url = tactless_endpoint
    handler.status = status
    (tmp_path / "key").write_text(SECRET)
    model = OpenAIModel(model="m", base_url=base_url, max_retries=0, api_key_file=str(tmp_path / "key"))
    engine = OpenAIEngine(model)
    with pytest.raises(error) as caught:
        asyncio.run(engine.generate(Request(prompt="?", sampling=SamplingConfig(max_tokens=1), seed=0)))
    assert handler.keys[-1] == SECRET
    assert "may not" in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value!r}"
