"""What an evaluation has already measured: kept, checked, taken up again.

The per-clip files of an output folder are the evaluation's memory, and
``evaluation.json`` says under which settings they were measured. A row is
taken up again only where all that could change its values is as it was.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import time
from pathlib import Path

from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.evaluation.conditions import CONDITIONS
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

SETTINGS_FILE = "evaluation.json"


class Journal:
    """Per-clip values of an output folder.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where ``per_clip_<condition>_<row>.csv`` stand.
    common : dict
        Settings that every value depends on; plain JSON values.
    methods : dict of str to object
        What each method's values depend on besides.
    interval : float
        Seconds between two savings within a condition.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> journal = Journal(folder, {"seed": 1}, {"lmac": "abc"})
    >>> stats = ClipStats()
    >>> stats.append(["a"], {"FF": [0.5]})
    >>> journal.save("clean", {"lmac": stats}, now=True)
    >>> sorted(Journal(folder, {"seed": 1}, {"lmac": "abc"}).load("clean"))
    ['lmac']
    >>> Journal(folder, {"seed": 2}, {"lmac": "abc"}).load("clean")
    {}
    """

    def __init__(self, folder, common, methods, interval=20.0):
        self.folder = Path(folder)
        self.interval = interval
        self.saved = time.monotonic()
        self.settings = _plain({"common": common, "methods": dict(methods)})
        self._forget_what_changed()

    def _forget_what_changed(self):
        """Remove values of other settings, then write down ours."""
        before = self._settings_before()
        same = before.get("common") == self.settings["common"]
        known = before.get("methods", {}) if same else {}
        ours = self.settings["methods"]
        changed = {n for n in ours if n in known and known[n] != ours[n]}
        for path in self.folder.glob("per_clip_*.csv"):
            if not same or _method_of(path) in changed:
                path.unlink(missing_ok=True)
        if before and (not same or changed):
            logger.info(
                "The settings are not those of the earlier evaluation in %s: "
                "%s evaluated anew",
                self.folder,
                "all methods are" if not same else ", ".join(sorted(changed)),
            )
        # Rows of methods that are not asked for now stay valid.
        self.settings["methods"] = {**known, **ours}
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.settings, indent=2, sort_keys=True) + "\n"
        write_atomically(self.folder / SETTINGS_FILE, text.encode())

    def _settings_before(self):
        try:
            text = (self.folder / SETTINGS_FILE).read_text(encoding="utf-8")
            return json.loads(text)
        except (OSError, ValueError):
            return {}

    def path(self, condition, key):
        """The file of a row's per-clip values."""
        return self.folder / f"per_clip_{condition}_{key}.csv"

    def load(self, condition):
        """Rows of a condition that were measured before, as far as they go."""
        prefix = f"per_clip_{condition}_"
        rows = {}
        for path in self.folder.glob(f"{prefix}*.csv"):
            try:
                rows[path.stem.removeprefix(prefix)] = ClipStats.from_csv(path)
            except UserError:
                logger.warning("%s cannot be read: evaluated anew", path)
                path.unlink(missing_ok=True)
        return rows

    def save(self, condition, stats, now=False):
        """Keep the rows so far, at most once in ``interval`` seconds.

        Of several processes the main one writes.
        """
        if not if_main_process():
            return
        if not now and time.monotonic() - self.saved < self.interval:
            return
        for key, scores in stats.items():
            scores.to_csv(self.path(condition, key))
        self.saved = time.monotonic()


def _method_of(path):
    """Method of a file ``per_clip_<condition>_<method>[@<protocol>].csv``."""
    name = path.stem.removeprefix("per_clip_").partition("@")[0]
    for condition in CONDITIONS:
        if name.startswith(f"{condition}_"):
            return name.removeprefix(f"{condition}_")
    return name


def _plain(settings):
    """Settings as JSON gives them back, so that they can be compared."""
    return json.loads(json.dumps(settings))
