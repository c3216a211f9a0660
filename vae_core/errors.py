"""Errors that a user sees: one line that says what, where, and what to do.

VaesynthError                 exit code 1
├── InputError                exit code 2: something the user gave is unusable
│   ├── SourceError           the data: missing, empty, malformed, of a wrong type
│   ├── ConfigError           the configuration: unknown key, impossible override, bad name
│   └── ArtifactError         an artifact: not found, changed on disk, of another format
├── StorageError              exit code 2: read-only store, full disk, no such bucket (OSError, made readable)
│   └── UnreachableError      exit code 1: a store on the network that doesn't answer
├── BusyError                 exit code 1: another run holds the lock
├── MissingDependencyError    exit code 2: an extra is not installed
├── TrainingError             exit code 1: training diverged
└── GateRefusedError          exit code 3: quality beyond the thresholds; nothing was published
"""

from __future__ import annotations


class VaesynthError(Exception):
    """Base of every error that is reported in one line, without a stack trace."""

    exit_code = 1


class InputError(VaesynthError):
    """Something the user gave can't be used as it is."""

    exit_code = 2


class SourceError(InputError):
    """The source data can't be read as a table."""


class ConfigError(InputError):
    """The configuration has an unknown key, an impossible value or a bad name."""


class ArtifactError(InputError):
    """An artifact is missing, was changed on disk, or has another format."""


class StorageError(VaesynthError):
    """The store can't be written: read-only, full, or gone."""

    exit_code = 2


class UnreachableError(StorageError):
    """The store is on the network and doesn't answer; later it may."""

    exit_code = 1


class BusyError(VaesynthError):
    """Another run is writing the same artifact."""


class MissingDependencyError(InputError):
    """An optional package is needed that isn't installed."""


class TrainingError(VaesynthError):
    """Training diverged or can't start."""


class GateRefusedError(VaesynthError):
    """The quality gate refused the model; nothing was published."""

    exit_code = 3
