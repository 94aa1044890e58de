"""Read a named YAML file into a frozen, typed config, refusing whatever it does not understand.

In: a YAML file and `a.b=c` overrides. Out: a frozen pydantic model, or a `ConfigError` that names
the key's path, what was found and what is allowed.
"""

import difflib
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reid_ray.config.addresses import refuse_userinfo
from reid_ray.config.renamed import modern
from reid_ray.errors import ConfigError

_MOST_BYTES = 1 << 20
"""Of a config file; a longer one is something else."""
_MOST_VALUES = 100_000
"""In a config, once all its aliases are followed."""
_WRITTEN: dict[str, str] = {}
"""What strings of configs were before the environment was put in."""
_ENVIRONMENT = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Config(BaseModel):
    """Base of every config class: frozen, strict, unknown keys refused, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls, raw: object, *, where: str) -> Self:
        """Validate plain YAML/JSON data; `where` names its origin in errors."""
        _refuse_unplain(raw, where, ())
        raw, _ = modern(raw, where=where)
        try:
            # Validating as JSON keeps strict types and still takes arrays for tuples.
            return cls.model_validate_json(json.dumps(raw, allow_nan=False))
        except ValidationError as error:
            raise ConfigError(_explain(error, where, cls)) from None

    def canonical(self) -> str:
        """The config as sorted JSON: equal settings give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of `canonical()`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]


C = TypeVar("C", bound=Config)


def load(cls: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Read `path` as a `cls`, with `a.b=c` overrides (values in YAML, list items by number)."""
    return build(cls, read_yaml(Path(path)), overrides, where=str(path))


def build(cls: type[C], raw: dict[str, Any], overrides: Sequence[str], *, where: str) -> C:
    """`raw`, with overrides as `load` takes them, as a `cls`."""
    for override in overrides:
        _override(raw, override)
    for note in modern(raw, where=where)[1]:
        print(f"note: {note}", file=sys.stderr)
    return cls.parse(raw, where=where)


def read_yaml(path: Path) -> Any:
    """Parse one YAML 1.2 document; `${NAME:-default}` in strings reads the environment.

    Raises:
        ConfigError: not readable, not YAML, a key given twice, or no map at the top.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes are no config")
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the path of a YAML file") from None
    raw = _parse(text, where=str(path))
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise ConfigError(f"{path}: found {found}, expected a map of settings at the top")
    return raw


def _parse(text: str, *, where: str) -> Any:
    try:
        raw = yaml.load(text, Loader=_Yaml12)
        _refuse_bomb(raw)
        return _expand(raw)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply to be a config") from None


def _refuse_bomb(raw: Any) -> None:
    """A few lines of aliases of aliases say more than any memory holds; ValueError if they do."""
    waiting = [raw]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    raise ValueError(f"its aliases make more than {_MOST_VALUES} values of it, or are endless")


class _Yaml12(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: `no` is a string, `1e-4` a number, keys are unique.

    `012` stays a string, so that a numeric field refuses it instead of reading octal 10.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key, line = getattr(key_node, "value", None), key_node.start_mark.line + 1
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.YAMLError(f"line {line}: keys are plain words, quote {key!r}")
            if key in seen:
                raise yaml.YAMLError(f"line {line}: key '{key}' is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in [
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
]:
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _expand(value: Any) -> Any:
    """Replace `${NAME}` and `${NAME:-default}` in every string."""
    if isinstance(value, dict):
        return {key: _expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item) for item in value]
    if not isinstance(value, str) or not _ENVIRONMENT.search(value):
        return value
    expanded = _ENVIRONMENT.sub(_from_environment, value)
    _WRITTEN[expanded] = value
    return expanded


def as_written(plain: Any) -> Any:
    """Plain data of configs, to be stored: `${NAME}` stands where its value was put in."""
    if isinstance(plain, dict):
        return {key: as_written(item) for key, item in plain.items()}
    if isinstance(plain, list):
        return [as_written(item) for item in plain]
    return _WRITTEN.get(plain, plain) if isinstance(plain, str) else plain


def _from_environment(found: re.Match[str]) -> str:
    name, default = found.groups()
    value = os.environ.get(name, default)
    if value is None:
        raise ConfigError(f"environment variable {name} is not set; set it or write ${{{name}:-default}}")
    return value


def _override(raw: Any, override: str) -> None:
    """Apply one `a.b.0.c=value` in place."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: expected key.path=value, for example training.epochs=20")
    target = raw
    for depth, key in enumerate(keys):
        where = f"--set {override}: '{'.'.join(keys[: depth + 1])}'"
        if isinstance(target, list):
            if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= len(target):
                raise ConfigError(f"{where}: expected a position from 0 to {len(target) - 1}")
        elif not isinstance(target, dict):
            raise ConfigError(f"{where}: found {target!r} above it, which has no keys")
        if depth == len(keys) - 1:
            target[int(key) if isinstance(target, list) else key] = _parse(text, where=f"--set {path}")
        else:
            target = target[int(key)] if isinstance(target, list) else _child(target, key)


def _child(target: dict[str, Any], key: str) -> Any:
    """The map below `key`, made where it is missing or null, so that defaults can be overridden."""
    if target.get(key) is None:
        target[key] = {}
    return target[key]


def _refuse_unplain(value: Any, where: str, keys: tuple[str, ...]) -> None:
    """Name the key of a value that YAML tags or huge exponents can make and JSON does not have."""
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_unplain(item, where, (*keys, str(key)))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _refuse_unplain(item, where, (*keys, str(place)))
    elif isinstance(value, str):
        refuse_userinfo(value, f"{where}: {'.'.join(keys)}")
    elif not isinstance(value, int | None) and not _finite(value):
        key = ".".join(keys) or "(top)"
        raise ConfigError(
            f"{where}: {key}: found {value!r:.80}; expected a finite number, string, list or map"
        )


def _finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _meant(config_class: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What to do about a key that nothing is called there."""
    classes = {config_class}
    for part in loc[:-1]:
        inside = {
            found
            for one in classes
            if part in one.model_fields
            for found in _classes_in(one.model_fields[str(part)].annotation)
        }
        classes = inside or classes  # places in lists and the tags of unions are no fields
    names = sorted({name for one in classes for name in one.model_fields})
    near = difflib.get_close_matches(str(loc[-1]), names, 1)
    return f"did you mean {near[0]}?" if near else "remove it or check its spelling"


def _classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for one in get_args(annotation) for found in _classes_in(one)]


def _explain(error: ValidationError, where: str, config_class: type[BaseModel]) -> str:
    """One line per problem: key path, what was found, what is allowed."""
    problems = error.errors(include_url=False)
    lines = []
    for problem in problems:
        loc = problem["loc"]
        if any(other["loc"][: len(loc)] == loc and other["loc"] != loc for other in problems):
            continue  # Only echoes the fault of an item inside, as "list too short".
        key = ".".join(str(part) for part in problem["loc"]) or "(top)"
        found = problem.get("input")
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"unknown key; {_meant(config_class, problem['loc'])}"
        elif problem["type"] == "missing":
            text = "required, but not given"
        else:
            shown = json.dumps(found, default=str)
            text = f"found {shown[:80]}{'...' if len(shown) > 80 else ''}; {text}"
        lines.append(f"{key}: {text}")
    return f"{where}: " + "; ".join(lines)
