"""Where questions come from: the candidates of a generate run, or rendered clips with their truth."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from videopasta import storage
from videopasta.errors import UserError
from videopasta.evaluate.questions import CANDIDATE_COLUMNS, Question, from_candidates


def questions_from(source: str, *, per_mode: int, seed: int) -> list[Question]:
    """Questions about the clips of `source`.

    Args:
        source: the --out of a generate run, or a local folder of rendered clips with its truth.jsonl.
        per_mode: queries of each failure mode and clip.
        seed: of what is drawn, of rendered clips.

    Raises:
        UserError: it is neither, or gives no question.
    """
    from videopasta.pairs import PairStore
    from videopasta.tiny.truth import FILE_NAME

    if storage.is_local(source) and (Path(storage.local_path(source)) / FILE_NAME).is_file():
        return _of_rendered(Path(storage.local_path(source)), per_mode, seed)
    store = PairStore(source)
    if store.read_run() is None:
        raise UserError(
            f"{source}: neither the --out of `videopasta generate` (no run.json) nor rendered clips (no {FILE_NAME}); "
            "check the path"
        )
    made = from_candidates(store.read("candidates", CANDIDATE_COLUMNS).to_pylist(), per_mode=per_mode)
    if not made:
        raise UserError(f"{source}: none of its candidates was accepted, so there is nothing to ask")
    return made


def _of_rendered(folder: Path, per_mode: int, seed: int) -> list[Question]:
    from videopasta.tiny.questionnaire import from_scenes
    from videopasta.tiny.truth import read_truth

    truth = read_truth(folder)
    clips = []
    for path in sorted(folder.glob("*.mp4")):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 not in truth:
            raise UserError(f"{path}: its truth is not in {folder}; render the clips anew (`videopasta tiny clips`)")
        clips.append((storage.local_uri(str(path)), sha256, truth[sha256]))
    if not clips:
        raise UserError(f"{folder}: no clips; render some by `videopasta tiny clips {folder}`")
    return from_scenes(clips, per_mode=per_mode, seed=seed)


def for_lmms(questions: Sequence[Question]) -> list[Question]:
    """Those that can be a task of lmms-eval, which opens whole local files and reads letters."""
    return [one for one in questions if one.options and storage.is_local(one.video_uri) and one.start_s is None]
