"""Stage 3: judges vote on candidates that passed the guards; `decide` makes votes a verdict (pure)."""

import math
from collections.abc import Sequence

from pydantic import ValidationError

from videopasta.config import GenerateConfig
from videopasta.config.generate import JudgeConfig
from videopasta.generate.asking import Asker, clean_if_text, parse_json, together
from videopasta.generate.work import Candidate, Verdict, Vote, Work
from videopasta.prompts import PromptSet

QUESTIONS = ("genuine", "targeted", "distinct", "preferred_ok")


async def vote(work: Work, asker: Asker, prompts: PromptSet, config: GenerateConfig, *, last: bool) -> Work:
    """`work` with this judge's votes on each candidate not dropped yet; after the last judge, verdicts."""

    async def on_candidate(candidate: Candidate) -> Candidate:
        if candidate.drop_reason:
            return candidate
        query = candidate.query
        prompt = prompts.judge(
            query.failure_mode,
            query=query.text,
            preferred=candidate.preferred,
            adversarial=candidate.adversarial,
            description=work.description,
        )
        answers = await together(
            asker.ask(
                prompt,
                config.judge.sampling,
                query.failure_mode,
                query.text,
                candidate.adversary,
                sample,
                schema=vote_schema(config.judge.max_reason_chars),
            )
            for sample in range(config.judge.num_samples)
        )
        votes = [read_vote(answer.text, asker.model) for answer in answers]
        readable = tuple(v for v in votes if v is not None)
        candidate = candidate.model_copy(
            update={
                "votes": candidate.votes + readable,
                "unreadable_votes": candidate.unreadable_votes + len(votes) - len(readable),
            }
        )
        if not last:
            return candidate
        verdict, drop_reason = decide(candidate.votes, config.judge)
        return candidate.model_copy(update={"verdict": verdict, "drop_reason": drop_reason})

    return work.having(candidates=tuple(await together(map(on_candidate, work.candidates))))


def vote_schema(max_reason_chars: int) -> dict[str, object]:
    """JSON schema of one vote.

    The reason comes first: what a model has written down, it can decide by. Confidence is whole: models are bad at
    fractions, grammars at their ends.
    """
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": max_reason_chars},
            **{question: {"type": "boolean"} for question in QUESTIONS},
            "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
        },
        "required": ["reason", *QUESTIONS, "confidence"],
        "additionalProperties": False,
    }


def read_vote(text: str, judge: str) -> Vote | None:
    """The vote in a judge's answer; None when it is not the JSON asked for."""
    value = parse_json(text)
    confidence = (value or {}).get("confidence")
    if value is None or isinstance(confidence, bool) or not isinstance(confidence, int | float):
        return None
    confidence = min(max(confidence, 0), 100) / 100
    if math.isnan(confidence):  # JSON as Python reads it has NaN; it would pass every threshold
        return None
    try:
        return Vote.model_validate(
            {**{question: value.get(question) for question in QUESTIONS}, "confidence": confidence,
             "reason": clean_if_text(value.get("reason")), "judge": judge}
        )  # fmt: skip
    except ValidationError:
        return None


def decide(votes: Sequence[Vote], config: JudgeConfig) -> tuple[Verdict | None, str | None]:
    """The majority's verdict, and why it drops the candidate (None: it is a pair). A tie is a no."""
    if not votes:
        return None, "judge_unreadable"
    majority = {q: sum(getattr(v, q) for v in votes) * 2 > len(votes) for q in QUESTIONS}
    accepts = all(majority.values())
    siding = [v for v in votes if v.accepts == accepts]
    agreement = len(siding) / len(votes)
    verdict = Verdict(
        **majority,
        confidence=sum(v.confidence for v in votes) / len(votes),
        agreement=agreement,
        reason=max(siding or votes, key=lambda v: v.confidence).reason,
    )
    for question in QUESTIONS:
        if not majority[question]:
            return verdict, f"judge_not_{question}"
    if verdict.confidence < config.min_confidence:
        return verdict, "judge_low_confidence"
    if agreement < config.min_agreement:
        return verdict, "judge_disagreement"
    return verdict, None
