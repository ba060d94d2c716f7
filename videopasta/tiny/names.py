"""The models that need no download, by name.

    tiny:vl, tiny:judge                 they know the embedded world; in checkpoints/, of `videopasta tiny train`
    tiny:random-vl, tiny:random-judge   made on first use: they know nothing, which is enough for plumbing

`tiny:prompts` names the folder of templates that the shipped ones were taught.
"""

from pathlib import Path

from videopasta.errors import UserError
from videopasta.tiny import random_models

PREFIX = "tiny:"
PROMPTS = Path(__file__).parent / "prompts"
CHECKPOINTS = Path(__file__).parent / "checkpoints"
SHIPPED = ("vl", "judge")


def check_name(name: str) -> None:
    """Raises UserError when the model `name` (without `PREFIX`) is not to be had."""
    known = (*SHIPPED, *random_models.MAKERS)
    if name not in known:
        raise UserError(f"model '{PREFIX}{name}': there is none of that name; there are {', '.join(known)}")
    if name in SHIPPED and not (CHECKPOINTS / name).is_dir():
        raise UserError(
            f"model '{PREFIX}{name}': not in this copy of the package; `videopasta tiny train {name} OUT` makes it, "
            "then give OUT/model instead"
        )


def folder_of(name: str) -> Path:
    """The folder of the model `name`, made if it is one of the random ones and not there yet.

    Raises:
        UserError: there is no model of that name, or this copy of the package lacks the checkpoint.
    """
    check_name(name)
    return CHECKPOINTS / name if name in SHIPPED else random_models.ensure_model(name)
