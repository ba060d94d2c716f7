"""What the trainer sees of a clip is what the model saw when it answered; anything else is refused."""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.dpo.trainings import DECODE
from videopasta.config import DecodeConfig, FpsPlan, UniformPlan
from videopasta.dpo.examples import Clip, group
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes
from videopasta.video import ClipRequest, FrameReader, Reason, VideoError, decode_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{n}.mp4" for n in range(2)]
    for scene, path in zip(islice(scenes("train", 5), 2), paths, strict=True):
        write_video(scene, path)
    return paths


def seen_in_generation(uri: str, plan, config: DecodeConfig, **span) -> tuple[Clip, np.ndarray]:
    """The clip as a row of pairs tells of it, and the pixels that the model was given."""
    request = ClipRequest(uri, span.get("start_s"), span.get("end_s"), {"seen": plan}, config)
    decoded = decode_clip(request)
    made = decoded.plans["seen"]
    row = {
        "pair_id": "p", "video_uri": uri, "start_s": request.start_s, "end_s": request.end_s,
        "video_sha256": decoded.video_sha256, "failure_mode": "spatial", "prompt": "q", "chosen": "a", "rejected": "b",
        "adversarial_query": None, "chosen_frame_plan": made.to_dict(),
    }  # fmt: skip
    (clip,) = group([row])
    return clip, decoded.frames[made.key]


@pytest.mark.parametrize("plan", [UniformPlan(num_frames=32), FpsPlan(fps=2.0)])
def test_frames_are_those_of_generation(clips, plan):
    """Pixel for pixel, from the plan in the row, whatever the trainer's own sizes and limits are set to."""
    clip, frames = seen_in_generation(str(clips[0]), plan, DECODE)
    with FrameReader(DecodeConfig()) as reader:
        np.testing.assert_array_equal(reader.read(clip), frames)


def test_frames_of_a_span_of_a_real_video_are_those_of_generation(real_clips):
    """A part of a real clip, at real sizes."""
    video = str(real_clips / "nasa_13013.mp4")
    clip, frames = seen_in_generation(video, UniformPlan(num_frames=16), DecodeConfig(), start_s=1.0, end_s=5.0)
    with FrameReader(DecodeConfig()) as reader:
        np.testing.assert_array_equal(reader.read(clip), frames)


def test_another_file_under_the_name_is_refused(clips, tmp_path):
    """By its hash: its frames would be others, or worse, nearly the same."""
    path = tmp_path / "clip.mp4"
    shutil.copy(clips[0], path)
    clip, _ = seen_in_generation(str(path), UniformPlan(num_frames=8), DECODE)
    shutil.copy(clips[1], path)
    with FrameReader(DECODE) as reader, pytest.raises(VideoError) as error:
        reader.read(clip)
    assert error.value.reason is Reason.CHANGED
