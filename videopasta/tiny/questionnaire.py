"""Questions about rendered clips, with and without an answer: `evaluate.questions` from truth.

In: clips with their scenes. Out: for each failure mode of each clip some queries, each plainly, misleadingly by one
adversary (they take turns), and with no right option. Queries and wrong options are drawn by a seed.
"""

import random
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from videopasta.config import FAILURE_MODES
from videopasta.evaluate.questions import Kind, Question, Truth, question
from videopasta.tiny import questions as q
from videopasta.tiny.learning.lessons import Asked, Catalogue
from videopasta.tiny.world import Scene

_SCENE = TypeAdapter(Scene)


def from_scenes(clips: Sequence[tuple[str, str, Scene]], *, per_mode: int, seed: int) -> list[Question]:
    """Questions about clips.

    Args:
        clips: the uri, the SHA-256 and the scene of each.
        per_mode: queries of each failure mode and clip.
        seed: of what is drawn.
    """
    made = []
    for number, (uri, sha256, scene) in enumerate(clips):
        rng = random.Random(f"{seed} {sha256}")
        catalogue = Catalogue(scene, rng)
        for mode in FAILURE_MODES:
            row = {"video_uri": uri, "video_sha256": sha256, "start_s": None, "end_s": None, "failure_mode": mode}
            for n, asked in enumerate(catalogue.draw(mode, per_mode)):
                adversaries = q.ADVERSARIES[mode]
                made += _of_query(asked, adversaries[(number * per_mode + n) % len(adversaries)], scene, row, rng)
    return made


def _of_query(
    asked: Asked, adversary: str, scene: Scene, row: Mapping[str, object], rng: random.Random
) -> list[Question]:
    text, reference = asked.question.text(rng.randrange(len(asked.question.forms))), asked.answer.sentence
    truth = Truth(scene=_SCENE.dump_python(scene, mode="json"))
    wrong = [claim.sentence for claim in q.wrong_answers(asked.question, asked.answer, scene, rng)]
    plain: tuple[Kind, ...] = ("answerable", "none_of_the_above")
    made = [
        question(
            query=text, kind=kind, text=text, wrong=rng.sample(wrong, 3), reference=reference, row=row, truth=truth
        )
        for kind in plain
    ]  # fmt: skip
    leading = q.mislead(asked.answer, adversary, rng, scene)
    if leading.claim is not None and not leading.claim.holds(scene):
        misled = leading.claim.sentence
        made.append(
            question(
                query=text, kind="false_premise", text=leading.query, wrong=[misled, *rng.sample(wrong, 3)],
                reference=reference, row=row, adversary=adversary, misled=misled, truth=truth,
            )
        )  # fmt: skip
    return made


def is_right(answer: str, query: str, truth: Truth) -> bool:
    """Whether `answer` is true of the scene and answers the query, however misleadingly it was put."""
    asked = q.read_question(query)
    if asked is None:
        raise ValueError(f"{query!r} is no question of the world")
    return q.is_right(answer, asked, _SCENE.validate_python(truth.scene))
