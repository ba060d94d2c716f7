"""Clips that several modules' tests look at."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import make_clip, make_cut, set_display_matrix

REAL_CLIPS = (
    "again.mkv",
    "av1_video.mkv",
    "book.mkv",
    "bottle-detection.mp4",
    "flipping_a_pancake.mkv",
    "h265_10bits.mp4",
    "milk.mkv",
    "nasa_13013.mp4",
    "unordered.mov",
    "video_90.mov",
)
GENERATED_CLIPS = (
    "b_frames.mp4",
    "open_gop.mp4",
    "intra_refresh.mp4",
    "variable_rate.mkv",
    "edit_list.mp4",
    "turned.mp4",
    "hevc_open_gop.mp4",
    "av1.webm",
    "vp9.webm",
    "mpeg2.ts",
    "b_frames.avi",
    "intra_only.mov",
)


@pytest.fixture(scope="session")
def generated_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`GENERATED_CLIPS`: 90 numbered frames each, less what the edit list of one hides."""
    folder = tmp_path_factory.mktemp("clips")
    pauses = np.random.default_rng(0).choice([17, 33, 50, 400], 90)
    quiet = {"x265-params": "log-level=none:open-gop=1:keyint=20:bframes=4"}
    make_clip(folder / "b_frames.mp4", num_frames=90, options={"g": "40", "bf": "3"})
    open_gop = {"x264-params": "open-gop=1:keyint=20:bframes=5:b-pyramid=normal:scenecut=0"}
    make_clip(folder / "open_gop.mp4", num_frames=90, options=open_gop)
    refresh = {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
    make_clip(folder / "intra_refresh.mp4", num_frames=90, options=refresh)
    make_clip(folder / "variable_rate.mkv", num_frames=90, ticks=np.cumsum(pauses).tolist())
    source = make_clip(folder / "source.mp4", num_frames=120, options={"g": "30", "bf": "3"})
    make_cut(source, folder / "edit_list.mp4", from_packet=30, hide_s=0.4)
    source.unlink()
    turned = make_clip(folder / "turned.mp4", num_frames=90, options={"g": "20"})
    set_display_matrix(turned, 0, 1, -1, 0)
    make_clip(folder / "hevc_open_gop.mp4", num_frames=90, codec="libx265", options=quiet)
    make_clip(folder / "av1.webm", num_frames=90, codec="libsvtav1", options={"preset": "12", "g": "30"})
    fast = {"deadline": "realtime", "cpu-used": "8", "g": "30"}
    make_clip(folder / "vp9.webm", num_frames=90, codec="libvpx-vp9", options=fast)
    make_clip(folder / "mpeg2.ts", num_frames=90, codec="mpeg2video", options={"bf": "2", "g": "15", "q": "2"})
    make_clip(folder / "b_frames.avi", num_frames=90, options={"bf": "3"})
    make_clip(folder / "intra_only.mov", num_frames=90, codec="mjpeg", pix_fmt="yuvj420p")
    return folder


@pytest.fixture(params=[*REAL_CLIPS, *GENERATED_CLIPS])
def clip(request: pytest.FixtureRequest) -> Path:
    """Each clip in turn."""
    fixture = "real_clips" if request.param in REAL_CLIPS else "generated_clips"
    return request.getfixturevalue(fixture) / request.param


@pytest.fixture(params=GENERATED_CLIPS)
def generated_clip(request: pytest.FixtureRequest, generated_clips: Path) -> Path:
    """Each generated clip in turn."""
    return generated_clips / request.param
