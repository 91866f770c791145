"""User-correctable errors. Each message is one sentence that names the problem and the remedy."""

__all__ = ["CheckpointError", "ConfigError", "DataError", "JaxdnnError", "RunError"]


class JaxdnnError(Exception):
    """A mistake in what the user gave; the command line prints it and exits with code 2."""


class ConfigError(JaxdnnError, ValueError):
    """A setting is outside its range, or names a place that cannot be written."""


class DataError(JaxdnnError):
    """A data set is missing, unreadable or not what it should be."""


class CheckpointError(JaxdnnError):
    """A file of parameters is damaged or does not fit the model."""


class RunError(Exception):
    """A run ended for a reason outside of it; the command line prints it and exits with code 1."""
