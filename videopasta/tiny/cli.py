"""`videopasta tiny ...`: clips of the embedded world, and the training and examination of its models."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

app = typer.Typer(help="The embedded world: clips with known truth, and the small models that see them.")
console = Console()

Split = Annotated[
    Literal["train", "validation", "test"],
    typer.Option(help="They share no combination of coloured shapes"),
]
Seed = Annotated[int, typer.Option(help="Another seed gives other scenes, and other weights")]


@app.command()
def clips(
    folder: Annotated[Path, typer.Argument(help="Gets clip_000.mp4, ... and truth.jsonl")],
    num: Annotated[int, typer.Option(help="How many clips")] = 60,
    split: Split = "test",
    seed: Seed = 0,
) -> None:
    """Render clips, and write down what is true of them."""
    from videopasta.tiny.truth import write_clips
    from videopasta.tiny.world import scenes

    write_clips(islice(scenes(split, seed), num), folder)
    console.print(f"{folder}: {num} clips of the {split} world and their truth", highlight=False)


@app.command()
def train(
    model: Annotated[Literal["vl", "judge"], typer.Argument(help="Which of the two")],
    out: Annotated[Path, typer.Argument(help="Gets the checkpoint in model/, the tokenizer, log.jsonl, state.pt")],
    seed: Seed = 0,
    scale: Annotated[float, typer.Option(help="Share of the steps: 0.01 is a try, 1 the whole training")] = 1.0,
    threads: Annotated[int, typer.Option(help="Processor threads; another number rounds otherwise")] = 2,
) -> None:
    """Train a model from nothing. Interrupted, the same command goes on from its last state."""
    import torch

    from videopasta.tiny import models, training

    torch.set_num_threads(threads)
    tokenizer = training.load_tokenizer(out / "tokenizer")
    phases = training.vl_phases(scale) if model == "vl" else training.judge_phases(scale)
    fresh = models.make_vl(tokenizer, seed=seed) if model == "vl" else models.make_judge(tokenizer, seed=seed)
    training.train(fresh, tokenizer, phases, out, seed=seed)
    models.save(fresh, tokenizer, out / "model")
    console.print(f"{out / 'model'}: load it as any checkpoint, --set response_model.model={out / 'model'}")


@app.command()
def exam(
    model: Annotated[Path, typer.Argument(help="Folder of a response model's checkpoint")],
    num: Annotated[int, typer.Option(help="Clips")] = 300,
    split: Split = "test",
    seed: Seed = 0,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the scores here as well")] = None,
) -> None:
    """Ask a response model about unseen clips, plainly, misleadingly and on sparse frames."""
    from videopasta.tiny import models
    from videopasta.tiny.exam import examine, table
    from videopasta.tiny.packing import Packer

    loaded, tokenizer = models.load(model)
    scores = examine(loaded, Packer(tokenizer, models.GRID), split=split, seed=seed, num_clips=num)
    console.print(table(scores))
    if json_ is not None:
        json_.write_text(json.dumps({name: vars(score) for name, score in scores.items()}, indent=2) + "\n")
