"""Every error that a user can cause. The command line prints one as a single line and exits with 2."""


class Error(Exception):
    """Something the user can put right; the message says which file or field, what was expected and what to do."""


class DarknetError(Error):
    """A Darknet `.cfg`, `.weights`, `.names` or tree file that cannot be read as one."""


class NetworkError(Error):
    """An architecture that does not exist, or an argument that it cannot have: alpha, classes, size."""


class CheckpointError(Error):
    """A file of trained weights (TensorFlow Lite, safetensors) that cannot be read, or is of another network."""


class ModelError(Error):
    """A model file that is missing, damaged, or not of onelook's format; an engine that cannot run it."""


class DataError(Error):
    """A dataset that cannot be read or written: no known format, no such split, a file of labels that is not one."""


class SourceError(Error):
    """A picture, folder, video, camera or URL that cannot be read, or not be drawn."""


class ZooError(Error):
    """A name the zoo does not know, or a download that failed."""


class MissingDependencyError(Error):
    """A part of onelook that needs an optional package which is not installed."""


class TrainingError(Error):
    """A setting that training cannot have, a run that cannot be resumed, memory that is not enough."""
