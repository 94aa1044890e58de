"""Spread the work over a Ray cluster; the only package that imports Ray."""

import os

# Under `uv run`, Ray copies the working folder and builds its environment anew for the workers, 40 s
# before the first task. A Ray that we start on this machine has the environment already. Ray reads
# this as it is imported.
if "RAY_ADDRESS" not in os.environ:
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # It also listens to this machine alone, as Ray does by itself on Windows and macOS.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
