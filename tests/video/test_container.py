import io
from pathlib import Path

import pytest

from tests.clips import make_clip
from videopasta.video.container import looks_like_media, missing_bytes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("first.mp4", {"movflags": "+faststart"}),
        ("fragments.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", {}),
        ("a.avi", {}),
    ],
)
def test_every_cut_is_told_to_the_byte(tmp_path: Path, name: str, options: dict[str, str]):
    """A whole file misses nothing; one cut in its media misses what was cut of the element it was cut in."""
    content = make_clip(tmp_path / name, num_frames=20, muxer_options=options).read_bytes()
    assert looks_like_media(io.BytesIO(content))
    assert missing_bytes(io.BytesIO(content)) == 0
    assert missing_bytes(io.BytesIO(content + b"\0" * 100)) == 0
    for kept in (len(content) - 1, len(content) * 9 // 10):
        assert missing_bytes(io.BytesIO(content[:kept])) > 0


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"plain text, long enough to be read as boxes\n" * 9, b"\x1a\x45\xdf\xa3"]
)
def test_what_is_no_container_misses_nothing(content: bytes):
    """Other content is not this module's to judge."""
    assert missing_bytes(io.BytesIO(content)) == 0
