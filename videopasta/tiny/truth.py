"""The truth beside the videos: which scene each rendered file shows, by the file's content.

`truth.jsonl` in a folder of clips holds one line a clip: the SHA-256 of the file and the scene. The pipeline never
reads it; the audit does.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from videopasta.errors import UserError
from videopasta.tiny.render import write_video
from videopasta.tiny.world import Scene

FILE_NAME = "truth.jsonl"
_SCENE = TypeAdapter(Scene)


def write_clips(scenes: Iterable[Scene], folder: Path) -> None:
    """Each scene as `folder`/clip_NNN.mp4, and the truth about all of them.

    Raises:
        UserError: `folder` holds other clips, whose truth would be lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, scene in enumerate(scenes):
        path = folder / f"clip_{number:03d}.mp4"
        write_video(scene, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(json.dumps({"file": path.name, "sha256": digest, "scene": _SCENE.dump_python(scene)}))
    others = {path.name for path in folder.glob("clip_*.mp4")} - {f"clip_{i:03d}.mp4" for i in range(len(lines))}
    if others:
        raise UserError(f"{folder}: holds {len(others)} more clips, such as {min(others)}; give an empty folder")
    (folder / FILE_NAME).write_text("\n".join(lines) + "\n")


def read_truth(path: Path) -> Mapping[str, Scene]:
    """Scene by SHA-256 of the video.

    Args:
        path: a `truth.jsonl`, or the folder it lies in.

    Raises:
        UserError: there is none, or a line of it cannot be read.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file}: no such file. The truth is known of rendered clips only; `videopasta tiny clips FOLDER` "
            f"writes them with their {FILE_NAME}"
        )
    scenes = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        try:
            value = json.loads(line)
            scenes[value["sha256"]] = _SCENE.validate_python(value["scene"])
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise UserError(f"{file}, line {number}: {error}; write the clips anew") from error
    return scenes
