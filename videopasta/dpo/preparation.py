"""Before the first step: every clip is looked at once, and every pair has its reference log-probs.

In: the pairs that were selected. Out: those whose video can be used, and the log-probs of all of them under the model
as it is before training. Each clip is the work of one worker; who has less to do waits for the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from videopasta.config import TrainConfig
from videopasta.dpo.data import Selection
from videopasta.dpo.examples import Clip, Tree, pack, trees
from videopasta.dpo.features import FeatureSource
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.reference import Logps, ReferenceStore
from videopasta.dpo.step import speak
from videopasta.dpo.team import Team
from videopasta.errors import UserError
from videopasta.video import VideoError

_PACKS_PER_PART = 64
"""Packs between two writes of log-probs: what a crash makes to be computed again."""


def prepare(
    selection: Selection,
    video: QwenVideo,
    team: Team,
    config: TrainConfig,
    *,
    features: FeatureSource,
    store: ReferenceStore,
) -> tuple[Selection, dict[str, Logps]]:
    """Compute what is not there yet.

    Returns:
        the selection less the clips whose video cannot be used, and log-probs by `Clip.content_of` a pair.

    Raises:
        UserError: no pair is left to train on.
    """
    clips = [*selection.train, *selection.validation]
    lost: dict[str, str] = {}
    for clip in clips[team.rank :: team.size]:
        if not features.has(clip):
            try:
                features.of(clip)
            except VideoError as error:
                lost[clip.key] = f"video_{error.reason}"
    selection = selection.without({key: reason for part in team.gather(lost) for key, reason in part.items()})
    if not selection.train:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(selection.skipped.items()))
        raise UserError(f"no pair is left to train on; left out: {reasons or 'none, the folder is empty'}")
    # One reads for all: another run may write meanwhile, and they must agree on what is missing.
    known = team.gather(store.read() if team.rank == 0 else {})[0]
    found = _references([*selection.train, *selection.validation], known, video, team, config, features, store)
    return selection, known | found


@torch.no_grad()
def _references(
    clips: Sequence[Clip],
    known: dict[str, Logps],
    video: QwenVideo,
    team: Team,
    config: TrainConfig,
    features: FeatureSource,
    store: ReferenceStore,
) -> dict[str, Logps]:
    """The log-probs that are not in `known`, of all workers."""
    video.language.eval()
    todo = [replace(c, pairs=tuple(pair for pair in c.pairs if c.content_of(pair) not in known)) for c in clips]
    todo = [clip for clip in todo if clip.pairs]
    if not todo:
        return {}
    grown = [tree for clip in todo[team.rank :: team.size] for tree in trees(clip, video, config.tokens_per_pack)]
    packs = pack(grown, config.tokens_per_pack)
    filler = trees(todo[0], video, config.tokens_per_pack)[:1]
    found: dict[str, Logps] = {}
    unwritten: dict[str, Logps] = {}
    for number in range(team.most(len(packs))):
        if number >= len(packs):
            logps_of(filler, video, _features_of(filler, features))
            continue
        unwritten |= logps_of(packs[number], video, _features_of(packs[number], features))
        if (number + 1) % _PACKS_PER_PART == 0 or number + 1 == len(packs):
            store.add(unwritten)
            found |= unwritten
            unwritten = {}
    return {content: logps for part in team.gather(found) for content, logps in part.items()}


def _features_of(made: Sequence[Tree], features: FeatureSource) -> dict[str, torch.Tensor]:
    return {tree.clip.key: features.of(tree.clip) for tree in made}


@torch.no_grad()
def logps_of(made: Sequence[Tree], video: QwenVideo, features: Mapping[str, torch.Tensor]) -> dict[str, Logps]:
    """Of all pairs of a pack under the model as it is, by `Clip.content_of`; `features` by the key of their clip."""
    spoken = speak(video, made, features)
    contents = [tree.clip.content_of(pair) for tree in made for pair in tree.pairs]
    sides = zip(contents, spoken.chosen.tolist(), spoken.rejected.tolist(), strict=True)
    return {content: Logps(chosen, rejected) for content, chosen, rejected in sides}
