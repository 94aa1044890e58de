"""The token that Ray writes for `ray start` is for its user alone."""

import stat
from pathlib import Path

import pytest

from reid_ray.on_ray.cluster.private import guard_token_file


@pytest.mark.parametrize("before", [0o644, 0o664, 0o640, 0o600])
def test_the_token_file_is_read_by_its_user_alone(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    guard_token_file()  # there is none
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret")
    path.chmod(before)
    guard_token_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "secret"
