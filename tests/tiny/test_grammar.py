"""What the small models are taught to write is what the engine's grammar lets them write."""

import json
import random
from itertools import islice

from xgrammar import Grammar
from xgrammar.testing import _is_grammar_accept_string

from videopasta.config import FAILURE_MODES, GenerateConfig
from videopasta.generate.judging import vote_schema
from videopasta.generate.queries import query_schema
from videopasta.generate.responses import rewrite_schema
from videopasta.tiny.learning import cases, lessons
from videopasta.tiny.learning.lessons import Catalogue
from videopasta.tiny.world import scenes

SCENES = list(islice(scenes("train", seed=0), 20))
CONFIG = GenerateConfig()


def accepts(schema: dict[str, object], text: str) -> bool:
    """Whether vLLM's grammar, with the settings of `engine/vllm.py`, can write `text`."""
    return _is_grammar_accept_string(
        Grammar.from_json_schema(json.dumps(schema), any_whitespace=False, separators=(",", ":")), text
    )


def test_verdicts_keep_to_the_grammar():
    """Each verdict that the judge is taught can be written letter by letter."""
    rng = random.Random(0)
    for scene in SCENES:
        assert accepts(vote_schema(CONFIG.judge.max_reason_chars), cases.verdict(cases.case(scene, rng)).answer)


def test_queries_and_rewritings_keep_to_the_grammar():
    """So can the query model's answers, and spaces behind its colons cannot."""
    rng = random.Random(0)
    for scene in SCENES:
        for mode in FAILURE_MODES:
            written = lessons.queries(mode, Catalogue(scene, rng), rng).answer
            schema = query_schema(len(json.loads(written)["queries"]), CONFIG.queries.max_chars)
            assert accepts(schema, written)
            assert not accepts(schema, json.dumps(json.loads(written)))
        for lesson in lessons.rewriting_lessons(scene, rng):
            assert accepts(rewrite_schema(CONFIG.responses.max_rewrite_chars), lesson.answer)
