"""Where videos may be read from, however a list names them."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.clips import make_clip
from videopasta import storage
from videopasta.config import DecodeConfig, GenerateConfig, OpenAIModel, SourcesConfig, UniformPlan
from videopasta.generate.run import plan_run
from videopasta.pairs import PairStore
from videopasta.video import ClipRequest, DecodeWorker, Reason, VideoError, check_source, decode_clip, load_manifest


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A root with a video, a secret beside it, and ways from one to the other."""
    root = tmp_path / "videos"
    (root / "sub").mkdir(parents=True)
    make_clip(root / "sub/good.mp4")
    make_clip(tmp_path / "secret.mp4")
    (tmp_path / "videos-of-others").mkdir()
    make_clip(tmp_path / "videos-of-others/other.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "up").symlink_to(tmp_path)
    (root / "inside.mp4").symlink_to(root / "sub/good.mp4")
    return root


def refused(uri: str, **sources) -> str:
    """Why `uri` may not be read."""
    with pytest.raises(VideoError) as caught:
        check_source(uri, SourcesConfig(**sources))
    assert caught.value.reason == Reason.NOT_ALLOWED
    return caught.value.detail


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mp4",
        "sub/../../secret.mp4",
        "link.mp4",
        "up/secret.mp4",
        "up/videos-of-others/other.mp4",
        "../videos-of-others/other.mp4",
        "../../../../../../../../etc/passwd",
        "../none.mp4",
        "nul\0.mp4",
    ],
)
@pytest.mark.parametrize("form", ["{0}/{1}", "file://{0}/{1}", "file://host{0}/{1}"])
def test_nothing_leads_out_of_a_root(places: Path, name: str, form: str):
    """Not `..`, not a symlink to a file or folder, not a folder whose name begins alike; missing files tell nothing."""
    assert "roots" in refused(form.format(places, name), roots=(str(places),)) or "\0" in name


@pytest.mark.parametrize(
    "name", ["%2e%2e/secret.mp4", "sub/%2E%2E/%2e./secret.mp4", "..%2fsecret.mp4", "%75p/secret.mp4"]
)
def test_percent_encoding_hides_no_way_out(places: Path, name: str):
    """A file:// uri is judged decoded, as it is opened."""
    assert "roots" in refused(f"file://{places}/{name}", roots=(str(places),))


def test_what_lies_in_a_root_is_opened_by_its_real_path(places: Path):
    """Links within the root are followed once, when they are checked."""
    sources = SourcesConfig(roots=(str(places),))
    real = str(places / "sub/good.mp4")
    for name in ("sub/good.mp4", "inside.mp4", "sub/../sub/good.mp4", "up/videos/sub/good.mp4"):
        assert check_source(f"{places}/{name}", sources) == real
        assert check_source(f"file://{places}/{name}", sources) == real
    odd = places / os.fsdecode(b"caf\xe9.mp4")
    odd.write_bytes(b"")
    assert storage.local_path(check_source(storage.local_uri(str(odd)), sources)) == str(odd)


def test_without_roots_any_local_file_is_read_as_named(places: Path):
    """The default asks nothing of local names."""
    assert check_source(f"{places}/../secret.mp4", SourcesConfig()) == f"{places}/../secret.mp4"
    assert "file" in refused("/a.mp4", schemes=("s3",))


