"""The page of every setting is what the config classes say."""

from pathlib import Path

from reid_ray.config.base import read_yaml
from reid_ray.config.reference import markdown

CONFIGS = Path(__file__).parents[3] / "tune_configs"


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (CONFIGS / "README.md").read_text(encoding="utf-8") == markdown()


def test_every_setting_that_a_config_uses_is_on_the_page() -> None:
    page = (CONFIGS / "README.md").read_text(encoding="utf-8")
    keys = {key for path in CONFIGS.glob("*/*.yaml") for key in _keys(read_yaml(path))}
    assert len(keys) > 40
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page] == []


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return set()
