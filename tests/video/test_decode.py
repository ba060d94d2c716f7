import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.bad_videos import BAD_REASONS, ODD_BUT_GOOD, make_bad_videos
from tests.clips import make_clip, read_number
from videopasta import storage
from videopasta.config.video import DecodeConfig, FpsPlan, NativePlan, UniformPlan, WindowPlan
from videopasta.video import ClipRequest, DecodedClip, FramePlan, Reason, VideoError, clip_id, decode_clip

PLANS = {"dense": UniformPlan(), "sparse": FpsPlan(), "again": UniformPlan(num_frames=32)}
ANYWHERE = {"schemes": ("file", "local")}
"""With fsspec's `local://`, which stands for a remote place."""


@pytest.fixture(scope="module")
def bad_videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_bad_videos(tmp_path_factory.mktemp("bad"))


def request(path: object, *, start_s=None, end_s=None, plans=None, **config) -> ClipRequest:
    uri = path if isinstance(path, str) and "://" in path else storage.local_uri(str(path))
    return ClipRequest(uri, start_s, end_s, plans or PLANS, DecodeConfig(**config))


def numbers(clip: DecodedClip, name: str) -> list[int]:
    return [read_number(frame) for frame in clip.frames[clip.plans[name].key]]


def reason_of(clip_request: ClipRequest) -> Reason:
    with pytest.raises(VideoError) as caught:
        decode_clip(clip_request)
    return caught.value.reason


@pytest.mark.parametrize("name", sorted(set(BAD_REASONS) - {"unreadable"}))
def test_bad_file_has_its_reason(bad_videos: dict[str, str], name: str):
    """Every kind of broken file ends in its own reason code."""
    assert reason_of(request(bad_videos[name])) == BAD_REASONS[name]


@pytest.mark.parametrize("name", ODD_BUT_GOOD)
def test_odd_names_decode(bad_videos: dict[str, str], name: str):
    """Names that are long or not UTF-8 are no reason to lose a video."""
    clip = decode_clip(request(bad_videos[name]))
    assert numbers(clip, "dense") == list(clip.plans["dense"].indices)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_unreadable_file_has_its_reason(tmp_path: Path):
    """A file that permissions hide is unreadable, not missing. (Root may read anything: ask as nobody.)"""
    script = (
        "import os, sys; from videopasta.config.video import DecodeConfig, UniformPlan\n"
        "from videopasta.video import *; import av; os.setgid(65534); os.setuid(65534)\n"
        "try: decode_clip(ClipRequest(sys.argv[1], None, None, {'dense': UniformPlan()}, DecodeConfig()))\n"
        "except VideoError as error: print(error.reason)"
    )
    path = Path("/tmp") / f"videopasta-unreadable-{os.getpid()}.mp4"
    try:
        make_clip(path).chmod(0)
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    finally:
        path.unlink()
    assert done.stdout.strip() == Reason.UNREADABLE


def test_clip_is_named_by_its_content(bad_videos: dict[str, str]):
    """Two files with the same bytes are the same clip; the hash is that of the bytes."""
    clips = [decode_clip(request(bad_videos[name])) for name in ("good", "duplicate")]
    content = Path(bad_videos["good"]).read_bytes()
    assert clips[0].clip_id == clips[1].clip_id == clip_id(hashlib.sha256(content).hexdigest(), None, None)
    assert clips[0].size_bytes == len(content)


def test_plans_share_one_decode_and_equal_plans_their_pixels(generated_clips: Path):
    """Each plan's frames are its own, at its own size; two names for one plan are one array."""
    plans = PLANS | {"native": NativePlan(max_frames=16), "window": WindowPlan(num_frames=8, window_s=1)}
    clip = decode_clip(request(generated_clips / "b_frames.mp4", plans=plans))
    assert clip.plans["dense"].key == clip.plans["again"].key
    assert set(clip.frames) == {plan.key for plan in clip.plans.values()}
    for name, plan in clip.plans.items():
        frames = clip.frames[plan.key]
        assert frames.shape == (plan.num_frames, plan.height, plan.width, 3)
        assert frames.dtype == np.uint8
        assert numbers(clip, name) == list(plan.indices)
        alone = decode_clip(request(generated_clips / "b_frames.mp4", plans={name: plans[name]}))
        assert np.array_equal(alone.frames[plan.key], frames)


def test_stored_plan_gives_the_same_pixels(generated_clips: Path):
    """A plan that went through a row decodes to the frames it was made with."""
    path = generated_clips / "variable_rate.mkv"
    first = decode_clip(request(path, start_s=1.0, end_s=6.0, min_frames=8))
    stored = FramePlan.from_dict(first.plans["dense"].to_dict())
    again = decode_clip(request(path, plans={"any": stored}))
    assert np.array_equal(again.frames[stored.key], first.frames[stored.key])


def test_stored_plan_of_another_file_is_refused(generated_clips: Path):
    """Indices alone would fit: the times tell that the file is another."""
    stored = decode_clip(request(generated_clips / "b_frames.mp4")).plans["dense"]
    assert reason_of(request(generated_clips / "variable_rate.mkv", plans={"a": stored})) == Reason.PLAN_MISMATCH
    assert reason_of(request(generated_clips / "edit_list.mp4", plans={"a": stored})) == Reason.PLAN_MISMATCH


