"""Put the repository's documents, and a page for each package's docstrings, into the site.

Documents keep their places, so that links between them hold; a file that one of them links to comes along.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import CombinedEvent, event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "cluster", "reports", "tune_configs")
_LINK = re.compile(r"\]\(([^)#:\s]+)")


def documents() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
    return [*found, ROOT / "reports" / "tutorial.ipynb"]


def packages() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "reid_ray").glob("*/__init__.py"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name what is there as chapters, so that a new report or package is never left out."""
    reports = sorted(path.name for path in (ROOT / "reports").glob("*.md"))
    config.nav = [
        {"Overview": "README.md"},
        {"Tutorial": "reports/tutorial.ipynb"},
        {"Settings": "tune_configs/README.md"},
        {"Clusters": "cluster/README.md"},
        {"Reports": [f"reports/{name}" for name in reports]},
        {"Python": [f"python/{name}.md" for name in packages()]},
        {"Project": ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]},
    ]
    return config


@event_priority(100)  # before the plugin that turns notebooks into pages
def _add_documents(files: Files, config: MkDocsConfig) -> Files:
    """Documents and what they link to."""
    wanted = dict.fromkeys(documents())
    for document in documents():
        targets = _LINK.findall(document.read_text(encoding="utf-8"))
        linked = ((document.parent / target).resolve() for target in targets)
        wanted |= dict.fromkeys(path for path in linked if path.is_file())
    for path in wanted:
        place = path.relative_to(ROOT).as_posix()
        files.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def _add_packages(files: Files, config: MkDocsConfig) -> Files:
    """A page for each package."""
    for name in packages():
        page = f"# {name}\n\n::: reid_ray.{name}\n"
        files.append(File.generated(config, f"python/{name}.md", content=page))
    return files


on_files = CombinedEvent(_add_documents, _add_packages)