@pytest.mark.parametrize(
    ("uri", "sources", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", {}, "schemes has no `http`"),
        ("https://example.org/a.mp4", {}, "schemes has no `https`"),
        ("FILE:///etc/passwd", {}, "schemes has no `FILE`"),
        ("local:///etc/passwd", {}, "schemes has no `local`"),
        ("ftp://host/a.mp4", {}, "schemes has no `ftp`"),
        ("simplecache::file:///etc/passwd", {}, "schemes has no `simplecache::file`"),
        ("zip://a.mp4::http://host/b.zip", {"schemes": ("zip",)}, "is no bucket"),
        ("zip://a/b.mp4::http://host/b.zip", {"schemes": ("zip",)}, "is no bucket"),
        ("s3://bucket/a.mp4?endpoint_override=169.254.169.254&scheme=http", {}, "hosts has no `169.254.169.254`"),
        ("s3://bucket?endpoint_override=169.254.169.254&scheme=http/a.mp4", {}, "is no bucket"),
        ("s3://bucket/a.mp4?endpoint%5Foverride=169.254.169.254", {"roots": ("s3://bucket/v",)}, "root"),
        ("s3://bucket/a.mp4?region=eu&endpoint%5Foverride=127.0.0.1", {}, "hosts has no `127.0.0.1`"),
        ("s3://bucket/a.mp4?proxy_options=http", {}, "proxy_options"),
        ("gs://bucket/a.mp4?endpoint_override=127.0.0.1:80", {}, "hosts has no `127.0.0.1:80`"),
        ("s3://KEY:hush@bucket/a.mp4", {}, "user:password@"),
        ("https://other.org/a.mp4", {"schemes": ("https",), "hosts": ("example.org",)}, "hosts has no `other.org`"),
        ("https://example.org:22/a.mp4", {"schemes": ("https",), "hosts": ("example.org",)}, "hosts has no"),
        ("https://example.org@evil.org/a.mp4", {"schemes": ("https",), "hosts": ("example.org",)}, "is no bucket"),
        ("https://evil.org\\@example.org/a.mp4", {"schemes": ("https",), "hosts": ("example.org",)}, "is no bucket"),
        ("s3://other/videos/a.mp4", {"roots": ("s3://bucket/videos",)}, "root"),
        ("s3://bucket/videos-of-others/a.mp4", {"roots": ("s3://bucket/videos",)}, "root"),
        ("s3://bucket/videos/../a.mp4", {"roots": ("s3://bucket/videos",)}, "root"),
        ("s3://bucket/videos/%2e%2e/a.mp4", {"roots": ("s3://bucket/videos",)}, "root"),
        ("gs://bucket/videos/a.mp4", {"roots": ("s3://bucket/videos",)}, "root"),
        ("s3://bucket/a.mp4", {"roots": ("/videos",)}, "root"),
        ("/videos/a.mp4", {"roots": ("s3://bucket",)}, "root"),
    ],
)
def test_remote_place_that_was_not_named_is_refused(uri: str, sources: dict, words: str):
    """Schemes, hosts, options and prefixes; what was refused is told, a secret is not."""
    detail = refused(uri, **sources)
    assert words in detail
    assert "hush" not in detail


@pytest.mark.parametrize(
    ("uri", "sources"),
    [
        ("s3://bucket/videos/a 1?#.mp4", {}),
        ("s3://bucket/videos/a.mp4?region=eu-north-1", {"roots": ("s3://bucket/videos/",)}),
        ("s3://bucket/a.mp4?endpoint_override=minio:9000&scheme=http", {"hosts": ("minio:9000",)}),
        ("gs://anonymous@bucket/a::b.mp4", {"roots": ("gs://anonymous@bucket",)}),
        ("hf://datasets/owner/name/a.mp4", {}),
        ("https://Example.org/a.mp4?version=2", {"schemes": ("https",), "hosts": ("example.ORG",)}),
    ],
)
def test_remote_place_that_was_named_is_read_as_it_is(uri: str, sources: dict):
    """The uri comes back unchanged."""
    assert check_source(uri, SourcesConfig(**sources)) == uri


@pytest.mark.parametrize("root", ["videos", "./videos", "~/videos"])
def test_relative_root_is_refused(root: str):
    """It would be another folder on each worker."""
    with pytest.raises(ValidationError, match="absolute"):
        SourcesConfig(roots=(root,))


@pytest.fixture
def server(places: Path) -> Iterator[tuple[str, list[str]]]:
    """Host and port of a web server on this machine with a video and a redirect, and the paths it was asked for."""
    asked: list[str] = []
    content = (places / "sub/good.mp4").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("location", "/good.mp4")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_response({"/gone": 404, "/secret": 403, "/broken": 500}.get(self.path, 200))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path == "/short" else content)

        def log_message(self, *args):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{served.server_address[1]}", asked
    served.shutdown()


def look(uri: str, **sources) -> ClipRequest:
    config = DecodeConfig(sources=SourcesConfig(**sources))
    return ClipRequest(uri, None, None, {"dense": UniformPlan()}, config)


