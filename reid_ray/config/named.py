"""Find a command's config: a path, or the name of one that comes with the package."""

from pathlib import Path

from reid_ray.errors import ConfigError

_HERE = Path(__file__).parent.parent
_FOLDERS = (_HERE.parent / "tune_configs", _HERE / "_configs")
"""In a checkout, and in an installed package."""


def find(command: str, name: str) -> Path:
    """The file `name`, or `tune_configs/<command>/<name>.yaml`.

    Raises:
        ConfigError: neither is there; lists the names that are.
    """
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        if given.is_file():
            return given
        raise ConfigError(f"{given}: no such file in {Path.cwd()}; names that come along: {_names(command)}")
    for folder in _FOLDERS:
        path = folder / command / f"{name}.yaml"
        if path.is_file():
            return path
    raise ConfigError(f"no config named {name!r} for {command}; there are {_names(command)}, or give a .yaml file")


def _names(command: str) -> list[str]:
    return sorted({path.stem for folder in _FOLDERS for path in (folder / command).glob("*.yaml")})
