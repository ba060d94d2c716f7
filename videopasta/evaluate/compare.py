"""Before against after. Pure.

In: an evaluation before, and one or several after (several: the same training with several seeds). Out: differences
with 95 % intervals, paired by question, over clips; of several, the mean over them, and how far they lie apart. Only
what was scored in all of them is compared; how much that is stands beside.
"""

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videopasta.errors import UserError
from videopasta.evaluate.lmms.profiles import headline, paper_of
from videopasta.evaluate.lmms.runner import Result
from videopasta.evaluate.run import Evaluation
from videopasta.evaluate.scores import Cell, Outcome, outcomes, problems
from videopasta.intervals import Difference, Share, difference, ratio, share

BETA = 0.1
"""DPO's beta, by which implicit rewards are scaled: the trainer's default. Accuracies do not depend on it."""
TOLERANCE = 0.01
"""A share that falls by more than this is called worse even where its interval reaches 0."""


def verdict(change: Share) -> str:
    """`better` or `worse` where the interval leaves 0 out; `worse?` where the share falls by more than `TOLERANCE`."""
    if not change.count:
        return ""
    if change.low > 0:
        return "better"
    if change.high < 0:
        return "worse"
    return "worse?" if change.value < -TOLERANCE else ""


@dataclass(frozen=True)
class Change:
    """One score before and after."""

    difference: Difference
    seeds: tuple[float, ...]
    """The change of each evaluation after."""

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the evaluations after; None of a single one."""
        return statistics.stdev(self.seeds) if len(self.seeds) > 1 else None

    @property
    def verdict(self) -> str:
        """See `verdict`."""
        return verdict(self.difference.change)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**self.difference.to_dict(), "seeds": list(self.seeds), "verdict": self.verdict}


@dataclass(frozen=True)
class Rewards:
    """DPO's implicit rewards on held-out pairs, with the model before as the reference."""

    accuracy: Share
    """How often the chosen answer has the higher reward. Before training all rewards are 0: none is higher."""
    margin: Share
    """Reward of the chosen answer less that of the rejected one."""


@dataclass(frozen=True)
class BenchmarkChange:
    """One benchmark before and after."""

    task: str
    metric: str
    before: float | None
    """The paper's benchmarks in percent, others as lmms-eval has them; None where there is a problem."""
    after: float | None
    """Mean over the evaluations after."""
    change: Share | None
    """Of the mean over single questions, as a share, paired; None where lmms-eval's samples tell no score each. A
    benchmark that averages over categories has another change, `after` less `before`."""
    paper: tuple[float, float] | None
    """Qwen2.5-VL-7B and VideoPASTA in the paper's Table 1, percent."""
    problem: str | None
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """See `verdict`; without single scores, by the change alone."""
        if self.before is None or self.after is None:
            return ""
        if self.change is not None:
            return verdict(self.change)
        return "worse?" if self.after < self.before else ""


@dataclass(frozen=True)
class Changed:
    """A question whose outcome changed."""

    question_id: str
    way: str
    better: bool


@dataclass(frozen=True)
class Comparison:
    """All that changed."""

    base: str
    tuned: tuple[str, ...]
    """Models."""
    num_questions: int
    num_compared: int
    """Questions scored in some way in all evaluations."""
    changes: dict[Cell, Change]
    rewards: dict[str, Rewards]
    """By `all`, failure mode, and "mode/adversary"."""
    benchmarks: tuple[BenchmarkChange, ...]
    changed: tuple[Changed, ...]
    """Of the first evaluation after."""
    problems: dict[str, dict[str, int]] = field(default_factory=dict)
    """By evaluation: reasons and questions."""

    def regressions(self) -> list[Cell]:
        """Questions that are answered worse."""
        return [cell for cell, change in self.changes.items() if change.verdict.startswith("worse")]

    def worse_benchmarks(self) -> list[BenchmarkChange]:
        """Benchmarks that got worse."""
        return [one for one in self.benchmarks if one.verdict.startswith("worse")]


