"""The command itself, as a user runs it: real Ray Train, real checkpoints, killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.dpo.trainings import (
    DECODE,
    kill_with_all_below,
    make_config,
    make_rows,
    start_training,
    workers_of,
    write_rows,
)
from videopasta.config import dump_yaml
from videopasta.config.train import WorkersConfig
from videopasta.dpo.fit import BEST
from videopasta.dpo.run import _best, _resources
from videopasta.dpo.trackers import read_metrics

WATCHED = ("loss", "nll", "reward_chosen", "reward_rejected", "grad_norm", "validation/reward_accuracy")
NUM_STEPS = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pairs, and a configuration for two workers."""
    folder = tmp_path_factory.mktemp("run")
    rows = make_rows(folder / "videos", num_clips=10)
    write_rows(rows, folder / "pairs/part-0.parquet")
    workers = WorkersConfig(min_num=2, max_num=2, num_cpus=0.5)
    config = make_config(folder, lora=True, epochs=20, every_steps=10, workers=workers)
    (folder / "train.yaml").write_text(dump_yaml(config))
    return folder


@pytest.fixture(scope="module")
def train(ray_folder, folder):
    """Starts `videopasta train ...` with a Ray of its own."""
    return lambda out, *overrides: start_training(folder, out.name, ray_folder, *overrides)


@pytest.fixture(scope="module")
def unbroken(train, folder):
    """A run to its end."""
    out = folder / "unbroken"
    process = train(out)
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    return out


def wait_for_checkpoint(out: Path, name: str, process: subprocess.Popen) -> None:
    """Until Ray Train has recorded it; the process must not end before."""
    deadline, record = time.monotonic() + 300, out / "checkpoints/checkpoint_manager_snapshot.json"
    while not (record.exists() and name in record.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_same_run(one: Path, other: Path) -> None:
    """Every step once, with the same numbers."""
    rows, others = read_metrics(str(one)), read_metrics(str(other))
    assert [row["step"] for row in rows] == [row["step"] for row in others] == [float(n) for n in range(NUM_STEPS + 1)]
    for a, b in zip(rows, others, strict=True):
        assert a.keys() == b.keys()
        for name in set(WATCHED) & a.keys():
            assert a[name] == pytest.approx(b[name], rel=1e-6), (a["step"], name)


def test_workers_reserve_what_they_are_given():
    """By Ray's names; what pins them to a node group beside the rest."""
    assert _resources(WorkersConfig(num_cpus=2)) == {"CPU": 2.0}
    pinned = WorkersConfig(num_cpus=8, num_gpus=1, resources={"train": 1})
    assert _resources(pinned) == {"CPU": 8.0, "GPU": 1.0, "train": 1.0}


def test_a_pinned_training_on_one_machine_is_told(train, folder):
    """Ray would wait for a node that never comes."""
    process = train(folder / "pinned", "workers.resources={train: 1}")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2, output
    assert "workers want 2 of the custom resource 'train', which only a cluster has" in output.replace("\n", " ")


def test_a_run_leaves_a_model_its_curves_and_its_numbers(unbroken):
    """The best checkpoint as a model with card and processor, a row a step, a picture."""
    assert len(read_metrics(str(unbroken))) == NUM_STEPS + 1
    assert {"config.json", "model.safetensors", "README.md", "chat_template.jinja"} <= {
        path.name for path in (unbroken / "model").iterdir()
    }
    card = (unbroken / "model/README.md").read_text()
    assert "| reward_accuracy |" in card
    assert (unbroken / "curves.png").stat().st_size > 10_000
    assert read_metrics(str(unbroken))[-1]["validation/reward_accuracy"] >= 0.8


@pytest.mark.parametrize(
    ("accuracies", "exported"), [((0.5, 0.92, 0.91), 3), ((0.5, 0.92, 0.80), 2), ((0.9, 0.7, 0.6), 1)]
)
def test_of_checkpoints_that_differ_by_chance_the_last_is_exported(accuracies, exported):
    """Within a standard error of the best, later is better; a real fall is not passed over."""
    kept = [(f"step {n}", {BEST: value, "step": float(n)}) for n, value in enumerate(accuracies, start=1)]
    assert _best(SimpleNamespace(best_checkpoints=kept), 200)[0] == f"step {exported}"


def test_a_finished_run_is_left_as_it_is(train, unbroken):
    """The same command once more writes nothing, and says where the model is."""

    def files() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file() and path.name != ".lock"
        }

    before, process = files(), train(unbroken)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "the model after step" in output
    assert files() == before


