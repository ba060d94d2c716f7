"""`videopasta tiny ...`: clips of the embedded world, and the training and examination of its models."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import track

app = typer.Typer(help="The embedded world: clips with known truth, and the small models that see them.")
console = Console()
GENERATE_CONFIG, TRAIN_CONFIG, EVALUATE_CONFIG = (
    Path(__file__).parent / f"{name}.yaml" for name in ("generate", "train", "evaluate")
)
"""Of the commands of these names, for the shipped models on clips of the world."""
PROMPT_TEMPLATE = "Watch the video.\n{prompt}"
"""How the response model was taught to be asked."""

Split = Annotated[
    Literal["train", "validation", "test"],
    typer.Option(help="They share no combination of coloured shapes"),
]
Seed = Annotated[int, typer.Option(help="Another seed gives other scenes; in a training, other weights")]


@app.command()
def clips(
    folder: Annotated[Path, typer.Argument(help="Gets clip_000.mp4, ... and truth.jsonl")],
    num: Annotated[int, typer.Option(min=1, help="How many clips")] = 60,
    split: Split = "test",
    seed: Seed = 0,
) -> None:
    """Render clips, and write down what is true of them."""
    from videopasta.tiny.truth import write_clips
    from videopasta.tiny.world import scenes

    write_clips(track(islice(scenes(split, seed), num), "rendering clips", total=num, transient=True), folder)
    console.print(f"{folder}: {num} clips of the {split} world and their truth", highlight=False)


@app.command()
def train(
    model: Annotated[Literal["vl", "judge"], typer.Argument(help="Which of the two")],
    out: Annotated[Path, typer.Argument(help="Gets the checkpoint in model/, the tokenizer, log.jsonl, state.pt")],
    response_model: Annotated[
        str,
        typer.Option(
            help="Whose language half the judge is at first, and whose answers it learns to judge: tiny:vl, or the "
            "folder of a checkpoint"
        ),
    ] = "tiny:vl",
    seed: Seed = 0,
    scale: Annotated[
        float, typer.Option(min=0.001, help="Share of the steps: 0.01 is a try, 1 the whole training")
    ] = 1.0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads; another number rounds otherwise")] = 2,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU where there is one")] = None,
) -> None:
    """Train the response model from nothing, then its judge. Interrupted, the same command goes on where it was."""
    import torch

    from videopasta.engine.models import local_path
    from videopasta.tiny.learning import models, training
    from videopasta.tiny.learning.candidates import stored_candidates

    torch.set_num_threads(threads)
    if model == "vl":
        tokenizer = training.load_tokenizer(out / "tokenizer")
        fresh, phases = models.make_vl(tokenizer, seed=seed), training.vl_phases(scale)
    else:
        responds = Path(local_path(response_model))
        vl, tokenizer = models.load(responds)
        fresh = models.make_judge(tokenizer, vl)
        answered = stored_candidates(out / "train_cases.json", responds, "train", seed, round(1300 * scale))
        unseen = stored_candidates(out / "validation_cases.json", responds, "validation", seed, round(100 * scale))
        phases = training.judge_phases(answered, unseen, scale)
    training.train(
        fresh.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), tokenizer, phases, out, seed=seed
    )
    models.save(fresh, tokenizer, out / "model")
    made = (out / "model").resolve()
    console.print(
        f"{made}: load it as any checkpoint, --set {'response' if model == 'vl' else 'judge'}_model.model={made}"
    )


@app.command()
def exam(
    model: Annotated[
        str, typer.Argument(help="The response model: tiny:vl, or the folder of a checkpoint")
    ] = "tiny:vl",
    judge: Annotated[str, typer.Option(help="The judge, examined on what the response model says")] = "tiny:judge",
    num: Annotated[int, typer.Option(min=1, help="Clips in a set")] = 300,
    sets: Annotated[int, typer.Option(min=1, help="Sets of clips; of several: mean and standard deviation")] = 1,
    split: Split = "test",
    seed: Annotated[int, typer.Option(help="Of the first set; of each further one, one more")] = 0,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the scores here as well")] = None,
) -> None:
    """Ask a response model about unseen clips, plainly, misleadingly and on sparse frames; and its judge about that."""
    from videopasta.engine.models import local_path
    from videopasta.tiny.learning import exam as exams
    from videopasta.tiny.learning import models
    from videopasta.tiny.learning.packing import Packer

    (responds, tokenizer), (judges, judges_tokenizer) = (models.load(Path(local_path(m))) for m in (model, judge))
    packer, judges_packer = Packer(tokenizer), Packer(judges_tokenizer)
    responses, verdicts = [], []
    for number in track(range(seed, seed + sets), "examining", transient=True):
        responses.append(exams.examine(responds, packer, split=split, seed=number, num_clips=num))
        cases = exams.unseen_cases(responds, packer, split=split, seed=number, num_clips=num)
        verdicts.append(exams.examine_judge(judges, judges_packer, cases))
    console.print(exams.table(responses), exams.judge_table(verdicts))
    if json_ is not None:
        scores = {"response": responses, "judge": verdicts}
        json_.write_text(json.dumps(scores, indent=2, default=vars) + "\n")
