"""What can go wrong, as types: every error a user can meet says what was found, expected and what to do."""


class ReidError(Exception):
    """Base of all errors that are explained to the user in one sentence, without a traceback.

    `exit_code` is what the command returns to the shell: 2 where the user's input is at fault,
    1 where the work itself failed.
    """

    exit_code = 1


class ConfigError(ReidError):
    """A configuration file, key or `--set` override that cannot be used."""

    exit_code = 2


class DatasetError(ReidError):
    """A photo collection that cannot be read, or has too little left once bad rows are put aside."""

    exit_code = 2


class SplitLeakError(ReidError):
    """Query and reference are not independent, so any score on them would be wrong."""

    exit_code = 2


class WeightsError(ReidError):
    """Model weights that are missing, of another architecture, or damaged."""

    exit_code = 2


class ResourceError(ReidError):
    """The machine or cluster has too little for the work, found out before it starts."""


class StorageError(ReidError):
    """Files of a study that are missing, unreadable or not what they say they are."""


class TrackingError(ReidError):
    """The MLflow store cannot be reached or written."""


class TrialError(ReidError):
    """A trial that ended without a result; the others went on."""