def test_the_exported_model_says_the_same_everywhere(unbroken, folder):
    """VLLM and transformers load it, and answer alike; the answer is streamed in parts that make the whole."""
    from videopasta.config import SamplingConfig, VllmModel
    from videopasta.infer import answer, look

    seen = look(str(folder / "videos/000.mp4"), 8, DECODE)
    model = VllmModel(model=str(unbroken / "model"), dtype="float32", max_model_len=1024, enforce_eager=True)
    sampling = SamplingConfig(temperature=0.0, max_tokens=30)
    prompt = "Watch the video.\nWhat is the first thing that happens?"
    said = {name: list(answer(model, seen, prompt, sampling, name)) for name in ("vllm", "transformers")}
    assert len(said["vllm"]) > 3
    assert "".join(said["vllm"]).strip() == "".join(said["transformers"]).strip() != ""


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_a_killed_run_goes_on_to_the_same_numbers(train, folder, unbroken, victim):
    """SIGKILL of a worker in mid-run, or of the driver and the same command again: the unbroken run's steps."""
    out = folder / f"killed-{victim}"
    process = train(out)
    wait_for_checkpoint(out, "step-000020", process)
    if victim == "worker":
        os.kill(workers_of(process)[0].pid, signal.SIGKILL)
    else:
        kill_with_all_below(process)
        assert not (out / "model").exists()
        process = train(out)
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    assert "from step" in output
    assert_same_run(out, unbroken)
    weights = [(run / "model/model.safetensors").read_bytes() for run in (out, unbroken)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_the_reference_trainer_leaves_the_same(train, folder):
    """TRL's own DPOTrainer on two workers, its checkpoint exported as a model."""
    out = folder / "trl"
    process = train(out, "trainer=trl", "trl_pairs_per_pass=6", "epochs=2")
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    rows = read_metrics(str(out))
    assert [row["step"] for row in rows] == list(range(9))
    assert rows[-1]["validation/reward_accuracy"] > rows[0]["validation/reward_accuracy"]
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in (out / "model").iterdir()}


def test_a_model_is_asked_from_the_command_line(unbroken, folder):
    """The answer is printed; a video that is none, and a model that sees none, are told."""
    command = [sys.executable, "-m", "videopasta.cli", "infer", "--model", "unbroken/model", "--max-pixels", "7056"]
    command += ["--prompt", "Watch the video.\nWhat is the first thing that happens?", "--dtype", "float32"]

    def ask(*others: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *others], cwd=folder, capture_output=True, text=True, check=False)

    assert "The first thing that happens is that" in ask("--video", "videos/000.mp4").stdout
    assert "--video none.mp4: missing" in ask("--video", "none.mp4").stderr
    blind = ask("--video", "videos/000.mp4", "--model", "tiny:judge")
    assert (blind.returncode, "give a Qwen2.5-VL" in blind.stderr) == (2, True)


def test_another_configuration_is_refused(train, unbroken):
    """With the difference, before anything starts."""
    process = train(unbroken, "loss.beta=0.2")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "config.loss.beta: 0.1 -> 0.2" in output


def test_an_error_in_a_worker_is_told_to_the_user(train, folder):
    """Without a traceback and at once: what, and what to do."""
    process = train(folder / "nan", "optimizer.lr=1e30")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2, output
    assert "the loss is" in output
    assert "lower optimizer.lr" in output
    assert "Traceback" not in output
