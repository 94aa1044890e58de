"""Compile loops with numba and keep the result on disk until this package's sources change.

numba's own cache looks only at the file that a function stands in, while the compiled code holds what
it calls from other files too. So after an upgrade the old code could go on running.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile without the GIL, dividing as numpy does.

    Args:
        options: further ones of `numba.njit`.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        # The name of the file in the cache is made of this.
        function.__qualname__ += f"_{_sources()}"
        return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)

    return wrap


@functools.cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
