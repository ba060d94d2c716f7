"""From a YAML file and `key=value` overrides to a valid configuration, and from that to its fingerprint."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from videopasta.config.models import HIDDEN
from videopasta.errors import UserError

Config = TypeVar("Config", bound=BaseModel)


def load_config(model: type[Config], path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read `path` (nothing: the defaults), validate, apply `overrides` ("a.b=value"), validate.

    What the file leaves out of a section is that section's default in `model`, not its class's default:
    `judge: {sampling: {max_tokens: 64}}` stays greedy. A model or a plan of another kind starts afresh. The
    values of overrides are YAML.

    Raises:
        UserError: the file, the key, the value and the fix, for every mistake found at once.
    """
    source = str(path) if path is not None else "the defaults"
    data: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--config {path}: {error}. Give the path of a YAML file; configs/ has some") from error
        except yaml.YAMLError as error:
            raise UserError(f"--config {path} is not YAML: {error}") from error
        if not isinstance(loaded, dict | None):
            raise UserError(f"--config {path}: expected `key: value` lines, found {type(loaded).__name__}")
        data = loaded or {}
    config = _validate(model, _over_defaults(model, data), source)
    if not overrides:
        return config
    data = config.model_dump(mode="json")
    for override in sorted(overrides, key=_names_tag, reverse=True):  # the kind first, then its keys
        _apply_override(data, override)
    return _validate(model, data, f"{source} with --set")


def _validate(model: type[Config], data: dict[str, Any], source: str) -> Config:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error, source, model)) from None


# Keys that choose between models with different keys.
_TAG_KEYS = ("engine", "kind")


def _over_defaults(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    defaults = {name: field.default for name, field in model.model_fields.items()}
    return {name: _over_default(defaults.get(name), value) for name, value in given.items()}


def _over_default(default: Any, given: Any) -> Any:
    if not (isinstance(default, BaseModel) and isinstance(given, dict)):
        return given
    values = {name: getattr(default, name) for name in type(default).model_fields}
    # What is set for one model fits that one alone, and another kind of plan has other keys.
    if "engine" in values or given.get("kind") not in (None, values.get("kind")):
        return given
    return values | {name: _over_default(values.get(name), value) for name, value in given.items()}


def _names_tag(override: str) -> bool:
    return override.partition("=")[0].rpartition(".")[2] in _TAG_KEYS


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: write it as key=value, for example --set queries.per_mode=4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}; quote it: --set '{key}=\"...\"'") from error
    *parents, leaf = key.split(".")
    node: Any = data
    for position, name in enumerate([*parents, ""]):
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
            continue
        if isinstance(node, list) and len(node) == 1:
            node = node[0]  # a lone judge is a list of one
        if not isinstance(node, dict):
            found = f"is a list of {len(node)}" if isinstance(node, list) else f"is {node!r}"
            above = ".".join(parents[:position])
            fix = f"name one of them, {above}.0, or set {above} whole" if isinstance(node, list) else f"set {above}"
            raise UserError(f"--set {override}: {above} {found}, it has no keys below it; {fix}")
        if position < len(parents):
            node = node.setdefault(name, {})
    if leaf in _TAG_KEYS and node.get(leaf, value) != value:
        # Another kind has other keys: they start from its defaults. `model` is what both engines need.
        for other in node.keys() - {"model"}:
            del node[other]
    node[leaf] = value


def _explain(error: ValidationError, source: str, model: type[BaseModel]) -> str:
    lines = [f"The configuration ({source}) has {error.error_count()} mistake(s):"]
    for item in error.errors(include_url=False):
        hidden = isinstance(item["input"], dict | BaseModel) or item["type"] == HIDDEN
        value = "" if hidden else f" = {item['input']!r}"
        if item["type"] == "extra_forbidden":
            *parents, unknown = item["loc"]
            keys, models = _locate(model, parents)
            keys.append(str(unknown))
            value, message = "", _no_such_key(model, models, str(unknown))
        else:
            keys, models = _locate(model, item["loc"])
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "union_tag_invalid":
                keys.append(item["ctx"]["discriminator"].strip("_()"))
                value = f" = {item['ctx']['tag']!r}"
                message = f"choose one of {item['ctx']['expected_tags']}"
            elif item["type"] == "model_type":
                message = f"expected keys below it: {', '.join(_fields(models))}"
        lines.append(f"  {'.'.join(keys) or 'top level'}{value}: {message}")
    return "\n".join(lines)


def _no_such_key(model: type[BaseModel], holders: set[type[BaseModel]], unknown: str) -> str:
    """What to write instead: a key that stands beside it, or the place where that key stands."""
    beside = _fields(holders)
    tags = [f"{key}: {one.model_fields[key].default}" for one in holders for key in _TAG_KEYS if key in beside]
    elsewhere = {} if tags else _paths(model)
    near = elsewhere.get(unknown) or _nearest(unknown, beside) or elsewhere.get(_nearest(unknown, elsewhere) or "")
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(beside)}"
    return f"no such key{' with ' + tags[0] if tags else ''}; {hint}"


def _fields(models: Iterable[type[BaseModel]]) -> list[str]:
    return sorted({name for model in models for name in model.model_fields})


def _locate(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], set[type[BaseModel]]]:
    """`location` as keys of the file, and the models it leads to. Pydantic puts tags of unions in between."""
    keys: list[str] = []
    models = {model}
    for part in location:
        if len(models) > 1 and isinstance(part, str):  # a tag
            models = {
                one
                for one in models
                if any(one.model_fields[key].default == part for key in _TAG_KEYS if key in one.model_fields)
            }
            continue
        keys.append(str(part))
        if isinstance(part, str):
            fields = [one.model_fields[part] for one in models if part in one.model_fields]
            models = set().union(*(_models_in(field.annotation) for field in fields))
    return keys, models


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_models_in, get_args(annotation)))


def _paths(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every key by name, with the first place where it stands."""
    paths = {name: prefix + name for name in model.model_fields}
    for name, field in model.model_fields.items():
        for below in sorted(_models_in(field.annotation), key=lambda one: one.__name__):
            paths = _paths(below, f"{prefix}{name}.") | paths
    return paths


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def dump_yaml(config: BaseModel) -> str:
    """The whole configuration, defaults included, as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def fingerprint(config: BaseModel) -> dict[str, Any]:
    """What of the configuration can change the output: all of it but the fields marked operational."""
    result: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("operational"):
            continue
        result[name] = _plain(getattr(config, name))
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return fingerprint(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """One line per key whose value differs: `a.b: old -> new`."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}: {before!r} -> {after!r}"
