"""How a model is asked: each question openly and with its options, all about a clip in flight together."""

from collections.abc import Sequence

from videopasta.config import EvaluateConfig
from videopasta.engine import Engine, Request, RequestError, Video
from videopasta.evaluate.grading import GRADE_SCHEMA, grading_prompt, read_grade
from videopasta.evaluate.questions import Question
from videopasta.evaluate.sheets import Said, Sheet
from videopasta.generate.asking import clean, derive_seed, together


def name_of(engine: Engine) -> str:
    """The model as "name@revision"."""
    return f"{engine.model_id.name}@{engine.model_id.revision or ''}"


async def ask(sheet: Sheet, video: Video, engine: Engine, config: EvaluateConfig) -> Sheet:
    """`sheet` with what the model says to each question; a request at fault is a problem of its question alone."""
    said = await together(_ask(question, video, engine, config) for question in sheet.questions)
    return sheet.having(said=tuple(said), model=name_of(engine))


async def _ask(question: Question, video: Video, engine: Engine, config: EvaluateConfig) -> Said:
    requests: dict[str, Request] = {}
    if question.is_open:
        requests["open"] = Request(
            prompt=config.prompt_template.replace("{prompt}", question.text),
            sampling=config.open_answers,
            seed=derive_seed(config.seed, question.question_id, "open"),
            video=video,
        )
    if question.options:
        requests["choice"] = Request(
            prompt=config.prompt_template.replace("{prompt}", question.as_choice()),
            sampling=config.letters,
            seed=derive_seed(config.seed, question.question_id, "choice"),
            video=video,
            choices=tuple(question.letters),
        )
    try:
        answers = await together(engine.generate(request) for request in requests.values())
    except RequestError as error:
        return Said(problem=f"{error.reason}: {error.detail}")
    given = dict(zip(requests, answers, strict=True))
    choice = given.get("choice")
    return Said(
        open_text=clean(given["open"].text) if "open" in given else None,
        open_cut="open" in given and given["open"].finish_reason == "length",
        choice_text=choice.text if choice else None,
        letter_logprobs=choice.choice_logprobs if choice else (),
    )


async def grade(sheet: Sheet, engine: Engine, config: EvaluateConfig) -> Sheet:
    """`sheet` with the grader's verdicts on open answers whose truth is not known."""
    pairs = list(zip(sheet.questions, sheet.said, strict=True))
    graded = await together(_grade(question, said, engine, config) for question, said in pairs)
    return sheet.having(said=tuple(graded), grader=name_of(engine))


def ungraded(sheet: Sheet, why: str) -> Sheet:
    """`sheet` whose open answers got no grade, and why."""
    said = (one if one.open_text is None else one.model_copy(update={"graded_why": why}) for one in sheet.said)
    return sheet.having(said=tuple(said))


def to_grade(questions: Sequence[Question]) -> bool:
    """Whether any open answer to `questions` needs a grader."""
    return any(question.is_open and question.truth is None for question in questions)


async def _grade(question: Question, said: Said, engine: Engine, config: EvaluateConfig) -> Said:
    if said.open_text is None or question.truth is not None:
        return said
    request = Request(
        prompt=grading_prompt(said.open_text, question),
        sampling=config.grading,
        seed=derive_seed(config.seed, question.question_id, "grade"),
        json_schema=GRADE_SCHEMA,
    )
    try:
        answer = await engine.generate(request)
    except RequestError as error:
        return said.model_copy(update={"graded_why": f"{error.reason}: {error.detail}"})
    right, why = read_grade(answer.text)
    return said.model_copy(update={"graded_right": right, "graded_why": why})
