"""The whole road on clips made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from videopasta.cli.options import console


def demo(
    out: Annotated[Path, typer.Option(help="Gets videos, pairs, the aligned model, evaluations and the report")] = Path(
        ".demo"
    ),
    clips: Annotated[int, typer.Option(min=4, help="How many clips to make pairs of, and how many to ask about")] = 60,
    seed: Annotated[int, typer.Option(help="Of the training")] = 0,
) -> None:
    """The whole road: render clips, make pairs, hold them against the truth, train, evaluate on unseen clips."""
    from videopasta.cli.align import train
    from videopasta.cli.evaluate import compare, evaluate, questions
    from videopasta.cli.pairs import audit, generate, inspect
    from videopasta.tiny import cli as tiny

    videos, pairs, unseen, asked = out / "videos", str(out / "pairs"), out / "unseen", out / "questions"
    aligned, before, after = str(out / "aligned"), str(out / "before"), str(out / "after")

    _heading("1. Pairs of clips")
    tiny.clips(videos, num=clips, split="validation")
    generate(str(videos), pairs, tiny.GENERATE_CONFIG)
    inspect(pairs)
    audit(pairs, videos)

    _heading("2. Training on the pairs")
    train(pairs, aligned, tiny.TRAIN_CONFIG, [f"seed={seed}"])

    _heading("3. Questions about clips that nobody has seen, before and after")
    tiny.clips(unseen, num=clips, split="test")
    questions(str(unseen), str(asked), prompt_template=tiny.PROMPT_TEMPLATE)
    for model, folder in (("tiny:vl", before), (f"{aligned}/model", after)):
        evaluate(folder, model, str(asked), pairs, aligned, config=tiny.EVALUATE_CONFIG)

    _heading("4. Before against after")
    compare(before, [after], str(out / "report"))


def _heading(text: str) -> None:
    console.rule(text, align="left")