def test_video_on_a_named_host_is_the_local_one(places: Path, server: tuple[str, list[str]]):
    """An address that the operator wrote himself may be a private one."""
    host, _ = server
    there = decode_clip(look(f"http://{host}/good.mp4", schemes=("http",), hosts=(host,)))
    assert there.video_sha256 == decode_clip(look(str(places / "sub/good.mp4"))).video_sha256


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/moved", Reason.NOT_ALLOWED),
        ("/gone", Reason.MISSING),
        ("/secret", Reason.UNREADABLE),
        ("/broken", Reason.FETCH_FAILED),
        ("/short", Reason.FETCH_FAILED),
    ],
)
def test_web_server_in_trouble_or_up_to_something_has_its_reason(
    server: tuple[str, list[str]], path: str, reason: Reason
):
    """No redirect is followed, and half a file is none."""
    host, asked = server
    with pytest.raises(VideoError) as caught:
        decode_clip(look(f"http://{host}{path}", schemes=("http",), hosts=(host,)))
    assert caught.value.reason == reason
    assert asked == [path]


def test_web_server_in_trouble_is_asked_again(server: tuple[str, list[str]]):
    """`attempts` times, then it is a row."""
    host, asked = server
    config = DecodeConfig(attempts=2, sources=SourcesConfig(schemes=("http",), hosts=(host,)))
    with DecodeWorker(config) as worker, pytest.raises(VideoError) as caught:
        worker.decode(ClipRequest(f"http://{host}/broken", None, None, {"dense": UniformPlan()}, config))
    assert caught.value.reason == Reason.FETCH_FAILED
    assert asked == ["/broken", "/broken"]


@pytest.mark.parametrize("name", ["localhost", "2130706433", "127.1", "0x7f000001"])
def test_name_that_leads_into_the_machine_is_not_followed(server: tuple[str, list[str]], name: str):
    """Also one that the operator named: names are other people's, and change."""
    address, asked = server
    host = f"{name}:{address.partition(':')[2]}"
    with pytest.raises(VideoError) as caught:
        decode_clip(look(f"http://{host}/good.mp4", schemes=("http",), hosts=(host,)))
    assert caught.value.reason == Reason.NOT_ALLOWED
    assert asked == []


def test_list_from_elsewhere_becomes_rows_with_a_reason(places: Path, tmp_path: Path):
    """In the decoder's own process, as a run has it: what may not be read is quarantined, the rest decodes."""
    listing = tmp_path / "list.txt"
    names = (f"{places}/sub/good.mp4", f"{places}/link.mp4", "secret.mp4", "/etc/passwd", "http://169.254.169.254/x")
    listing.write_text("\n".join(names))
    config = DecodeConfig(sources=SourcesConfig(roots=(str(places),)))
    reasons = []
    with DecodeWorker(config) as worker:
        for entry in load_manifest(str(listing)):
            try:
                worker.decode(ClipRequest(entry.uris[0], None, None, {"dense": UniformPlan()}, config))
                reasons.append(None)
            except VideoError as error:
                reasons.append(error.reason)
    assert reasons == [None, *[Reason.NOT_ALLOWED] * 4]


def test_file_outside_the_roots_is_not_hashed(places: Path, tmp_path: Path):
    """Looking for equal content, the driver reads no more than the decoder may."""
    listing = tmp_path / "list.txt"
    copy = places / "copy.mp4"
    copy.write_bytes((tmp_path / "secret.mp4").read_bytes())
    listing.write_text(f"{copy}\n{tmp_path}/secret.mp4\n")
    model = OpenAIModel(model="m", base_url="http://127.0.0.1:9/v1")
    models = {"query_model": model, "response_model": model, "judge_model": (model,)}
    store = PairStore(str(tmp_path / "out"))
    free = plan_run(str(listing), store, GenerateConfig(**models))
    assert [len(entry.uris) for entry in free.missing] == [2]
    bound = GenerateConfig(**models, decode=DecodeConfig(sources=SourcesConfig(roots=(str(places),))))
    assert [len(entry.uris) for entry in plan_run(str(listing), store, bound).missing] == [1, 1]