def compare(base: Evaluation, tuned: Sequence[Evaluation]) -> Comparison:
    """Compare evaluations of the same questions, pairs and benchmarks.

    Raises:
        UserError: they have nothing in common, or were asked in different ways.
    """
    for after in tuned:
        _check(base, after)
    before = _by_question(outcomes(base.answers))
    afters = [_by_question(outcomes(one.answers)) for one in tuned]
    changes: dict[Cell, Change] = {}
    compared: set[str] = set()
    for cell in sorted(before):
        common = set(before[cell]).intersection(*(after.get(cell, {}) for after in afters))
        if common:
            changes[cell] = _change(before[cell], [after[cell] for after in afters], common)
            compared |= common
    made = Comparison(
        base.model,
        tuple(one.model for one in tuned),
        base.num_questions,
        len(compared),
        changes,
        _rewards(base, tuned),
        _benchmarks(base, tuned),
        _changed(before, afters[0]),
        {one.uri: _problems(one) for one in (base, *tuned)},
    )
    if not (made.changes or made.rewards or made.benchmarks):
        raise UserError(
            f"{base.uri} and {', '.join(one.uri for one in tuned)} have nothing in common that was scored; evaluate "
            "both models on the same questions, pairs or benchmarks"
        )
    return made


def _check(base: Evaluation, after: Evaluation) -> None:
    """Equal questions, asked in the same way: else the models would not be what differs."""
    for name in ("questions", "pairs"):
        if base.fingerprint[name] != after.fingerprint[name]:
            raise UserError(
                f"{after.uri}: its {name} are not those of {base.uri}; evaluate both models on the same ones"
            )
    ours, theirs = (dict(_asked(one.fingerprint["config"])) for one in (base, after))
    differing = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    if differing:
        raise UserError(
            f"{after.uri}: asked in another way than {base.uri} ({', '.join(differing)} differ); evaluate both models "
            "with the same configuration"
        )


