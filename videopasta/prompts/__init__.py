"""Every word that a model is told: query generation, responses, adversaries, the judge.

In: the shipped templates (`templates/`), and a folder of the user's whose files replace those of the same
name. Out: a frozen `PromptSet` that renders prompts, and a hash per file that goes into each row. Loading
checks every template by rendering it once, so that a mistake shows before any model loads. Pure but for
reading files.

Every prompt about a video starts with the same words (`preamble.j2`). Prefix caches hold whole blocks of 16
or 32 tokens: the shared words fill the block in which the video ends, so all of the video is cached, even a
short one.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.errors import UserError
from videopasta.tiny.names import PREFIX, PROMPTS

SHIPPED = Path(__file__).parent / "templates"


class Adversary(BaseModel):
    """One way to mislead: an operator on the aligned query."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    instruction: str
    """What the rewritten query must take for granted."""
    example: str
    """One rewriting, for the model to imitate."""


class ModePrompts(BaseModel):
    """What is particular to one failure mode: `spatial.yaml`, `temporal.yaml`, `cross_frame.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    about: str
    """What its queries ask about."""
    examples: tuple[str, ...]
    """Queries for the writer to imitate."""
    failure: str
    """How an answer fails in this mode: what the judge looks for."""
    adversaries: dict[str, Adversary] = Field(min_length=1)
    """Its operators by name."""


@dataclass(frozen=True)
class PromptSet:
    """All templates of a run, and their hashes."""

    modes: dict[FailureMode, ModePrompts]
    hashes: dict[str, str]
    """File name to the first 12 hex digits of its SHA-256: the version of each template."""
    sources: dict[str, str] = field(repr=False)
    """Text of each `.j2` file by name. Text, not compiled, so that the set travels to the actors as it is."""

    def query(self, mode: FailureMode, *, count: int, taken: Sequence[str] = ()) -> str:
        """Asks for `count` queries of `mode`, none of them in `taken`."""
        prompts = self.modes[mode]
        return self._about_video("query.j2", about=prompts.about, examples=prompts.examples, count=count, taken=taken)

    def preferred(self, query: str, *, min_words: int, max_words: int) -> str:
        """Asks for the good answer."""
        return self._about_video("preferred.j2", query=query, min_words=min_words, max_words=max_words)

    def rewrite(self, mode: FailureMode, adversary: str, *, query: str, preferred: str) -> str:
        """Asks for the adversarial query that `adversary` makes of `query`."""
        operator = self.modes[mode].adversaries[adversary]
        return self._render(
            "rewrite.j2",
            query=query,
            preferred=preferred,
            instruction=operator.instruction,
            example=operator.example,
        )

    def adversarial(self, query: str, *, words: int) -> str:
        """Asks for the misled answer, about as long as the preferred one."""
        return self._about_video("adversarial.j2", query=query, words=words)

    def describe(self) -> str:
        """Asks for a description of the clip, for the judge."""
        return self._about_video("describe.j2")

    def judge(
        self,
        mode: FailureMode,
        *,
        query: str,
        preferred: str,
        adversarial: str,
        description: str | None = None,
    ) -> str:
        """Asks for one vote."""
        prompts = self.modes[mode]
        return self._render(
            "judge.j2",
            about=prompts.about,
            failure=prompts.failure,
            query=query,
            preferred=preferred,
            adversarial=adversarial,
            description=description,
        )

    def _about_video(self, name: str, **values: object) -> str:
        return f"{self._render('preamble.j2')}\n{self._render(name, **values)}"

    def _render(self, name: str, **values: object) -> str:
        return _compile(self.sources[name]).render(values).strip()


@functools.cache
def _compile(source: str) -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(source)


def load_prompts(folder: str | None = None) -> PromptSet:
    """Read the shipped templates, those in `folder` instead where it has a file of the same name.

    `tiny:prompts` is the folder of those that the embedded world's models were taught.

    Raises:
        UserError: the folder or a file in it has a mistake; says which, and what is allowed.
    """
    files = {path.name: path for path in sorted(SHIPPED.iterdir())}
    if folder is not None:
        own = PROMPTS if folder == f"{PREFIX}prompts" else Path(folder).expanduser()
        files |= _overrides(own, set(files))
    modes: dict[FailureMode, ModePrompts] = {}
    sources: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for name, path in files.items():
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".j2":
                _compile(text)
                sources[name] = text
            else:
                modes[_mode(path.stem)] = ModePrompts.model_validate(yaml.safe_load(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"prompts: {path}: {where}: {first['msg']}; see {SHIPPED / name}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError, jinja2.TemplateSyntaxError) as error:
            raise UserError(f"prompts: {path}: {error}") from error
        hashes[name] = hashlib.sha256(text.encode()).hexdigest()[:12]
    prompts = PromptSet(modes=modes, hashes=hashes, sources=sources)
    _render_each_once(prompts, files)
    return prompts


def _overrides(folder: Path, known: set[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"prompts: {folder} is no folder; give one whose files replace those of {SHIPPED}")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in {".j2", ".yaml"}}
    unknown = sorted(found.keys() - known)
    if unknown or not found:
        what = f"{', '.join(unknown)} would replace nothing" if unknown else "it has no template"
        raise UserError(f"prompts: {folder}: {what}; templates are called {', '.join(sorted(known))}")
    return found


def _mode(stem: str) -> FailureMode:
    return next(mode for mode in FAILURE_MODES if mode == stem)


def _render_each_once(prompts: PromptSet, files: dict[str, Path]) -> None:
    mode = FAILURE_MODES[0]
    adversary = next(iter(prompts.modes[mode].adversaries))
    renders = {
        "preamble.j2": lambda: prompts._render("preamble.j2"),
        "query.j2": lambda: prompts.query(mode, count=1, taken=["q"]),
        "preferred.j2": lambda: prompts.preferred("q", min_words=1, max_words=2),
        "rewrite.j2": lambda: prompts.rewrite(mode, adversary, query="q", preferred="p"),
        "adversarial.j2": lambda: prompts.adversarial("q", words=1),
        "describe.j2": prompts.describe,
        "judge.j2": lambda: prompts.judge(mode, query="q", preferred="p", adversarial="a", description="d"),
    }
    for name, render in renders.items():
        try:
            render()
        except Exception as error:  # a template is the user's program: whatever it raises is theirs to mend
            raise UserError(f"prompts: {files[name]}: {error}; see {SHIPPED / name} for what it may use") from error
