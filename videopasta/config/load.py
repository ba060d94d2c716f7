"""From a YAML file and `key=value` overrides to a validated configuration, and from that to its fingerprint."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from videopasta.errors import UserError

Config = TypeVar("Config", bound=BaseModel)


def load_config(model: type[Config], path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read `path` (nothing: the defaults), validate, apply `overrides` ("a.b=value", the value in YAML), validate.

    Raises:
        UserError: the file, the key, the value and the fix, for every mistake found at once.
    """
    source = str(path) if path is not None else "the defaults"
    data: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"--config {path}: {error}. Give the path of a YAML file; configs/ has some"
            ) from error
        except yaml.YAMLError as error:
            raise UserError(f"--config {path} is not YAML: {error}") from error
        if not isinstance(loaded, dict | None):
            raise UserError(f"--config {path}: expected `key: value` lines, found {type(loaded).__name__}")
        data = loaded or {}
    config = _validate(model, data, source)
    if not overrides:
        return config
    data = config.model_dump(mode="json")
    for override in overrides:
        _apply_override(data, override)
    return _validate(model, data, f"{source} with --set")


def _validate(model: type[Config], data: dict[str, Any], source: str) -> Config:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error, source, model)) from None


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: write it as key=value, for example --set queries.per_mode=4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}") from error
    *parents, leaf = key.split(".")
    node = data
    for name in parents:
        child = node.setdefault(name, {})
        if isinstance(child, list) and len(child) == 1:
            child = child[0]  # a lone judge is a list of one
        if not isinstance(child, dict):
            raise UserError(f"--set {override}: {name!r} is {child!r}, it has no keys below it")
        node = child
    node[leaf] = value


def _explain(error: ValidationError, source: str, model: type[BaseModel]) -> str:
    lines = [f"The configuration ({source}) has {error.error_count()} mistake(s):"]
    for item in error.errors(include_url=False):
        # Members of a union appear in the location under their tag ("vllm"), which is no key of the file.
        keys = [str(part) for part in item["loc"] if part not in _UNION_TAGS]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(keys[-1], _all_keys(model), n=1)
            message = "no such key" + (f"; did you mean {close[0]!r}?" if close else "")
            value = ""
        else:
            value = "" if isinstance(item["input"], dict | BaseModel) else f" = {item['input']!r}"
        lines.append(f"  {'.'.join(keys) or 'top level'}{value}: {message}")
    return "\n".join(lines)


_UNION_TAGS = {"vllm", "openai", "uniform", "fps", "native", "window"}


def _all_keys(model: type[BaseModel]) -> set[str]:
    keys: set[str] = set()
    for definition in model.model_json_schema().get("$defs", {}).values():
        keys.update(definition.get("properties", {}))
    return keys | set(model.model_fields)


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
