"""decord and torchcodec: exact, or refused with a reason."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import read_number
from videopasta.config.video import Backend
from videopasta.video import Reason, VideoError
from videopasta.video.backends import get_backend
from videopasta.video.backends.pyav import index_by_decoding
from videopasta.video.probe import Video, probe, read_header


def _torchcodec_problem() -> str | None:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return f"torchcodec does not load (it needs the system's FFmpeg libraries): {str(error)[:80]}"
    return None


@pytest.fixture(params=["decord", "torchcodec"])
def name(request: pytest.FixtureRequest) -> Backend:
    """Each optional backend that loads here."""
    if request.param == "decord":
        pytest.importorskip("decord")
    elif problem := _torchcodec_problem():
        pytest.skip(problem)
    return request.param


def video_of(path: Path) -> Video:
    header = read_header(str(path))
    return probe(str(path), header) or index_by_decoding(str(path), header)


def test_frames_are_exact_or_refused(name: Backend, generated_clip: Path):
    """Every frame given carries the number asked for; a file the backend gets wrong gives none."""
    video = video_of(generated_clip)
    hidden = 90 - video.info.num_frames
    first = 42 if hidden else 0
    indices = np.linspace(0, video.info.num_frames - 1, 16).round().astype(int).tolist()
    numbers = []
    refusal = None
    try:
        for frame in get_backend(name).decode(video, indices):
            numbers.append(read_number(np.rot90(frame, video.info.rotation // 90)))
    except VideoError as error:
        refusal = error.reason
    if refusal is not None:
        assert refusal == Reason.BACKEND_REFUSED
        assert generated_clip.name not in {"b_frames.mp4", "variable_rate.mkv", "turned.mp4"}
        return
    assert numbers == [index + first for index in indices]


def test_pixels_are_those_of_the_default_backend(name: Backend, real_clips: Path):
    """On a plain clip the backends agree to rounding of the colour conversion."""
    video = video_of(real_clips / "nasa_13013.mp4")
    indices = [0, 100, 389]
    ours, theirs = (list(get_backend(backend).decode(video, indices)) for backend in ("pyav", name))
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).mean() < 3


def test_edit_list_is_refused_by_decord(generated_clips: Path):
    """It counts hidden frames: 10 of 32 frames were others."""
    pytest.importorskip("decord")
    with pytest.raises(VideoError, match="backend_refused"):
        next(get_backend("decord").decode(video_of(generated_clips / "edit_list.mp4"), [0]))


def test_av1_is_refused_by_decord(real_clips: Path):
    """Its FFmpeg does not know AV1."""
    pytest.importorskip("decord")
    with pytest.raises(VideoError, match="backend_refused"):
        next(get_backend("decord").decode(video_of(real_clips / "av1_video.mkv"), [0]))
