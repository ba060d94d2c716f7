"""Stage 2: the response model answers well on the dense plan, then is misled on the sparse one.

Each query goes its own way without waiting for the others, so all requests of the clip are in flight
together: preferred answer → adversarial queries (text only) → adversarial answers.
"""

import random
from collections.abc import Mapping
from typing import Any

from videopasta.config import GenerateConfig
from videopasta.config.generate import SamplingConfig
from videopasta.generate.asking import Asker, SeenVideo, clean, derive_seed, parse_json, together
from videopasta.generate.guards import check_answer, check_pair, words
from videopasta.generate.work import Candidate, Query, Work
from videopasta.prompts import PromptSet


async def respond(
    work: Work, asker: Asker, videos: Mapping[str, SeenVideo], prompts: PromptSet, config: GenerateConfig
) -> Work:
    """`work` with `num_adversaries` candidates per query, those that fail a guard already dropped."""
    answers = config.responses

    async def describe() -> str | None:
        if not config.judge.describe_clip:
            return None
        answer = await asker.ask(
            prompts.describe(),
            description_sampling(config),
            "describe",
            video=videos[f"preferred.{config.failure_modes[0]}"],
        )
        return clean(answer.text)

    async def of_query(query: Query) -> list[Candidate]:
        mode = query.failure_mode
        answer = await asker.ask(
            prompts.preferred(query.text, min_words=answers.min_words, max_words=answers.max_words),
            answers.preferred,
            mode,
            query.text,
            "preferred",
            video=videos[f"preferred.{mode}"],
        )
        preferred = clean(answer.text)
        unusable = check_answer(preferred, config.guards, cut=answer.finish_reason == "length")
        adversaries = pick_adversaries(
            list(prompts.modes[mode].adversaries),
            answers.num_adversaries,
            derive_seed(config.seed, work.clip_id, query.text),
        )
        if unusable:
            return [
                Candidate(
                    query=query,
                    preferred=preferred,
                    adversary=adversary,
                    adversarial_query="",
                    adversarial="",
                    seed=asker.seed(mode, query.text, adversary, "adversarial"),
                    drop_reason=f"preferred_{unusable}",
                )
                for adversary in adversaries
            ]
        return await together(of_adversary(query, preferred, adversary) for adversary in adversaries)

    async def of_adversary(query: Query, preferred: str, adversary: str) -> Candidate:
        mode = query.failure_mode
        rewrite = await asker.ask(
            prompts.rewrite(mode, adversary, query=query.text, preferred=preferred),
            answers.rewrite,
            mode,
            query.text,
            adversary,
            "rewrite",
            schema=rewrite_schema(answers.max_rewrite_chars),
        )
        adversarial_query, adversarial, drop_reason = _rewritten(rewrite.text), "", None
        about = (mode, query.text, adversary, "adversarial")
        if adversarial_query is None:
            drop_reason = "adversarial_query_unreadable"
        else:
            answer = await asker.ask(
                prompts.adversarial(adversarial_query, words=len(words(preferred))),
                answers.adversarial,
                *about,
                video=videos["adversarial"],
            )
            adversarial = clean(answer.text)
            cut = answer.finish_reason == "length"
            drop_reason = check_answer(adversarial, config.guards, cut=cut) or check_pair(
                preferred, adversarial, config.guards
            )
        return Candidate(
            query=query,
            preferred=preferred,
            adversary=adversary,
            adversarial_query=adversarial_query or "",
            adversarial=adversarial,
            seed=asker.seed(*about),
            drop_reason=drop_reason,
        )

    results: list[Any] = await together([describe(), *map(of_query, work.queries)])
    description, *by_query = results
    return work.having(
        description=description, candidates=tuple(candidate for group in by_query for candidate in group)
    )


def description_sampling(config: GenerateConfig) -> SamplingConfig:
    """As the preferred response, and longer: three sentences."""
    return config.responses.preferred.model_copy(update={"max_tokens": 192})


def rewrite_schema(max_chars: int) -> dict[str, object]:
    """JSON schema of an answer with one adversarial query."""
    return {
        "type": "object",
        "properties": {"query": {"type": "string", "minLength": 8, "maxLength": max_chars}},
        "required": ["query"],
        "additionalProperties": False,
    }


def _rewritten(text: str) -> str | None:
    query = (parse_json(text) or {}).get("query")
    return clean(query) if isinstance(query, str) and words(query) else None


def pick_adversaries(names: list[str], count: int, seed: int) -> list[str]:
    """`count` of `names`, another choice for each query when there are more; in their own order."""
    chosen = set(random.Random(seed).sample(names, count))
    return [name for name in names if name in chosen]
