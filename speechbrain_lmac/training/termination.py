"""SIGTERM, as pre-emption sends it: the training saves, then ends.

Authors
 * The speechbrain_lmac authors 2026
"""

import signal
import threading

from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

# What shells report of a process that SIGTERM ended.
EXIT_TERMINATED = 128 + signal.SIGTERM


class terminations:  # noqa: N801, a context manager
    """Notes SIGTERM, as pre-emption sends it, in place of ending at once.

    Arguments
    ---------
    brain : RecipeBrain
        Its ``terminated`` becomes True.
    """

    def __init__(self, brain):
        self.brain = brain
        self.before = None

    def __enter__(self):
        # Handlers belong to the main thread; others are not asked to end.
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self.note)
        return self

    def note(self, signum, frame):
        """The signal's handler."""
        # First: a log call may fail here, in the middle of another one.
        self.brain.terminated = True
        logger.warning("SIGTERM: saving, then ending")

    def __exit__(self, *exception):
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)