def _asked(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their path, but for the model's name; how benchmarks were run stands in each of their results."""
    for name, value in config.items():
        path = f"{prefix}{name}"
        if path in ("model.model", "model.revision", "benchmarks"):
            continue
        if isinstance(value, Mapping):
            yield from _asked(value, f"{path}.")
        else:
            yield path, value


def _by_question(found: Mapping[Cell, list[Outcome]]) -> dict[Cell, dict[str, Outcome]]:
    return {cell: {one.question_id: one for one in some} for cell, some in found.items()}


def _change(before: Mapping[str, Outcome], afters: Sequence[Mapping[str, Outcome]], common: set[str]) -> Change:
    rows = [
        (before[name].clip, float(before[name].right), statistics.fmean(after[name].right for after in afters))
        for name in sorted(common)
    ]
    started = statistics.fmean(row[1] for row in rows)
    seeds = tuple(statistics.fmean(after[name].right for name in common) - started for after in afters)
    return Change(difference(rows), seeds)


def _rewards(base: Evaluation, tuned: Sequence[Evaluation]) -> dict[str, Rewards]:
    reference = {(row["pair_id"], row["content"]): row for row in base.preference if not row["problem"]}
    groups: dict[str, list[tuple[str, float]]] = {}
    for after in tuned:
        for row in after.preference:
            known = reference.get((row["pair_id"], row["content"]))
            if known is None or row["problem"]:
                continue
            chosen, rejected = (row[f"logp_{side}"] - known[f"logp_{side}"] for side in ("chosen", "rejected"))
            margin = (row["video_sha256"], BETA * (chosen - rejected))
            for name in ("all", row["failure_mode"], f"{row['failure_mode']}/{row['adversary']}"):
                groups.setdefault(name, []).append(margin)
    return {
        name: Rewards(share((clip, margin > 0) for clip, margin in found), ratio((c, m, 1.0) for c, m in found))
        for name, found in sorted(groups.items(), key=lambda item: (item[0] != "all", item[0]))
    }


def _benchmarks(base: Evaluation, tuned: Sequence[Evaluation]) -> tuple[BenchmarkChange, ...]:
    tasks = dict.fromkeys([*base.benchmarks, *(name for one in tuned for name in one.benchmarks)])
    return tuple(_benchmark(task, (base, *tuned)) for task in tasks)


def _benchmark(task: str, evaluations: Sequence[Evaluation]) -> BenchmarkChange:
    paper = paper_of(task)
    values = (paper.base, paper.aligned) if paper else None
    results = {one.uri: one.benchmarks.get(task) for one in evaluations}
    known = [result for result in results.values() if result is not None]
    faults = [f"{uri}: not run" for uri, result in results.items() if result is None]
    faults += [f"{uri}: {result.problem}" for uri, result in results.items() if result and result.problem]
    if len({_how(result) for result in known}) > 1:
        faults.append("run in different ways (profile, limit or model arguments); not comparable")
    headlines = [headline(task, result.metrics) for result in known]
    if not faults and (None in headlines or len({found[0] for found in headlines if found}) > 1):
        faults.append("the results have no metric in common")
    if faults:
        return BenchmarkChange(task, "", None, None, None, values, "; ".join(faults))
    (name, before), *afters = [found for found in headlines if found is not None]
    first, *rest = known
    common = set(first.samples).intersection(*(result.samples for result in rest))
    rows = [(s, first.samples[s], statistics.fmean(r.samples[s] for r in rest)) for s in sorted(common)]
    return BenchmarkChange(
        task, name, before, statistics.fmean(value for _, value in afters),
        difference(rows).change if rows else None, values, None,
        tuple(dict.fromkeys(text for result in known for text in result.warnings)),
    )  # fmt: skip


def _how(result: Result) -> str:
    """All that makes a score but the model, and on how many GPUs it ran."""
    asked = dict(result.asked_for)
    asked["model_args"] = {
        name: value
        for name, value in asked.get("model_args", {}).items()
        if name not in ("model", "tensor_parallel_size")
    }
    return json.dumps(asked, sort_keys=True)


def _changed(
    before: Mapping[Cell, Mapping[str, Outcome]], after: Mapping[Cell, Mapping[str, Outcome]]
) -> tuple[Changed, ...]:
    """One of each group, failure mode and direction in turn, open answers first: they are read, letters are not."""
    queues: list[list[Changed]] = []
    for way in ("open", "choice"):
        for better in (True, False):
            for cell in sorted(before):
                if cell.way != way or cell.group not in ("answerable", "false_premise", "none_of_the_above"):
                    continue
                if "/" in cell.mode or cell.mode == "all":
                    continue
                ends = after.get(cell, {})
                queue = [
                    Changed(name, way, better)
                    for name, one in sorted(before[cell].items())
                    if name in ends and one.right is not ends[name].right and ends[name].right is better
                ]
                if queue:
                    queues.append(queue)
    picked: list[Changed] = []
    while queues:
        picked += [queue.pop(0) for queue in queues]
        queues = [queue for queue in queues if queue]
    return tuple(picked)


def _problems(one: Evaluation) -> dict[str, int]:
    counts = problems(one.answers)
    counts.update(f"pair: {row['problem']}" for row in one.preference if row["problem"])
    if not one.finished:
        counts["unfinished: its last run was broken off; run the same command again"] = max(
            1, one.num_questions - len(one.answers)
        )
    return dict(counts)


def points(share_: Share) -> str:
    """A change in points, for people."""
    if not share_.count:
        return "-"
    return f"{100 * share_.value:+.1f} [{100 * share_.low:+.1f}, {100 * share_.high:+.1f}]"


def percent(value: float | None) -> str:
    """For people."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"
