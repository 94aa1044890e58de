"""Find files: a command's config by path or name, and the folder that relative results go to."""

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
        raise ConfigError(
            f"{given}: no such file in {Path.cwd()}; names that come along: {_names(command)}"
        )
    for folder in _FOLDERS:
        path = folder / command / f"{name}.yaml"
        if path.is_file():
            return path
    raise ConfigError(
        f"no config named {name!r} for {command}; there are {_names(command)}, or give a .yaml file"
    )


def _names(command: str) -> list[str]:
    return sorted({path.stem for folder in _FOLDERS for path in (folder / command).glob("*.yaml")})


def results_folder(name: str) -> Path:
    """`name` as an absolute path; relative ones are taken from the current folder.

    A job that was submitted with `--working-dir` runs in a copy of that folder which Ray deletes later, so
    there they are taken from `~/reid_ray`.
    """
    inside_job_copy = "working_dir_files" in Path.cwd().parts
    return (Path.home() / "reid_ray" if inside_job_copy else Path.cwd()) / Path(name).expanduser()
