"""Every error evolvent raises: one tree, one root.

A message names the field, what came and what was wanted, and what to do next. It is for people:
what a program asks (which field, is the disk full) is in the class and its attributes.
"""

from errno import EDQUOT, ENOSPC


class EvolventError(Exception):
    """The root: catch this to catch all of ours and nothing else.

    Attributes:
        field: the name of what is wrong (an argument, a field of a request, a header), as whoever
            gave it knows it; None where there is no such thing.
    """

    field: str | None = None

    def __init__(self, *args: object, field: str | None = None) -> None:
        super().__init__(*args)
        if field is not None:
            self.field = field  # of the instance, so that it is pickled with it


class ConfigError(EvolventError, ValueError):
    """An argument, a space, an algorithm or a study file is not usable as given."""


class OutOfSpace(ConfigError):
    """A hyperparameter lies outside its distribution, is missing, or is unknown to the space."""


class UnknownName(ConfigError, LookupError):
    """There is no field, metric, hyperparameter, module, program or file of that name."""


class UnknownStudy(EvolventError, LookupError):
    """No study of that name in this store."""

    field = "study"


class StudyExists(EvolventError):
    """A study of that name is in this store already."""

    field = "name"


class UnknownJob(EvolventError, LookupError):
    """The study has no such job or member."""

    field = "job"


class StoreError(EvolventError):
    """The store cannot do what was asked of it."""


class StoreBusy(StoreError):
    """The store stayed locked by others for longer than we wait."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written: path, permission, space or network."""


class StoreMissing(StoreUnavailable, LookupError):
    """There is no such file: nobody has made a study there."""


class StoreDamaged(StoreError):
    """The file is not a whole evolvent store."""


class SchemaTooNew(StoreError):
    """The store was written by a newer evolvent than this one."""


class LeaseLost(EvolventError):
    """The job was given to another worker (or its study removed): this attempt no longer counts."""

    field = "attempt"


class CheckpointError(EvolventError):
    """A checkpoint cannot be saved or read."""


class StorageFull(StoreUnavailable, CheckpointError):
    """There is no space left for the log, or for a checkpoint: free some, and go on."""


NO_SPACE = frozenset({ENOSPC, EDQUOT})
"""What the system says in `errno` when that is so."""


class CheckpointMissing(CheckpointError):
    """The checkpoint is not on disk: collected, or removed by hand."""

    field = "checkpoint"


class CheckpointDamaged(CheckpointError):
    """The files of a checkpoint are not those that were saved."""

    field = "checkpoint"


class CheckpointTooLarge(CheckpointError):
    """The service does not take checkpoints of so many bytes or files."""


class UploadConflict(CheckpointError):
    """What was sent of a checkpoint does not go on where the service is: ask it, and send that."""


class ArchiveError(EvolventError):
    """An archive of a study cannot be written, or is not whole; nothing has been left behind."""


class TrainableError(EvolventError):
    """Training code broke its contract: no metrics, a metric that is no number, a wrong name.

    Not counted as a failure of the member, because every member would fail the same way: the
    worker stops, the job goes back to the queue, and the study goes on once the code is mended.
    """


class DecisionError(EvolventError):
    """Code of the user's that decides, such as a custom explore, raised or left the space.

    What has been trained is in the log; the study is stopped with this as its reason, and goes on
    with the next run once the code is mended.
    """


class AllMembersFailed(EvolventError):
    """No member has a usable checkpoint left and none is running; shows the last traceback."""


class Unauthenticated(EvolventError):
    """The service wants a token, and none came, or none that it knows."""

    field = "Authorization"


class Forbidden(EvolventError):
    """The token does not allow this: its role is too low, or it is for another study."""


class WorkerError(EvolventError):
    """Workers die faster than they work, or cannot start."""


class MissingExtra(EvolventError, ImportError):
    """An optional library is not installed; the message says which extra brings it."""
