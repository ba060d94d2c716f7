"""From pairs to a model, and a look at it."""

import tempfile
from pathlib import Path
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


def align(
    videos: Annotated[str, typer.Option(help="Makes the pairs; as of generate")],
    unseen: Annotated[
        str, typer.Option(help="Other videos, for the questions; or a local folder of rendered clips with their truth")
    ],
    out: Annotated[str, typer.Option(help="Gets pairs/, aligned/, questions/, before/, after/ and report/")],
    generate_config: Annotated[Path | None, typer.Option(help="YAML file of the pairs. Default: the paper's")] = None,
    train_config: Annotated[Path | None, typer.Option(help="YAML file of the training")] = None,
    evaluate_config: Annotated[Path | None, typer.Option(help="YAML file of the evaluations")] = None,
    dry_run: DryRun = False,
) -> None:
    """From videos to an aligned model and whether it is better: generate, train, evaluate, compare. Continues."""
    from pyarrow import fs as pafs

    from videopasta import storage
    from videopasta.cli.evaluate import evaluate, questions, write_comparison
    from videopasta.cli.pairs import generate
    from videopasta.config import EvaluateConfig, TrainConfig, dump_yaml, load_config
    from videopasta.tiny.truth import FILE_NAME

    # At once: a mistake in them would show after hours.
    training = load_config(TrainConfig, train_config)
    evaluation = load_config(EvaluateConfig, evaluate_config)
    is_rendered = storage.is_local(unseen) and storage.exists(storage.join(unseen, FILE_NAME))
    pairs, aligned, asked, before, after, report = (
        storage.join(out, name) for name in ("pairs", "aligned", "questions", "before", "after", "report")
    )
    console.rule("1. Pairs", align="left")
    generate(videos, pairs, generate_config, dry_run=dry_run)

    console.rule("2. Training on the pairs", align="left")
    if dry_run:
        console.print(dump_yaml(training), highlight=False, markup=False)
    else:
        train(pairs, aligned, train_config)

    console.rule("3. Questions about unseen videos", align="left")
    source = unseen if is_rendered else storage.join(out, "unseen")
    if not is_rendered:
        generate(unseen, source, generate_config, dry_run=dry_run)
    if not dry_run:
        questions(source, asked, prompt_template=evaluation.prompt_template)

    console.rule("4. Before and after", align="left")
    if dry_run:
        console.print(dump_yaml(evaluation), highlight=False, markup=False)
        return
    for model, folder in ((training.model, before), (storage.join(aligned, "model"), after)):
        evaluate(folder, model, asked, pairs, aligned, config=evaluate_config)

    console.rule("5. Is it better?", align="left")
    if storage.is_local(out):
        write_comparison(before, [after], Path(storage.local_path(report)), evaluation.decode)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(before, [after], Path(folder), evaluation.decode)
        filesystem, path = storage.resolve(report)
        pafs.copy_files(folder, path, destination_filesystem=filesystem)
    console.print(f"copied to {report}", highlight=False)


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
