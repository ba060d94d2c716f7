"""From pairs to a model, and a look at it."""

from typing import Annotated, Literal

import typer

from videopasta.cli.options import ConfigFile, DryRun, Overrides, console


def train(
    pairs: Annotated[str, typer.Option(help="The --out of a generate run, a folder of Parquet, or one file")],
    out: Annotated[str, typer.Option(help="Gets model/, checkpoints/, metrics.csv, curves.png and run.json")],
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
) -> None:
    """Align a model with the pairs by DPO. Run it again to continue where it was stopped."""
    from videopasta import storage
    from videopasta.config import TrainConfig, dump_yaml, load_config
    from videopasta.dpo import run

    settings = run.anchored(load_config(TrainConfig, config, set_ or []))
    pairs, out = storage.absolute(pairs), storage.absolute(out)
    plan = run.plan_training(pairs, out, settings)
    console.print(run.describe(plan), highlight=False, markup=False)
    if dry_run:
        console.print(dump_yaml(settings), highlight=False, markup=False)
        return
    outcome = run.train(plan, pairs, out, settings, console)
    console.print(f"{outcome.model}: the model after step {outcome.step}, for transformers and vLLM", highlight=False)


def infer(
    model: Annotated[str, typer.Option(help="Folder (OUT/model of a training), hub id, or tiny:NAME")],
    video: Annotated[str, typer.Option(help="Local, s3:// or gs://")],
    prompt: Annotated[str, typer.Option(help="The question")],
    backend: Annotated[Literal["vllm", "transformers"], typer.Option(help="What runs the model")] = "vllm",
    num_frames: Annotated[int, typer.Option(min=2, help="Spread evenly over the video")] = 32,
    max_pixels: Annotated[int, typer.Option(min=28 * 28, help="Largest frame; 7056 for tiny:vl")] = 768 * 28 * 28,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest words")] = 0.0,
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], typer.Option(help="Of the weights")] = "auto",
) -> None:
    """Ask a model about a video; the answer is printed as it is written."""
    from videopasta import infer as infers
    from videopasta.config import DecodeConfig, PixelBudget, SamplingConfig, VllmModel

    pixels = PixelBudget(max_pixels=max_pixels, min_pixels=min(max_pixels, 128 * 28 * 28))
    named = infers.check(VllmModel(model=model, dtype=dtype, enforce_eager=True, max_num_seqs=1))
    seen = infers.look(video, num_frames + num_frames % 2, DecodeConfig(pixels=pixels))
    sampling = SamplingConfig(temperature=temperature, max_tokens=max_tokens)
    for part in infers.answer(named, seen, prompt, sampling, backend):
        console.print(part, end="", highlight=False, markup=False)
    console.print()
