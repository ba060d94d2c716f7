"""A file is all that is opened: what stands in it names nothing that is read or asked."""

import shutil
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from tests.clips import make_clip
from videopasta.config.video import Backend, DecodeConfig, UniformPlan
from videopasta.video import ClipRequest, Reason, VideoError, decode_clip
from videopasta.video.probe import open_stream


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy transport stream that only its own name should open."""
    return make_clip(tmp_path_factory.mktemp("canary") / "canary.ts", codec="mpeg2video")


@pytest.fixture
def server(canary: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that gives the canary to anyone, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(canary.read_bytes())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/canary.ts", asked
    server.shutdown()


def playlists(target: str) -> dict[str, str]:
    """What FFmpeg follows, by kind."""
    hls = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n"
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT3S"><Period><AdaptationSet '
        f'mimeType="video/mp2t"><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n"
    concat = f"ffconcat version 1.0\nfile '{target}'\n"
    imf = (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:1'
        f"</Id><ContentTitle>{target}</ContentTitle></CompositionPlaylist>"
    )
    return {"imf": imf, "hls": hls, "hls master": master, "dash": dash, "concat": concat, "sdp": sdp}


def reason_of(path: Path, backend: Backend = "pyav") -> Reason:
    with pytest.raises(VideoError) as caught:
        decode_clip(ClipRequest(str(path), None, None, {"dense": UniformPlan()}, DecodeConfig(backend=backend)))
    return caught.value.reason


@pytest.mark.parametrize("backend", ["pyav", "decord", "torchcodec"])
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd", ".sdp"])
@pytest.mark.parametrize("kind", playlists(""))
def test_playlist_is_no_video_and_nothing_in_it_is_opened(
    canary: Path, server: tuple[str, list[str]], tmp_path: Path, kind: str, suffix: str, backend: Backend
):
    """Local names and addresses alike: the file is refused, and the server hears nothing."""
    url, asked = server
    shutil.copy(canary, tmp_path / "canary.ts")
    for target in (str(canary), "canary.ts", url):
        path = tmp_path / f"video{suffix}"
        path.write_text(playlists(target)[kind])
        assert reason_of(path, backend) == Reason.NOT_A_VIDEO
    assert asked == []


@pytest.mark.parametrize("kind", playlists(""))
def test_ffmpeg_itself_refuses_what_names_other_files(
    canary: Path, server: tuple[str, list[str]], tmp_path: Path, kind: str
):
    """Also where the file was not looked at before: the options of every opening keep to containers and files."""
    url, asked = server
    shutil.copy(canary, tmp_path / "canary.ts")
    for suffix in (".mp4", ".m3u8", ".mpd", ".sdp"):
        for target in (str(canary), "canary.ts", url):
            path = tmp_path / f"video{suffix}"
            path.write_text(playlists(target)[kind])
            with pytest.raises(VideoError), open_stream(str(path)):
                pass
    assert asked == []


def test_the_canary_is_seen_without_the_options(canary: Path, server: tuple[str, list[str]], tmp_path: Path):
    """What the tests above look for is there to be found."""
    url, asked = server
    shutil.copy(canary, tmp_path / "canary.ts")
    path = tmp_path / "video.m3u8"
    for kind in ("concat", "hls"):
        path.write_text(playlists("canary.ts")[kind])
        with av.open(str(path)) as container:
            assert container.format.name == kind
    path.write_text(playlists(url)["hls"])
    with av.open(str(path), options={"protocol_whitelist": "file,http,tcp"}) as container:
        assert container.format.name == "hls"
    assert asked


@pytest.mark.parametrize("backend", ["pyav", "decord", "torchcodec"])
def test_playlist_with_a_video_behind_it_is_refused(
    canary: Path, server: tuple[str, list[str]], tmp_path: Path, backend: Backend
):
    """PyAV's FFmpeg takes it for the video, one of 5.1 for the playlist, and torchcodec showed the file it names."""
    url, asked = server
    path = tmp_path / "both.mp4"
    path.write_bytes(playlists(url)["hls"].encode() + canary.read_bytes())
    with av.open(str(path)) as container:
        assert container.format.name == "mpegts"
    assert reason_of(path, backend) == Reason.NOT_A_VIDEO
    assert asked == []


def alias_record(path: str) -> bytes:
    """A data reference of QuickTime: the samples lie in another file."""
    name = path.encode()
    fixed = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    record = b"alis" + bytes(4) + fixed + struct.pack(">HH", 2, len(name)) + name + b"\xff\xff\0\0"
    return struct.pack(">I", len(record) + 4) + record


def refer_to(path: str, content: bytes) -> bytes:
    """An MP4 with its index behind its samples, whose samples are blanked and said to lie in `path`."""
    at = content.index(b"url ") - 4
    record = alias_record(path)
    made = bytearray(content[:at] + record + content[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        size_at = made.index(box, made.index(b"moov")) - 4
        (size,) = struct.unpack_from(">I", made, size_at)
        struct.pack_into(">I", made, size_at, size + len(record) - 12)
    samples = made.index(b"mdat") + 4
    made[samples : made.index(b"moov") - 4] = bytes(made.index(b"moov") - 4 - samples)
    return bytes(made)


@pytest.mark.parametrize("backend", ["pyav", "decord", "torchcodec"])
def test_data_reference_of_an_mp4_is_not_followed(tmp_path: Path, backend: Backend):
    """An MP4 whose samples lie in another file, by its own word, shows nothing of that file."""
    other = make_clip(tmp_path / "other.mp4")
    path = tmp_path / "refers.mp4"
    path.write_bytes(refer_to("/x/other.mp4", other.read_bytes()))
    with av.open(str(path), options={"enable_drefs": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60
    assert reason_of(path, backend) == Reason.CORRUPT
