import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import make_clip, make_cut, numbered_frame, read_number, set_display_matrix
from videopasta.config.video import DecodeConfig, UniformPlan
from videopasta.video import ClipRequest, Reason, VideoError, decode_clip
from videopasta.video.probe import Video, check_file, probe, read_header


def probed(path: Path) -> Video | None:
    return probe(str(path), read_header(str(path)))


def test_packet_table_equals_a_full_decode(clip: Path):
    """The table told by packets is what a sequential decode shows, every time in order, or is not given."""
    video = probed(clip)
    if clip.suffix == ".avi":
        assert video is None, "AVI has no presentation times"
        return
    with av.open(str(clip)) as container:
        stream = container.streams.best("video")
        shown = [frame.pts for frame in container.decode(stream)]
    assert video.pts.tolist() == shown
    assert video.info.num_frames == len(shown)
    assert video.info.index_source == "packets"
    assert np.all(np.diff(video.table.timestamps_s) > 0)
    assert video.table.timestamps_s[0] == 0


def test_nasa_table_is_the_published_one(real_clips: Path):
    """The best of several streams, and its times, as torchcodec's test resources list them."""
    video = probed(real_clips / "nasa_13013.mp4")
    published = json.loads((real_clips / "nasa_13013.frames.json").read_text())
    times = [float(frame["pts_time"]) for frame in published]
    assert video.info.stream_index == 3
    assert np.allclose(video.table.timestamps_s, times, atol=1e-6)


def test_edit_list_hides_its_frames(generated_clips: Path):
    """A stream-copied cut starts at the first frame shown, not at the keyframe before it."""
    video = probed(generated_clips / "edit_list.mp4")
    assert video.info.num_frames == 78
    assert len(video.packets.pts) > 78, "this cut hides nothing, so it tests nothing"


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (0, 1, 1, 0),
        (1, 0, 0, -1),
        (0, -1, -1, 0),
    ],
)
def test_frames_are_shown_as_the_display_matrix_says(tmp_path: Path, matrix: tuple[int, int, int, int]):
    """All eight orientations: pixel (x, y) is found at (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    plain = make_clip(tmp_path / "plain.mp4", num_frames=2)
    turned = set_display_matrix(make_clip(tmp_path / "turned.mp4", num_frames=2), a, b, c, d)
    stored, shown = (first_frame(path) for path in (plain, turned))
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    new_x, new_y = a * x + c * y, b * x + d * y
    expected = np.empty_like(shown)
    expected[new_y - new_y.min(), new_x - new_x.min()] = stored
    assert np.array_equal(shown, expected)


def first_frame(path: Path) -> np.ndarray:
    from videopasta.video.backends import get_backend

    return next(get_backend("pyav").decode(probed(path), [0]))


def test_real_rotation_is_told(real_clips: Path):
    """A phone's portrait video: 568x320 stored, 320x568 shown."""
    info = probed(real_clips / "video_90.mov").info
    assert (info.width, info.height, info.rotation, info.mirrored) == (320, 568, 90, False)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", ["bottle-detection.mp4", "flipping_a_pancake.mkv", "video_90.mov"])
def test_every_truncation_is_told(real_clips: Path, tmp_path: Path, name: str, share: float):
    """A file cut anywhere is truncated, never a shorter video."""
    content = (real_clips / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(VideoError) as caught:
        check_file(str(cut))
    assert caught.value.reason == Reason.TRUNCATED


def test_truncation_without_declared_sizes_is_told_by_duration(tmp_path: Path):
    """FLV declares a duration and no size: frames that end seconds early are a truncated file."""
    whole = make_clip(tmp_path / "whole.flv", num_frames=300)
    cut = tmp_path / "cut.flv"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError) as caught:
        decode_clip(ClipRequest(str(cut), None, None, {"dense": UniformPlan()}, DecodeConfig()))
    assert caught.value.reason == Reason.TRUNCATED


def test_avi_is_indexed_by_decoding_and_says_so(generated_clips: Path):
    """AVI's guessed times are not used: frames come in the order shown, and the row records the slow way."""
    path = str(generated_clips / "b_frames.avi")
    clip = decode_clip(ClipRequest(path, None, None, {"dense": UniformPlan()}, DecodeConfig()))
    plan = clip.plans["dense"]
    assert clip.info.index_source == "decoding"
    assert [read_number(frame) for frame in clip.frames[plan.key]] == list(plan.indices)


def test_frames_too_large_are_refused_before_decoding(tmp_path: Path):
    """The declared size is enough to refuse."""
    path = make_clip(tmp_path / "a.mp4", num_frames=2)
    with pytest.raises(VideoError) as caught:
        read_header(str(path), max_frame_pixels=192 * 96 - 1)
    assert caught.value.reason == Reason.TOO_LARGE


def test_avi_with_pauses_is_whole_and_one_with_a_longer_chunk_is_not(tmp_path: Path):
    """Empty chunks stand for frames shown again and are no loss; a chunk that swallows the next one is."""
    path = tmp_path / "pauses.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number))
            frame.pts, frame.time_base = number + number // 10 * 3, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probed(path).info.num_frames == 30
    content = bytearray(path.read_bytes())
    length = content.index(b"00dc", len(content) // 2) + 4
    content[length] ^= 0x7F
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probed(path)
    assert caught.value.reason == Reason.CORRUPT


def test_mp4_with_fewer_frames_than_it_counts_is_truncated(tmp_path: Path):
    """The one chunk of 60 frames is said to hold 50: FFmpeg reads those and says nothing."""
    path = make_clip(tmp_path / "a.mp4", num_frames=60)
    content = bytearray(path.read_bytes())
    samples = content.index(b"stsc") + 16
    assert content[samples : samples + 4] == (60).to_bytes(4, "big")
    content[samples : samples + 4] = (50).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probed(path)
    assert caught.value.reason == Reason.TRUNCATED


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path: Path):
    """The cut hides its first frames: fewer packets than the header counts, and nothing is lost."""
    source = make_clip(tmp_path / "source.mp4", num_frames=120, options={"g": "30", "bf": "3"})
    cut = make_cut(source, tmp_path / "cut.mp4", from_packet=30, hide_s=1.5)
    assert probed(cut).info.num_frames < 60


def test_bare_stream_must_be_named_so(tmp_path: Path):
    """What is left of a file without its head looks like one."""
    bare = make_clip(tmp_path / "a.mjpeg", num_frames=20, codec="mjpeg", pix_fmt="yuvj420p")
    read_header(str(bare))
    with pytest.raises(VideoError) as caught:
        read_header(str(bare.rename(tmp_path / "a.mov")))
    assert caught.value.reason == Reason.CORRUPT
