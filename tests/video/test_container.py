import io
from pathlib import Path

import pytest

from tests.chaos.mutants import elements
from tests.clips import make_clip
from videopasta.video.container import breaks_at, looks_like_media, missing_bytes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("first.mp4", {"movflags": "+faststart"}),
        ("fragments.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.flv", {}),
        ("a.wmv", {}),
    ],
)
def test_every_cut_is_told_to_the_byte(tmp_path: Path, name: str, options: dict[str, str]):
    """A whole file misses nothing; one cut in its media misses what was cut of the element it was cut in."""
    codec = "wmv2" if name == "a.wmv" else "libx264"
    content = make_clip(tmp_path / name, num_frames=20, codec=codec, muxer_options=options).read_bytes()
    assert looks_like_media(io.BytesIO(content))
    assert missing_bytes(io.BytesIO(content)) == 0
    assert missing_bytes(io.BytesIO(content + b"\0" * 100)) == 0
    for kept in (len(content) - 1, len(content) * 9 // 10):
        assert missing_bytes(io.BytesIO(content[:kept])) > 0


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {}),
        ("live.webm", "libvpx-vp9", {"live": "1"}),
        ("a.flv", "libx264", {}),
        ("a.ts", "mpeg2video", {}),
        ("a.m2ts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
        ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_lost_parts_are_told(tmp_path: Path, name: str, codec: str, options: dict[str, str]):
    """Bytes that are gone from the middle break what follows; a whole file breaks nowhere."""
    fast = {"deadline": "realtime", "cpu-used": "8"} if "vp9" in codec else {}
    clip = make_clip(tmp_path / name, codec=codec, options={"g": "10", **fast}, muxer_options=options)
    content = clip.read_bytes()
    assert breaks_at(io.BytesIO(content)) is None
    for share in (0.3, 0.5, 0.7):
        place = int(len(content) * share)
        damaged = io.BytesIO(content[:place] + content[place + 1001 :])
        assert breaks_at(damaged) is not None or missing_bytes(damaged) > 0


def test_parts_that_ffmpeg_passes_over_are_told(tmp_path: Path):
    """A block of no track, a fragment whose header ends elsewhere, a chunk of no stream: a frame or more is gone."""
    fast = {"deadline": "realtime", "cpu-used": "8"}
    webm = bytearray(make_clip(tmp_path / "a.webm", codec="libvpx-vp9", options=fast).read_bytes())
    webm[[one for one in elements(bytes(webm)) if one.kind == b"\xa3"][9].first] ^= 0x80
    in_pieces = {"movflags": "frag_keyframe+empty_moov"}
    mp4 = bytearray(make_clip(tmp_path / "a.mp4", muxer_options=in_pieces).read_bytes())
    mp4[mp4.index(b"mfhd") - 4] ^= 4
    avi = bytearray(make_clip(tmp_path / "a.avi", codec="mpeg4").read_bytes())
    avi[avi.rindex(b"00dc", 0, avi.index(b"idx1"))] ^= 16
    for damaged in (webm, mp4, avi):
        assert breaks_at(io.BytesIO(damaged)) is not None


def test_checksum_of_a_cluster_is_checked(tmp_path: Path):
    """Matroska as FFmpeg writes it has them: a single bit tells."""
    content = bytearray(make_clip(tmp_path / "a.mkv").read_bytes())
    content[len(content) // 2] ^= 1
    assert breaks_at(io.BytesIO(content)) is not None


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"plain text, long enough to be read as boxes\n" * 9, b"\x1a\x45\xdf\xa3"]
)
def test_what_is_no_container_misses_nothing(content: bytes):
    """Other content is not this module's to judge."""
    assert missing_bytes(io.BytesIO(content)) == 0
    assert breaks_at(io.BytesIO(content)) is None
