import io
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.clips import make_clip, numbered_frame, read_number
from videopasta.config import DecodeConfig, PixelBudget, SourcesConfig, UniformPlan
from videopasta.serve.looking import Looker, see_frames
from videopasta.serve.reading import SentFrames, SentVideo, UriVideo
from videopasta.video import Reason, VideoError

PLAN = UniformPlan(num_frames=8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("looking") / "a.mp4")


@pytest.fixture(scope="module")
def looker(clip: Path):
    sources = SourcesConfig(schemes=("file",), roots=(str(clip.parent),))
    made = Looker(DecodeConfig(sources=sources, max_frame_pixels=400 * 400, max_bytes=200_000))
    yield made
    made.close()


def image(frame: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, form, **options)
    return buffer.getvalue()


def refusal(looker: Looker, source) -> VideoError:
    with pytest.raises(VideoError) as caught:
        looker.look(source, PLAN)
    return caught.value


def test_a_video_that_was_sent_is_seen_as_the_file_is(looker: Looker, clip: Path):
    """Equal pixels, times and cache key: the engine knows it again."""
    lying, sent = looker.look(UriVideo(str(clip)), PLAN), looker.look(SentVideo(clip.read_bytes()), PLAN)
    assert np.array_equal(lying.frames, sent.frames)
    assert (lying.sampled_fps, lying.cache_key) == (sent.sampled_fps, sent.cache_key)


def test_only_what_lies_below_the_roots_is_opened(looker: Looker, clip: Path, tmp_path: Path):
    """Neither another file, nor a link to it, nor where sent files lie."""
    outside = make_clip(tmp_path / "outside.mp4", num_frames=20)
    link = clip.parent / "link.mp4"
    link.symlink_to(outside)
    for uri in (str(outside), str(link), f"file://{outside}", "https://example.org/a.mp4", "s3://b/a.mp4"):
        assert refusal(looker, UriVideo(uri)).reason == Reason.NOT_ALLOWED


def test_what_was_sent_and_is_no_video_says_so_without_its_place(looker: Looker):
    """The detail names no file of this machine."""
    error = refusal(looker, SentVideo(b"#EXTM3U\n/etc/passwd\n"))
    assert error.reason == Reason.NOT_A_VIDEO
    assert "/tmp" not in error.detail
    assert refusal(looker, SentVideo(bytes(200_001))).reason == Reason.TOO_LARGE_FILE


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})])
def test_frames_that_were_sent_are_seen_in_order_at_a_videos_size(looker: Looker, form: str, options: dict):
    """Each is there, at their own rate."""
    images = tuple(image(numbered_frame(n), form, **options) for n in range(4))
    video = looker.look(SentFrames(images, 2.5), PLAN)
    assert [read_number(frame) for frame in video.frames] == [0, 1, 2, 3]
    assert video.sampled_fps == 2.5
    assert all(side % 28 == 0 for side in video.frames.shape[1:3])


def test_frames_of_a_videos_size_stay_what_they_are():
    """To the pixel, so that frames which were decoded elsewhere are seen as there."""
    pixels = PixelBudget(min_pixels=7056, max_pixels=7056)
    frames = [np.random.default_rng(n).integers(0, 256, (84, 84, 3), dtype=np.uint8) for n in range(2)]
    looker = Looker(DecodeConfig(pixels=pixels))
    video = looker.look(SentFrames(tuple(map(image, frames)), 1.0), PLAN)
    looker.close()
    assert np.array_equal(video.frames, np.stack(frames))


def test_equal_frames_at_another_rate_are_another_video(looker: Looker):
    """The time between them is encoded with them."""
    images = tuple(image(numbered_frame(n)) for n in range(2))
    keys = {looker.look(SentFrames(images, fps), PLAN).cache_key for fps in (1.0, 2.0, 1.0)}
    assert len(keys) == 2


def test_pixels_are_held_one_frame_at_a_time():
    """Frames of a few kilobytes are a hundred megabytes each: what is held does not grow with their number."""
    content, done = image(np.zeros((2000, 2000, 3), np.uint8)), threading.Event()  # 16 MB in Pillow, 12 in numpy
    before = peak = psutil.Process().memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, psutil.Process().memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    see_frames(SentFrames((content,) * 32, 1.0), DecodeConfig(pixels=PixelBudget(min_pixels=7056, max_pixels=7056)))
    done.set()
    watching.join()
    assert peak - before < 150 * 2**20


def test_a_jpeg_does_not_go_over_its_pixels_without_end(looker: Looker):
    """A scan of 28 bytes takes a fiftieth of a second: a file that comes along could take hours."""
    whole = image(numbered_frame(0), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    looker.look(SentFrames((whole, whole), 1.0), PLAN)
    error = refusal(looker, SentFrames((whole, whole[:-2] + last * 100 + whole[-2:]), 1.0))
    assert error.reason == Reason.TOO_LARGE
    assert "frame 1" in error.detail


def test_frames_that_cannot_be_used_are_named(looker: Looker):
    """No image, a cut one, one of another size, one too large for its pixels to be read."""
    good = image(numbered_frame(0))
    gif = image(numbered_frame(0), "GIF")
    for bad, reason in (
        (b"no image", Reason.CORRUPT),
        (gif, Reason.CORRUPT),
        (good[: len(good) // 2], Reason.CORRUPT),
        (image(numbered_frame(0, width=96)), Reason.UNSUPPORTED_SHAPE),
        (image(np.zeros((401, 400, 3), np.uint8)), Reason.TOO_LARGE),
    ):
        error = refusal(looker, SentFrames((good, bad), 1.0))
        assert error.reason == reason
        assert "frame 1" in error.detail
