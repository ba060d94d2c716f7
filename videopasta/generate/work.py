"""The value that travels: what is known of one clip, growing from stage to stage. Frozen, without frames."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from videopasta.config import FailureMode
from videopasta.video import FramePlan, ManifestEntry


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Failure(_Value):
    """Why a clip ends in quarantine."""

    stage: str
    """`decode`, `query`, `response`, `judge`; `commit` when the store has the content under another name."""
    reason: str
    """A `video.Reason`, `no_queries`, or a `RequestError.reason`."""
    detail: str


class Query(_Value):
    """An aligned query."""

    failure_mode: FailureMode
    index: int
    text: str


class Vote(_Value):
    """One opinion of one judge about one candidate."""

    judge: str
    genuine: bool
    targeted: bool
    distinct: bool
    preferred_ok: bool
    confidence: float
    """0 to 1."""
    reason: str

    @property
    def accepts(self) -> bool:
        return self.genuine and self.targeted and self.distinct and self.preferred_ok


class Verdict(_Value):
    """The majority of the votes on each question."""

    genuine: bool
    targeted: bool
    distinct: bool
    preferred_ok: bool
    confidence: float
    """Mean over the votes, 0 to 1."""
    agreement: float
    """Share of the votes that accept, or do not accept, as the majority of each question does, 0 to 1: votes
    that each object to something else can add up to a yes that none of them gave."""
    reason: str
    """Of the most confident vote on the majority's side."""


class Candidate(_Value):
    """A query with its preferred and one adversarial response."""

    query: Query
    preferred: str
    adversary: str
    adversarial_query: str
    adversarial: str
    seed: int
    """Of the adversarial response's request."""
    votes: tuple[Vote, ...] = ()
    unreadable_votes: int = 0
    """Answers of judges that were no verdict."""
    verdict: Verdict | None = None
    drop_reason: str | None = None


class Calls(_Value):
    """Engine work of one clip in one role on one frame plan, as the engine counts it."""

    role: str
    plan_key: str | None
    """None: text only."""
    video_tokens: int
    """Tokens of the plan's video (Qwen2.5-VL: one per 28x28 pixels of two frames); 0 without video."""
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    least_cached_after_first: int | None
    """The fewest cached prompt tokens of any request after the first; None when there was one request."""


class Work(_Value):
    """One clip on its road. Later stages fill in more; a `failure` stops it."""

    entry: ManifestEntry
    clip_id: str | None = None
    """None until decoded: a clip's id is made of its content."""
    video_sha256: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    """The resolved span, in seconds."""
    plans: dict[str, FramePlan] = {}
    """Frame plan by view: `query`, `preferred.MODE`, `adversarial`."""
    video_info: dict[str, Any] | None = None
    """`video.VideoInfo` as plain values."""
    queries: tuple[Query, ...] = ()
    description: str | None = None
    candidates: tuple[Candidate, ...] = ()
    models: dict[str, str] = {}
    """Role to "name@revision" of the model that played it."""
    calls: tuple[Calls, ...] = ()
    seconds: dict[str, float] = {}
    """Wall time by stage. Clips overlap, so it is not machine time."""
    started_at: dict[str, float] = {}
    """Unix time at which each stage began."""
    failure: Failure | None = None

    def having(self, **changes: object) -> "Work":
        """A copy with some fields replaced."""
        return self.model_copy(update=changes)


def already_committed(work: Work) -> Work:
    """`work` as one that failed because its content is in the store under another name."""
    detail = f"clip {work.clip_id} is in the store already: the same content under another name"
    return work.having(failure=Failure(stage="commit", reason="duplicate", detail=detail))


def video_tokens(plan: FramePlan) -> int:
    """Tokens of one video in Qwen2.5-VL: two frames and 28x28 pixels merge into one."""
    return (plan.num_frames // 2) * (plan.height // 28) * (plan.width // 28)
