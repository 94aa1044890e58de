"""Keep passwords out of addresses: whoever sees a study's config, report or log would read them.

In: any text from a config or a command line. Out: nothing, or an error that says where they belong.
"""

import re

from reid_ray.errors import ConfigError

_LONGEST = 500
_USERINFO = re.compile(
    rf"://(?:[^/?#\s@]{{1,{_LONGEST}}}@"
    # A secret with a slash in it: a colon that no port follows, and an @ behind.
    rf"|[^/?#\s@:]{{1,{_LONGEST}}}:(?!\d{{1,5}}(?:[/?#]|$))[^\s@]{{1,{_LONGEST}}}@)"
)
_IN_QUERY = re.compile(r"://[^\s?#]{0,2000}\?[^\s#]{0,2000}?(?:pass|secret|token|key|sig)\w{0,30}=", re.I)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z")

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "http": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "https": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "postgresql": "PGUSER and PGPASSWORD",
}


def refuse_userinfo(text: str, where: str) -> None:
    """Refuse a name, password, key or token in any address within `text`.

    Raises:
        ConfigError: names the environment variable that they belong in, and not what was found.
    """
    found = _USERINFO.search(text) or _IN_QUERY.search(text)
    if found is None:
        return
    scheme = (_SCHEME.search(text[max(0, found.start() - 31) : found.start()]) or [""])[0].lower()
    variables = _VARIABLES.get(scheme.partition("+")[0], "variables that its library reads")
    raise ConfigError(
        f"{where}: an address {scheme}://... with a name, password or key in it, which would be stored and "
        f"shown; take them out of the address and put them into the environment of every node: {variables}"
    )
