"""Whole trainings without Ray: the same whatever the number of workers, broken off or not."""

import shutil
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from tests.dpo.trainings import Remembered, Stopped, fit_alone, make_config, make_rows
from videopasta.dpo.fit import fit
from videopasta.errors import UserError

WATCHED = ("loss", "nll", "reward_chosen", "reward_rejected", "grad_norm", "logp_chosen", "learning_rate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def rows(folder):
    return make_rows(folder / "videos", num_clips=10)


def run(rows, config, folder: Path, out: Path, *, size: int, **options):
    """A training with `size` workers in processes of their own; the steps that each saw."""
    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(fit_alone, (size, port, rows, config, folder, out, options), nprocs=size)
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(size)]


def assert_same_steps(one, other, *, atol: float) -> None:
    assert [step["step"] for step in one] == [step["step"] for step in other]
    for a, b in zip(one, other, strict=True):
        for name in WATCHED:
            if name in a:
                torch.testing.assert_close(a[name], b[name], atol=atol, rtol=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_two_workers_learn_what_one_learns(folder, rows, tmp_path, lora):
    """Every metric of every step, sharded over two workers with FSDP, is that of one worker alone."""
    config = make_config(folder, lora=lora)
    (alone,) = run(rows, config, folder, tmp_path / "one", size=1)
    first, second = run(rows, config, folder, tmp_path / "two", size=2)
    assert alone["plan"].num_steps == len(alone["steps"]) - 1 >= 3
    assert alone["steps"][-1]["loss"] < alone["steps"][1]["loss"]
    assert_same_steps(alone["steps"], first["steps"], atol=2e-5)
    assert_same_steps(first["steps"], second["steps"], atol=0.0)


@pytest.mark.parametrize("size", [1, 2])
def test_a_stopped_training_goes_on_to_the_same_losses(folder, rows, tmp_path, size):
    """Broken off behind a checkpoint of two workers and taken up by one or two: the steps of an unbroken run."""
    # The dropout's draw depends on the worker: with one it is left out.
    config = make_config(folder, lora=True, dropout=0.1 if size == 2 else 0.0, every_steps=2)
    (whole, _) = run(rows, config, folder, tmp_path / "whole", size=2)
    run(rows, config, folder, tmp_path / "stopped", size=2, stop_after=3)
    (rest, *_) = run(rows, config, folder, tmp_path / "rest", size=size, restored=tmp_path / "stopped/step-2")
    assert rest["plan"].first_step == 2
    assert_same_steps(whole["steps"][3:], rest["steps"], atol=0.0 if size == 2 else 2e-5)


def test_dropout_is_the_same_when_repeated(folder, rows, tmp_path):
    """A step draws its dropout from the seed and its number: two runs agree bit for bit, one without it differs."""
    trained = []
    for dropout in (0.3, 0.3, 0.0):
        reports = Remembered(tmp_path)
        fit(rows, make_config(folder, lora=True, dropout=dropout), str(folder), reports)
        trained.append([step["loss"] for step in reports.steps[1:]])
    assert trained[0] == trained[1]
    assert trained[0] != trained[2]


def test_a_loss_that_is_no_number_stops_the_training(folder, rows, tmp_path):
    """With the step and what to do."""
    with pytest.raises(UserError, match=r"step \d+: the loss is (nan|inf), .* with a lower optimizer\.lr than 1e\+20"):
        fit(rows, make_config(folder, lr=1e20, epochs=3), str(folder), Remembered(tmp_path))


def test_a_gradient_that_is_no_number_changes_no_weight(folder, rows, tmp_path, monkeypatch):
    """The loss may be fine and its gradient not: the step is refused before the optimizer sees it."""
    touched = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: touched.append(True))
    with pytest.raises(UserError, match=r"step 0: .* its gradient's length nan"):
        fit(rows, make_config(folder), str(folder), Remembered(tmp_path))
    assert not touched


def test_a_run_of_other_pairs_is_not_continued(folder, rows, tmp_path):
    """A video that has gone since the checkpoint would change every step that follows."""
    config = make_config(folder, every_steps=2)
    first = Remembered(tmp_path, stop_after=2)
    with pytest.raises(Stopped):
        fit(rows, config, str(folder), first)
    again = Remembered(tmp_path, restored=tmp_path / "step-2")
    with pytest.raises(UserError, match="not those of the checkpoint"):
        fit([row for row in rows if "/003" not in row["video_uri"]], config, str(folder), again)


def test_what_cannot_be_used_is_counted_and_the_rest_is_trained_on(folder, rows, tmp_path):
    """A video that is gone, another file under its name, and answers too long for the budget."""
    videos = shutil.copytree(folder / "videos", tmp_path / "videos")
    moved = [row | {"video_uri": str(videos / Path(row["video_uri"]).name)} for row in rows]
    (videos / "001.mp4").unlink()
    shutil.copy(videos / "002.mp4", videos / "003.mp4")
    moved[-1] |= {"chosen": "word " * 600}
    reports = Remembered(tmp_path)
    fit(moved, make_config(tmp_path), str(tmp_path), reports)
    assert reports.plan.skipped == {"video_missing": 6, "video_changed": 6, "answer_too_long": 1}
    assert sum(reports.plan.pairs.values()) + reports.plan.validation_pairs == len(rows) - 13


def test_reference_and_features_are_computed_once(folder, rows, tmp_path, monkeypatch):
    """A second training of the same pairs decodes nothing and runs the vision tower and the reference not at all."""
    reports = Remembered(tmp_path)
    fit(rows, make_config(folder), str(folder), reports)
    monkeypatch.setattr("videopasta.dpo.features.FrameReader.read", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr("videopasta.dpo.preparation.logps_of", lambda *_: pytest.fail("referred again"))
    again = Remembered(tmp_path)
    fit(rows, make_config(folder), str(folder), again)
    assert [step.get("loss") for step in again.steps] == [step.get("loss") for step in reports.steps]
