"""The built package works where nothing of the repository is: installed into an empty environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not there")
    folder = tmp_path_factory.mktemp("wheel")
    built = folder / "built"
    for words in (
        ["build", "--wheel", "--out-dir", str(built), str(ROOT)],
        ["venv", "--quiet", str(folder / "env")],
    ):
        subprocess.run([uv, *words], cwd=folder, check=True, capture_output=True)
    (wheel,) = built.glob("reid_ray-*.whl")
    # Of the same versions as all other tests, which the package itself leaves open.
    frozen = subprocess.run([uv, "pip", "freeze"], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [line for line in frozen.stdout.splitlines() if "==" in line]
    (folder / "versions.txt").write_text("\n".join(lines))
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "env"), str(wheel)]
    subprocess.run([*install, "--constraint", str(folder / "versions.txt")], cwd=folder, check=True)
    return folder / "env" / "bin"


def said(program: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(program), *words], cwd=cwd, env=bare, capture_output=True, text=True, check=False
    )


def test_the_program_lists_its_commands(installed: Path, tmp_path: Path) -> None:
    done = said(installed / "reid-ray", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  identify " in done.stdout


def test_configs_come_along(installed: Path, tmp_path: Path) -> None:
    done = said(installed / "reid-ray", "tune", "quickstart", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


def test_a_page_can_be_written(installed: Path, tmp_path: Path) -> None:
    """Templates, styles and lists are in the package."""
    asked = "from reid_ray.reporting import html; print(len(html.style_sheet() + html.report_script()))"
    done = said(installed / "python", "-c", asked, cwd=tmp_path)
    assert int(done.stdout) > 5000, done.stderr
    done = said(installed / "reid-ray", "weights", "list", cwd=tmp_path)
    assert "aliked" in done.stdout.lower(), done.stderr
