"""Write the table of every setting out of the config classes: one home for names, kinds and defaults.

`python -m reid_ray.config.reference > tune_configs/README.md` makes it anew; a test holds them equal.
"""

import inspect
import json
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reid_ray.config.base import Config

_INTRO = """# Every setting

A config is a YAML file; its folder names its command: `tune_configs/tune/quickstart.yaml` is what
`python -m reid_ray.tune quickstart` reads. Any setting can be given on the command line as well:
`--set training.epochs=50`. Unknown keys, wrong kinds and values out of range are refused with the key's path.
`${NAME:-default}` in a string reads the environment.

This page is made from the config classes: `python -m reid_ray.config.reference`.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_INTRO]
    told: set[type[BaseModel]] = set(_commands().values())
    for command, top in _commands().items():
        parts.append(f"## `{command}`\n\n{_summary(top)}\n\n{_table(top)}")
    waiting = [inner for cls in _commands().values() for inner in _inner(cls)]
    parts.append("## Parts")
    while waiting:
        cls = waiting.pop(0)
        if cls not in told:
            told.add(cls)
            parts.append(f"### {cls.__name__}\n\n{_summary(cls)}\n\n{_table(cls)}")
            waiting += _inner(cls)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _commands() -> dict[str, type[Config]]:
    """Config class of each command."""
    from reid_ray.config.evaluate import EvaluateRun
    from reid_ray.config.identify import IdentifyRun
    from reid_ray.config.match import MatchRun
    from reid_ray.config.train import TrainRun
    from reid_ray.config.tune import Study

    return {
        "tune": Study,
        "train": TrainRun,
        "match": MatchRun,
        "evaluate": EvaluateRun,
        "identify": IdentifyRun,
    }


def _summary(cls: type[BaseModel]) -> str:
    return re.sub(r"\s+", " ", inspect.getdoc(cls) or "").strip()


def _table(cls: type[BaseModel]) -> str:
    lines = ["| setting | kind | default | meaning |", "|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        kind = _kind(field.annotation, field)
        meaning = re.sub(r"\s+", " ", field.description or "")
        cells = (f"`{name}`", kind, _default(field), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see there"
    text = json.dumps(value, default=lambda model: model.model_dump(exclude_defaults=True))
    return "none" if value is None else f"`{text}`" if len(text) < 80 else f"`{text[:76]} ...`"


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    """A type in words; ranges are read off the annotation."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0]) + _bounds(inner[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inner if one is not type(None))) + _bounds(
            field.metadata if field else ()
        )
    if origin is Literal:
        return " / ".join(f"`{value}`" for value in inner)
    if origin is dict:
        return f"map of {_kind(inner[0])} to {_kind(inner[1])}"
    if origin is tuple:
        return f"list of {_kind(inner[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {int: "whole number", float: "number", str: "text", bool: "true / false"}
    return names.get(annotation, str(annotation)) + _bounds(field.metadata if field else ())


def _bounds(metadata: Any) -> str:
    """` >= 0, < 1`, as far as there are any."""
    signs = {Ge: ">=", Gt: ">", Le: "<=", Lt: "<"}
    found: list[str] = []
    for item in metadata:
        nested = getattr(item, "metadata", None)
        for one in nested if isinstance(nested, list) else [item]:
            if type(one) in signs:
                bound = next(getattr(one, name) for name in ("ge", "gt", "le", "lt") if hasattr(one, name))
                found.append(f"{signs[type(one)]} {bound:g}")
    return f" {', '.join(found)}" if found else ""


def _inner(cls: type[BaseModel]) -> list[type[BaseModel]]:
    """Config classes that the fields of `cls` are made of, in order."""
    found: list[type[BaseModel]] = []

    def walk(annotation: Any) -> None:
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            found.append(annotation)
        for one in get_args(annotation):
            walk(one)

    for field in cls.model_fields.values():
        walk(field.annotation)
    return found


if __name__ == "__main__":
    print(markdown(), end="")
