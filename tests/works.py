"""Clips on their road, without a video: works, plans and frames for tests of stages and of the store."""

import numpy as np

from videopasta.config import FailureMode, GenerateConfig
from videopasta.generate.pipeline import views
from videopasta.generate.work import Candidate, Failure, Query, Verdict, Vote, Work
from videopasta.video import FramePlan, ManifestEntry, clip_id

# Frames of each view: all differ, so that a test can tell which one a request saw.
NUM_FRAMES = {
    "query": 10,
    "preferred.spatial": 8,
    "preferred.temporal": 6,
    "preferred.cross_frame": 4,
    "adversarial": 2,
}


def make_entry(
    *,
    uris: tuple[str, ...] = ("/videos/a.mp4",),
    start_s: float | None = None,
    end_s: float | None = None,
    size_bytes: int | None = 100,
) -> ManifestEntry:
    return ManifestEntry(uris, start_s, end_s, size_bytes)


def make_plan(*, num_frames: int = 4, backend: str = "pyav") -> FramePlan:
    return FramePlan(
        indices=tuple(range(0, 10 * num_frames, 10)),
        timestamps_s=tuple(index / 3 for index in range(num_frames)),
        sampled_fps=3.0,
        height=56,
        width=84,
        backend=backend,
    )


def make_decoded(
    *, config: GenerateConfig | None = None, content: str = "a", entry: ManifestEntry | None = None
) -> tuple[Work, dict[str, np.ndarray]]:
    """A clip as the decode stage hands it on: every view with a plan of its own, and its frames."""
    entry = entry or make_entry()
    plans = {view: make_plan(num_frames=NUM_FRAMES[view]) for view in views(config or GenerateConfig())}
    sha256 = content * 64
    work = Work(
        entry=entry,
        clip_id=clip_id(sha256, entry.start_s, entry.end_s),
        video_sha256=sha256,
        start_s=entry.start_s or 0.0,
        end_s=entry.end_s or 4.0,
        plans=plans,
        seconds={"decode": 0.5},
    )
    frames = {
        plan.key: np.full((plan.num_frames, plan.height, plan.width, 3), plan.num_frames, np.uint8)
        for plan in plans.values()
    }
    return work, frames


def make_vote(*, judge: str = "judge@r1", confidence: float = 0.9, reason: str = "plain", **noes: bool) -> Vote:
    """A vote that accepts, but for the questions named: `make_vote(genuine=False)`."""
    yes = {"genuine": True, "targeted": True, "distinct": True, "preferred_ok": True}
    return Vote(**yes | noes, judge=judge, confidence=confidence, reason=reason)


def make_candidate(
    *,
    mode: FailureMode = "spatial",
    index: int = 0,
    text: str = "Where is the cup?",
    adversary: str = "flipped_relation",
    drop_reason: str | None = None,
    votes: tuple[Vote, ...] | None = None,
) -> Candidate:
    votes = (make_vote(),) if votes is None else votes
    verdict = None
    if votes:
        opinion = votes[0].model_dump(exclude={"judge"})
        verdict = Verdict(**opinion, agreement=1.0)
    return Candidate(
        query=Query(failure_mode=mode, index=index, text=text),
        preferred="The cup stands on the left of the table.",
        adversary=adversary,
        adversarial_query="Is the cup on the right?",
        adversarial="The cup stands on the right of the table.",
        seed=2**31 - 1,
        votes=votes,
        verdict=verdict,
        drop_reason=drop_reason,
    )


def make_finished(
    *,
    content: str = "a",
    entry: ManifestEntry | None = None,
    candidates: tuple[Candidate, ...] | None = None,
    models: dict[str, str] | None = None,
) -> Work:
    """A clip that came out of the graph: by default one pair and one dropped candidate."""
    work, _ = make_decoded(content=content, entry=entry)
    kept = make_candidate()
    dropped = make_candidate(adversary="false_between", drop_reason="length_ratio", votes=())
    return work.having(
        candidates=(kept, dropped) if candidates is None else candidates,
        models=models or {"query": "q@r1", "response": "r@r2", "judge.0": "j@r3"},
    )


def make_failed(*, entry: ManifestEntry | None = None, reason: str = "corrupt", stage: str = "decode") -> Work:
    """A clip that could not be processed."""
    return Work(entry=entry or make_entry(), failure=Failure(stage=stage, reason=reason, detail="no frame decodes"))
