"""An output folder on real little videos whose frames carry their numbers."""

from pathlib import Path

from tests.clips import make_clip
from tests.works import make_candidate, make_entry, make_vote
from videopasta.config import DecodeConfig, FpsPlan, GenerateConfig, PixelBudget, UniformPlan, fingerprint
from videopasta.generate.pipeline import views
from videopasta.generate.work import Work
from videopasta.pairs import PairStore
from videopasta.video import ClipRequest, decode_clip

CONFIG = GenerateConfig(decode=DecodeConfig(pixels=PixelBudget(min_pixels=128 * 28 * 28, max_pixels=128 * 28 * 28)))
PLANS = {"preferred": UniformPlan(num_frames=16), "adversarial": FpsPlan(fps=10, max_frames=8)}
MODES = ("spatial", "temporal", "cross_frame")


def make_folder(folder: Path, *, num_clips: int = 2) -> str:
    """Per clip a pair of each failure mode, surer from pair to pair, and a candidate that a guard dropped."""
    store = PairStore(str(folder / "out"))
    store.open({"config": fingerprint(CONFIG)})
    works = []
    for number in range(num_clips):
        path = make_clip(folder / f"{number}.mp4", num_frames=40 + number)
        plans = {view: PLANS["adversarial" if view == "adversarial" else "preferred"] for view in views(CONFIG)}
        clip = decode_clip(ClipRequest(str(path), None, None, plans, CONFIG.decode))
        candidates = [
            make_candidate(
                mode=mode, index=n, text=f"What of {mode} in clip {number}?",
                votes=(make_vote(confidence=(1 + len(MODES) * number + n) / (1 + len(MODES) * num_clips)),),
            )
            for n, mode in enumerate(MODES)
        ]  # fmt: skip
        dropped = make_candidate(adversary="false_between", drop_reason="length_ratio", votes=())
        works.append(
            Work(
                entry=make_entry(uris=(str(path),), size_bytes=path.stat().st_size),
                clip_id=clip.clip_id,
                video_sha256=clip.video_sha256,
                start_s=0.0,
                end_s=clip.end_s,
                plans=clip.plans,
                candidates=(*candidates, dropped),
                models={"query": "q@r1", "response": "r@r2", "judge.0": "j@r3"},
            )
        )
    store.commit(works, run_id="run", number=0, prompt_hashes={})
    return store.uri