def test_span_is_respected(generated_clips: Path):
    """Only frames of the span, and the span resolved in the answer."""
    clip = decode_clip(request(generated_clips / "b_frames.mp4", start_s=1.0, end_s=2.0))
    assert numbers(clip, "dense") == list(range(30, 60))
    assert (clip.start_s, clip.end_s) == (1.0, 2.0)
    assert clip.clip_id == clip_id(clip.video_sha256, 1.0, 2.0)


@pytest.mark.parametrize(("start_s", "end_s"), [(-1, 1), (2, 1), (5, 6), (0, 9)])
def test_bad_span_is_a_row_with_a_reason(generated_clips: Path, start_s: float, end_s: float):
    """A span outside its video is that row's problem."""
    assert reason_of(request(generated_clips / "b_frames.mp4", start_s=start_s, end_s=end_s)) == Reason.BAD_SPAN


def test_short_span_of_a_long_video_decodes(bad_videos: dict[str, str]):
    """Ten hours are too long; a span of them is not."""
    clip = decode_clip(request(bad_videos["ten_hours"], start_s=2400, end_s=7200, min_frames=2))
    assert numbers(clip, "dense") == [1, 2]


def test_error_after_hashing_names_the_content(bad_videos: dict[str, str]):
    """A quarantined row can be found again by the video's hash; before hashing there is none."""
    with pytest.raises(VideoError) as caught:
        decode_clip(request(bad_videos["eleven_frames"]))
    content = Path(bad_videos["eleven_frames"]).read_bytes()
    assert caught.value.video_sha256 == hashlib.sha256(content).hexdigest()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, again.detail, again.video_sha256) == caught.value.args
    with pytest.raises(VideoError) as caught:
        decode_clip(request(bad_videos["ten_hours"]))
    assert caught.value.video_sha256 is None


def test_remote_file_is_fetched_and_hashed(generated_clips: Path):
    """A file behind fsspec gives the clip its local twin gives."""
    path = generated_clips / "b_frames.mp4"
    local, remote = decode_clip(request(path)), decode_clip(request(f"local://{path}", sources=ANYWHERE))
    assert (remote.video_sha256, remote.clip_id, remote.plans) == (
        local.video_sha256,
        local.clip_id,
        local.plans,
    )
    key = local.plans["dense"].key
    assert np.array_equal(remote.frames[key], local.frames[key])


def test_missing_remote_file_has_its_reason(generated_clips: Path):
    """As for a local one."""
    assert reason_of(request(f"local://{generated_clips}/none.mp4", sources=ANYWHERE)) == Reason.MISSING


def test_file_over_the_limit_is_not_read(generated_clips: Path, tmp_path: Path):
    """Neither a local one, however large it says it is, nor a remote one beyond the limit."""
    path = generated_clips / "b_frames.mp4"
    size = path.stat().st_size
    for uri in (path, f"local://{path}"):
        assert decode_clip(request(uri, max_bytes=size, sources=ANYWHERE)).size_bytes == size
        assert reason_of(request(uri, max_bytes=size - 1, sources=ANYWHERE)) == Reason.TOO_LARGE_FILE
    with (tmp_path / "holes.mp4").open("wb") as file:
        file.truncate(2**40)
    assert reason_of(request(tmp_path / "holes.mp4")) == Reason.TOO_LARGE_FILE


def test_list_of_other_files_is_no_video(generated_clips: Path, tmp_path: Path):
    """FFmpeg would decode what the list names, and the file's hash would say nothing of the frames."""
    (tmp_path / "b_frames.mp4").write_bytes((generated_clips / "b_frames.mp4").read_bytes())
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile b_frames.mp4\n")
    assert reason_of(request(tmp_path / "list.mp4")) == Reason.NOT_A_VIDEO


def test_frame_that_leans_on_a_damaged_one_is_refused(generated_clips: Path, tmp_path: Path):
    """The decoder conceals damage in a frame that nobody asked for, and shows it in those that follow."""
    content = bytearray((generated_clips / "b_frames.mp4").read_bytes())
    with av.open(str(generated_clips / "b_frames.mp4")) as container:
        sixth = next(packet for packet in container.demux(video=0) if packet.pts == 6 * packet.duration)
    content[sixth.pos + sixth.size // 2] ^= 0xFF
    (tmp_path / "damaged.mp4").write_bytes(content)
    plans = {"ends": UniformPlan(num_frames=2)}
    assert reason_of(request(tmp_path / "damaged.mp4", end_s=1.0, plans=plans)) == Reason.CORRUPT


def test_every_real_clip_decodes(real_clips: Path):
    """Healthy files pass: strict decoding takes none of them for damaged."""
    for path in sorted(real_clips.iterdir()):
        if path.suffix in {".mp4", ".mkv", ".mov"}:
            clip = decode_clip(request(path, min_frames=2))
            plan = clip.plans["dense"]
            assert clip.frames[plan.key].shape == (plan.num_frames, plan.height, plan.width, 3)
            assert plan.num_frames == min(32, clip.info.num_frames - clip.info.num_frames % 2)
