"""Our questions as a task of lmms-eval: what its YAML names, and the folder that holds it.

    python -m lmms_eval eval --include_path FOLDER --tasks videopasta_adversarial_qa --model videopasta_vllm ...

Questions with options are asked, answers are the letters that the model writes. Metrics, in percent: `plain` (the
answerable ones), `adversarial` (those that nothing answers), and `handled` (adversarial ones whose plain twin is right
too: who rejects everything gets 0).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from videopasta import storage
from videopasta.errors import UserError
from videopasta.evaluate.grading import is_right_letter, read_letter
from videopasta.evaluate.questions import Question

TASK = "videopasta_adversarial_qa"
_YAML = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: right
generation_kwargs:
  max_new_tokens: 16
  temperature: 0
  do_sample: false
process_results: !function utils.process_results
metric_list:
  - metric: adversarial
    aggregation: !function utils.adversarial
    higher_is_better: true
  - metric: plain
    aggregation: !function utils.plain
    higher_is_better: true
  - metric: handled
    aggregation: !function utils.handled
    higher_is_better: true
lmms_eval_specific_kwargs:
  default:
    prompt_template: {template}
"""
_UTILS = """\
from videopasta.evaluate.lmms.task import adversarial, doc_to_text, doc_to_visual, handled, plain, process_results
"""


def write_task(questions: Sequence[Question], folder: Path, prompt_template: str = "{prompt}") -> None:
    """The task's folder, for `--include_path`.

    Raises:
        UserError: no question has options, or a video is not on this machine: lmms-eval opens local files.
    """
    asked = [one for one in questions if one.options]
    if not asked:
        raise UserError(f"{folder}: none of the {len(questions)} questions has options; lmms-eval's task needs letters")
    remote = next((one.video_uri for one in asked if not storage.is_local(one.video_uri)), None)
    if remote is not None:
        raise UserError(f"{remote}: lmms-eval opens local files; copy the videos here and write the questions anew")
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "adversarial_qa.jsonl").resolve()
    file.write_text("".join(json.dumps(_document(one)) + "\n" for one in asked))
    text = _YAML.format(task=TASK, file=json.dumps(str(file)), template=json.dumps(prompt_template))
    (folder / f"{TASK}.yaml").write_text(text)
    (folder / "utils.py").write_text(_UTILS)


def _document(question: Question) -> dict[str, Any]:
    """Flat: what is nested, arrow would have to guess the type of."""
    return {
        "video": storage.local_path(question.video_uri),
        "prompt": question.as_choice(),
        "right": question.letters[question.right or 0],
        "question": question.model_dump_json(exclude={"truth"}),
    }


def doc_to_visual(doc: dict[str, Any]) -> list[str]:
    """The clip's file."""
    return [doc["video"]]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str] | None = None) -> str:
    """The question with its options, as the model is to read it."""
    template = (lmms_eval_specific_kwargs or {}).get("prompt_template", "{prompt}")
    return template.replace("{prompt}", doc["prompt"])


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One answer, under each metric."""
    question = Question.model_validate_json(doc["question"])
    letter = read_letter(results[0], question)
    scored = {
        "question_id": question.question_id, "query_id": question.query_id, "kind": question.kind,
        "letter": letter, "right": is_right_letter(letter, question),
    }  # fmt: skip
    return dict.fromkeys(("adversarial", "plain", "handled"), scored)


def adversarial(scored: Iterable[dict[str, Any]]) -> float:
    """Percent of the questions that nothing answers, rejected."""
    return _percent(one["right"] for one in scored if one["kind"] != "answerable")


def plain(scored: Iterable[dict[str, Any]]) -> float:
    """Percent of the answerable ones, answered."""
    return _percent(one["right"] for one in scored if one["kind"] == "answerable")


def handled(scored: Iterable[dict[str, Any]]) -> float:
    """Percent of the adversarial questions with a twin that are rejected, and their twin answered."""
    scored = list(scored)
    answered = {one["query_id"]: one["right"] for one in scored if one["kind"] == "answerable"}
    # A limit may cut twins off: without its own, a question says nothing here, as in scores.py.
    twinned = [one for one in scored if one["kind"] != "answerable" and one["query_id"] in answered]
    return _percent(one["right"] and answered[one["query_id"]] for one in twinned)


def _percent(values: Iterable[bool]) -> float:
    found = list(values)
    return 100 * sum(found) / len(found) if found else float("nan")
