"""What an evaluation has already measured: kept, checked, taken up again.

The per-clip files of an output folder are the evaluation's memory, and
``evaluation.json`` says under which settings they were measured. A row is
taken up again only where all that could change its values is as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.evaluation.conditions import CONDITIONS
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import shard
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

SETTINGS_FILE = "evaluation.json"
#: Of per-clip files: raised when what they hold changes.
FORMAT = 2
#: Seconds between two savings within a condition.
INTERVAL = 20.0


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
    """

    def __init__(
        self,
        folder: str | Path,
        common: Mapping[str, Any],
        methods: Mapping[str, Any],
    ) -> None:
        self.folder = Path(folder)
        self.saved = time.monotonic()
        # As JSON gives them back, so that they can be compared.
        ours = json.loads(json.dumps([{"format": FORMAT, **common}, methods]))
        self.settings = dict(zip(("common", "methods"), ours, strict=True))
        self._forget_what_changed()

    def _forget_what_changed(self) -> None:
        """Remove values of other settings, then write down ours."""
        try:
            path = self.folder / SETTINGS_FILE
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
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
        text = json.dumps(self.settings, indent=2, sort_keys=True) + "\n"
        write_atomically(self.folder / SETTINGS_FILE, text)

    def load(self, condition: str) -> dict[str, ClipStats]:
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

    def save(
        self, condition: str, stats: Mapping[str, ClipStats], now: bool = False
    ) -> None:
        """Keep the rows so far, not too often; the main process writes."""
        late = now or time.monotonic() - self.saved >= INTERVAL
        if not late or not if_main_process():
            return
        for key, scores in stats.items():
            scores.to_csv(self.folder / f"per_clip_{condition}_{key}.csv")
        self.saved = time.monotonic()


def gather_rows(
    rows: Mapping[str, ClipStats], ids: Sequence[str]
) -> dict[str, ClipStats]:
    """All processes' rows by method, in the order of ``ids`` in each process.

    What an interrupted evaluation left may be in another order, and paired
    tests compare by place.
    """
    own = {key: stats.rows() for key, stats in rows.items()}
    parts: list[Any] = [own]
    world = shard()[1]
    if world > 1:
        parts = [None] * world
        torch.distributed.all_gather_object(parts, own)
    gathered = {}
    for key in rows:
        known = {row["id"]: row for part in parts for row in part[key]}
        ordered = [known[name] for name in ids if name in known]
        gathered[key] = ClipStats.from_rows(ordered)
    return gathered


def _method_of(path: Path) -> str:
    """Method of a file ``per_clip_<condition>_<method>[@<protocol>].csv``."""
    name = path.stem.removeprefix("per_clip_").partition("@")[0]
    for condition in CONDITIONS:
        if name.startswith(f"{condition}_"):
            return name.removeprefix(f"{condition}_")
    return name
