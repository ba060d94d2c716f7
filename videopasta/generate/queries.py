"""Stage 1: the query model watches the clip and writes aligned queries for each failure mode."""

from collections.abc import Mapping

from videopasta.config import FailureMode, GenerateConfig
from videopasta.generate.asking import Asker, SeenVideo, clean, parse_json, together
from videopasta.generate.guards import words
from videopasta.generate.work import Failure, Query, Work
from videopasta.prompts import PromptSet


async def write_queries(
    work: Work, asker: Asker, videos: Mapping[str, SeenVideo], prompts: PromptSet, config: GenerateConfig
) -> Work:
    """`work` with its queries; with the failure `no_queries` when no mode got any."""

    async def of_mode(mode: FailureMode) -> list[str]:
        found: list[str] = []
        for round_ in range(config.queries.max_rounds):
            missing = config.queries.per_mode - len(found)
            if not missing:
                break
            answer = await asker.ask(
                prompts.query(mode, count=missing, taken=found),
                config.queries.sampling,
                mode,
                round_,
                video=videos["query"],
                schema=query_schema(missing, config.queries.max_chars),
            )
            found = distinct(found + parse_queries(answer.text))[: config.queries.per_mode]
        return found

    by_mode = await together(of_mode(mode) for mode in config.failure_modes)
    queries = tuple(
        Query(failure_mode=mode, index=index, text=text)
        for mode, texts in zip(config.failure_modes, by_mode, strict=True)
        for index, text in enumerate(texts)
    )
    failure = None
    if not queries:
        rounds = config.queries.max_rounds
        failure = Failure(stage="query", reason="no_queries", detail=f"none readable in {rounds} rounds per mode")
    return work.having(queries=queries, failure=failure)


def query_schema(count: int, max_chars: int) -> dict[str, object]:
    """JSON schema of an answer with `count` queries."""
    return {
        "type": "object",
        "properties": {
            "queries": {
                "type": "array",
                "minItems": count,
                "maxItems": count,
                "items": {"type": "string", "minLength": 8, "maxLength": max_chars},
            }
        },
        "required": ["queries"],
        "additionalProperties": False,
    }


def parse_queries(text: str) -> list[str]:
    """The queries in a model's answer, white space collapsed; empty when it is not the JSON asked for."""
    value = (parse_json(text) or {}).get("queries")
    if not isinstance(value, list):
        return []
    queries = (clean(item) for item in value if isinstance(item, str))
    return [query for query in queries if words(query)]


def distinct(queries: list[str]) -> list[str]:
    """`queries` in order, without those that repeat the words of an earlier one."""
    seen: dict[tuple[str, ...], str] = {}
    for query in queries:
        seen.setdefault(tuple(words(query)), query)
    return list(seen.values())
