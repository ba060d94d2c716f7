"""The examination: what counts as right, and whose answers the judge is asked about."""

import random
from itertools import islice

import pytest

from videopasta.tiny.claims import read_claim
from videopasta.tiny.learning import candidates as making
from videopasta.tiny.learning import exam
from videopasta.tiny.learning.cases import Case, verdict
from videopasta.tiny.learning.lessons import Lesson, compact
from videopasta.tiny.questions import read_question
from videopasta.tiny.world import scenes


def make_case(*, right: bool = True, description: str | None = "A scene.") -> Case:
    return Case("spatial", "Where?", "Here.", "There.", description, "Here.", right, True)


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch):
    """A model that knows each scene and what to ask, and says something false to any question that misleads it."""

    def answer(model, packer, asked, chosen, ticks=(), **_):
        def say(prompt, scene):
            question = read_question(prompt)
            truth = question.answer(scene) if question else None
            return truth.sentence if truth else "The ring is green at the start and white at the end."

        # What the model writes when asked for queries is what it is taught to write.
        return [
            [lesson.answer if "queries" in lesson.answer else say(lesson.prompt, scene) for lesson in row]
            for row, scene in zip(asked, chosen, strict=True)
        ]

    monkeypatch.setattr(making, "answer", answer)


def test_candidates_are_the_models_answers_with_their_truth(knowing):
    """Each case has a readable question, the model's answer, and whether that is true of its clip."""
    chosen = list(islice(scenes("test", seed=0), 20))
    found = making.candidates(None, None, chosen, random.Random(0), per_mode=2)
    assert len(found) > 80
    assert all(case.preferred_true for case in found)
    assert all(read_question(case.query) and read_claim(case.preferred) for case in found)
    assert any(case.description is None for case in found)
    assert {case.failure_mode for case in found} == {"spatial", "temporal", "cross_frame"}


def test_half_of_the_clips_are_asked_what_the_model_writes(knowing, monkeypatch: pytest.MonkeyPatch):
    """Where it writes one query for all clips, that one is asked of some of them and not of all."""
    one = Lesson("", compact({"queries": ["What is the first thing that happens?"]}))
    monkeypatch.setattr(making.lessons, "queries", lambda *_: one)
    asked = [
        {case.query for case in making.candidates(None, None, [scene], random.Random(seed), per_mode=2)}
        for seed, scene in enumerate(islice(scenes("test", seed=0), 40))
    ]
    assert 10 < sum(queries == {"What is the first thing that happens?"} for queries in asked) < 30


def test_a_question_without_an_answer_is_no_candidate(monkeypatch: pytest.MonkeyPatch):
    """Where the preferred answer is no claim there is nothing to mislead with."""
    monkeypatch.setattr(
        making, "answer", lambda model, packer, asked, *_, **__: [["What?"] * len(row) for row in asked]
    )
    assert not making.candidates(None, None, islice(scenes("test", seed=0), 5), random.Random(0), per_mode=2)


def test_who_knows_gets_all_and_who_guesses_gets_the_prior(monkeypatch: pytest.MonkeyPatch):
    """Full marks for the truth; of two possible answers a guess is right half of the time."""
    chosen = list(islice(scenes("test", seed=0), 60))

    def answer(model, packer, asked, some, ticks=()):
        return [[_truth(lesson.prompt, scene) for lesson in row] for row, scene in zip(asked, some, strict=True)]

    monkeypatch.setattr(exam, "answer", answer)
    few = exam.priors(300)
    monkeypatch.setattr(exam, "priors", lambda: few)
    scores = exam.examine(None, None, split="test", seed=0, num_clips=len(chosen))
    assert all(score.plain == score.sparse == 1 for score in scores.values())
    assert all(score.misled == 0 for score in scores.values())
    assert 0.35 < scores["temporal/WhichFirst"].prior < 0.65


def _truth(prompt: str, scene) -> str:
    question = read_question(prompt)
    truth = question.answer(scene) if question else None
    return truth.sentence if truth else "Nothing."


def test_marks_of_a_known_judge(monkeypatch: pytest.MonkeyPatch):
    """A judge that accepts the described ones and answers nonsense to the others: an unreadable vote is a no."""
    cases = [make_case(), make_case(), make_case(right=False), make_case(description=None)]
    yes, nonsense = verdict(make_case()).answer, "yes"
    told = [[yes], [yes], [yes], [nonsense]]
    monkeypatch.setattr(exam, "answer", lambda *_, **__: told)
    scores = exam.examine_judge(None, None, cases)
    assert (scores["all"].precision, scores["all"].recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert scores["all"].f1 == pytest.approx(2 / 3)
    assert scores["all"].base_rate == pytest.approx(3 / 4)
    assert scores["undescribed"].recall == 0


def test_tables_show_mean_and_deviation_over_sets():
    """Counts add up; a name that only one set has stands with that one's score."""
    one, other = exam.JudgeScore(10, 0.8, 0.9, 1.0, 0.94), exam.JudgeScore(20, 0.6, 0.9, 0.8, 0.84)
    shown = exam.judge_table([{"all": one}, {"all": other, "undescribed": other}])
    rows = list(zip(*(list(column.cells) for column in shown.columns), strict=True))
    assert rows == [
        ("all", "30", "70.0 ± 14.1", "90.0 ± 0.0", "90.0 ± 14.1", "89.0 ± 7.1"),
        ("undescribed", "20", "60.0", "90.0", "80.0", "84.0"),
    ]
