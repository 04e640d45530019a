"""One HTML page with the explanations to listen to, figures and metrics.

The page is a single file, made from what an evaluation left on disk: sounds,
pictures, styles and script are inside it, it opens from disk and asks for
nothing from the network. Without JavaScript its sounds, pictures and tables
are still there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechbrain_lmac.report.columns import condition_label, method_label
from speechbrain_lmac.report.page.clips import clip_view
from speechbrain_lmac.report.page.data import (
    Clip,
    choose_clips,
    keep_methods,
    read_clips,
    read_rows,
    read_table,
)
from speechbrain_lmac.report.page.media import data_uri
from speechbrain_lmac.report.render import TEMPLATES, render, tables_context
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

MAX_EXAMPLES = 40  # clips
#: Facts of ``evaluation.json`` that belong to the numbers.
FACTS = {
    "version": "speechbrain_lmac",
    "seed": "seed",
    "mask_domain": "mask on",
    "ad_variant": "AD by",
}
FIGURES = {"metrics": "Metrics", "curves": "Insertion and deletion"}
ORDERS = (
    ("", "as evaluated"),
    ("drop-", "worst first: largest drop of probability"),
    ("drop", "best first: smallest drop of probability"),
    ("in", "worst first: lowest probability on the explanation"),
    ("in-", "best first: highest probability on the explanation"),
    ("out-", "worst first: highest probability on the rest"),
)


def build_report(
    results_folder: str | os.PathLike,
    out: str | os.PathLike | None = None,
    max_examples: int | None = MAX_EXAMPLES,
    methods: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write the page of an evaluation, or of single explanations.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        An evaluation's output folder: ``results.csv``, ``comparisons.csv``,
        ``figures/`` and ``examples/``, as far as they are there. Or a folder
        of explanations, each a folder with ``explanation.json`` and its
        sounds.
    out : str or pathlib.Path or None
        The HTML file, written whole or not at all; None for ``report.html``
        in the folder.
    max_examples : int or None
        Clips with sounds, as many of one condition as of the other; None or
        -1 for all.
    methods : sequence of str or None
        Those whose sounds are on the page; None for all.
    title : str or None
        The heading; None for the question that the page answers.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    UserError
        If the folder is missing, is neither of the two, or a file in it is
        damaged.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.data.audio import write_wav
    >>> folder = Path(getfixture("tmpdir")) / "clip 7"
    >>> folder.mkdir()
    >>> for name in ("original", "explanation", "masked_out"):
    ...     _ = write_wav(folder / f"{name}.wav", torch.rand(1600), 16000)
    >>> _ = (folder / "explanation.json").write_text(
    ...     '{"label": "dog", "probability": 0.9}')
    >>> text = build_report(folder).read_text(encoding="utf-8")
    >>> "<h1>Why did it say “dog”?</h1>" in text, text.count("<audio")
    (True, 3)
    """
    folder = Path(results_folder)
    rows = read_rows(folder / "results.csv")
    examples = folder / "examples"
    order = list(dict.fromkeys(str(row["method"]) for row in rows))
    found = read_clips(examples if examples.is_dir() else folder, order)
    if not rows and not found:
        raise UserError(_nothing_found(folder))
    conditions = dict.fromkeys(str(row["condition"]) for row in rows)
    clips = choose_clips(
        keep_methods(found, methods), list(conditions), max_examples
    )
    # The encoder works outside of Python's lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        views = list(pool.map(clip_view, clips, range(len(clips))))
    parts = {
        name: (TEMPLATES / f"page.{name}").read_text(encoding="utf-8")
        for name in ("css", "js", "svg")
    }
    text = render(
        "page.html.j2",
        title=title or _question(clips),
        policy=policy(parts["js"]),
        orders=ORDERS,
        clips=views,
        n_found=len(found),
        filter=_filters(clips),
        figures=_figures(folder / "figures"),
        facts=_facts(folder),
        **tables_context(rows, read_table(folder / "comparisons.csv")),
        **parts,
    )
    path = folder / "report.html" if out is None else Path(out)
    write_atomically(path, text)
    return path


def policy(script: str) -> str:
    """What the page may do: run this one script, load nothing.

    Even if a text slipped through unescaped, it could load and run nothing.
    """
    return (
        f"default-src 'none'; script-src '{source_hash(script)}'; "
        "style-src 'unsafe-inline'; img-src data:; media-src data:"
    )


def source_hash(text: str) -> str:
    """A script or style sheet as a content security policy names it.

    Example
    -------
    >>> source_hash("1")
    'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='
    """
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _nothing_found(folder: Path) -> str:
    expected = (
        "expected an evaluation's output folder (results.csv, examples/) or "
        "explanations (explanation.json and its sounds, there or below)"
    )
    if not folder.is_dir():
        return f"{folder}: no such folder; {expected}."
    names = sorted(path.name for path in folder.iterdir())
    if "seeds.csv" in names:
        expected += "; means over seeds have no sounds: give one of the seeds"
    return f"{folder}: {expected}; found {', '.join(names[:8]) or 'nothing'}."


def _question(clips: Sequence[Clip]) -> str:
    labels = [f"“{name}”" for name in dict.fromkeys(c.label for c in clips)]
    if not labels:
        return "What do the explanations explain?"
    more = " …" if len(labels) > 3 else ""
    return f"Why did it say {', '.join(labels[:3])}{more}?"


def _facts(folder: Path) -> str:
    """What an evaluation's settings say, as a short text."""
    try:
        text = (folder / "evaluation.json").read_text(encoding="utf-8")
        common = json.loads(text)["common"]
        return ", ".join(
            f"{name} {common[key]}"
            for key, name in FACTS.items()
            if common.get(key) is not None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _figures(folder: Path) -> list[dict[str, str]]:
    """Name and address of each figure, the published metrics first."""
    kinds = ["metrics_published", *FIGURES]

    def rank(path: Path) -> tuple[int, str]:
        starts = map(path.stem.startswith, kinds)
        return next((k for k, it in enumerate(starts) if it), 9), path.stem

    figures = []
    for path in sorted(folder.glob("*.png"), key=rank):
        kind, _, rest = path.stem.partition("_")
        name = FIGURES.get(kind, kind)
        name += f": {condition_label(rest)}" if rest else ""
        uri = data_uri("image/png", path.read_bytes())
        figures += [{"name": name.replace("_", " "), "uri": uri}]
    return figures


def _filters(clips: Sequence[Clip]) -> dict[str, list[tuple[str, str]]]:
    """Values and texts of each choice."""
    methods = dict.fromkeys(e.method for clip in clips for e in clip.explained)
    conditions = dict.fromkeys(clip.condition for clip in clips)
    classes = sorted({clip.true_label or clip.label for clip in clips})
    decisions = sorted({clip.decision for clip in clips} - {""})
    return {
        "methods": [(name, method_label(name)) for name in methods],
        "conditions": [(name, condition_label(name)) for name in conditions],
        "classes": [(name, name) for name in classes],
        "decisions": [(name, name) for name in decisions],
    }
