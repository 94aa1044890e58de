"""Say what made a result: code revision, library versions, machine, seeds."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "reid-ray",
    "ray",
    "torch",
    "torchvision",
    "timm",
    "pytorch-metric-learning",
    "opencv-python-headless",
    "kornia",
    "mlflow",
    "pyarrow",
    "pandas",
    "numpy",
    "numba",
    "pillow",
)


def provenance(**facts: Any) -> dict[str, Any]:
    """Versions and revision, with any other facts of the run."""
    return {
        "git": git_revision(),
        "command": " ".join([_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "libraries": libraries(),
        **facts,
    }


def _program(path: Path) -> str:
    """How to start it again; a command of this package is started by its name as a module."""
    ours = path.parent.name == "reid_ray" and path.suffix == ".py"
    return f"python -m reid_ray.{path.stem}" if ours else path.name


def libraries() -> dict[str, str]:
    """Versions of what a study leans on, of those that are installed."""
    return {name: found for name in _LIBRARIES if (found := _version(name))}


def git_revision() -> str:
    """The commit of the code that runs, with `+changes` where files differ; "" outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return run.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
