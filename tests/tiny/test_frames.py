"""What the models are taught on is what the pipeline shows them."""

from itertools import islice
from pathlib import Path

import numpy as np

from videopasta.config import GenerateConfig, load_config
from videopasta.tiny.cli import GENERATE_CONFIG
from videopasta.tiny.learning.samples import DENSE, NOISE, SPARSE
from videopasta.tiny.render import MODEL_SIZE, frames, write_video
from videopasta.tiny.world import NUM_TICKS, TICK_S, scenes
from videopasta.video import ClipRequest, decode_clip


def test_decoded_frames_are_the_drawn_ones(tmp_path: Path):
    """Through H.264 and the resize, at the ticks of both plans, they differ by less than the noise of training."""
    settings = load_config(GenerateConfig, GENERATE_CONFIG, [])
    plans = {"dense": settings.plans.preferred.temporal, "sparse": settings.plans.adversarial}
    for scene in islice(scenes("test", seed=0), 5):
        write_video(scene, tmp_path / "clip.mp4")
        decoded = decode_clip(ClipRequest(str(tmp_path / "clip.mp4"), None, None, plans, settings.decode))
        for name, ticks in (("dense", DENSE), ("sparse", SPARSE)):
            plan = decoded.plans[name]
            assert [round(seconds / TICK_S, 2) for seconds in plan.timestamps_s] == list(ticks)
            seen = decoded.frames[plan.key]
            assert seen.shape[1:3] == (MODEL_SIZE, MODEL_SIZE)
            difference = np.abs(seen.astype(float) - frames(scene, ticks).astype(float))
            assert difference.mean() < NOISE
            line = (seen[:, -1].min(axis=-1) > 180).sum(axis=1)
            assert abs(line - [MODEL_SIZE * (tick + 1) / NUM_TICKS for tick in ticks]).max() <= 1.5
    assert DENSE[-1] == NUM_TICKS - 1
