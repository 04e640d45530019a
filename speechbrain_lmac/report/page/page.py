"""One HTML page with the metrics and the explanations to listen to.

The page is a single file, made from what an evaluation left on disk: sounds,
pictures, styles and script are inside it, it opens from disk and asks for
nothing from the network. Without JavaScript its sounds, pictures and tables
are still there.
"""

import base64
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from speechbrain_lmac.report.columns import condition_label, method_label
from speechbrain_lmac.report.page.clips import clip_html
from speechbrain_lmac.report.page.data import (
    choose_clips,
    keep_methods,
    read_clips,
    read_rows,
    read_table,
)
from speechbrain_lmac.report.page.media import data_uri, encode_audio
from speechbrain_lmac.report.page.tables import metrics_html
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

__all__ = ["build_report", "encode_audio"]

STATIC = Path(__file__).parent / "static"
MAX_EXAMPLES = 40  # clips
#: Facts of ``evaluation.json`` that belong to the numbers.
FACTS = {
    "version": "speechbrain_lmac",
    "seed": "seed",
    "mask_domain": "mask on",
    "ad_variant": "AD by",
}
FIGURES = {"metrics": "Metrics", "curves": "Insertion and deletion"}
ORDERS = {
    "": "as evaluated",
    "drop-": "worst first: largest drop of probability",
    "drop": "best first: smallest drop of probability",
    "in": "worst first: lowest probability on the explanation",
    "in-": "best first: highest probability on the explanation",
    "out-": "worst first: highest probability on the rest",
}


def build_report(
    results_folder,
    out=None,
    max_examples=MAX_EXAMPLES,
    methods=None,
    title=None,
):
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
        The heading; None for one that names the data set.

    Returns
    -------
    path : pathlib.Path
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
    >>> page = build_report(folder)
    >>> page.name, page.read_text(encoding="utf-8").count("<audio")
    ('report.html', 3)
    """
    folder = Path(results_folder)
    rows = read_rows(folder / "results.csv")
    examples = folder / "examples"
    order = list(dict.fromkeys(str(row["method"]) for row in rows))
    clips = read_clips(examples if examples.is_dir() else folder, order)
    if not rows and not clips:
        raise UserError(_nothing_found(folder))
    found = len(clips)
    conditions = dict.fromkeys(str(row["condition"]) for row in rows)
    clips = choose_clips(keep_methods(clips, methods), conditions, max_examples)
    sections = {
        "Metrics": _metrics_section(folder, rows),
        "Figures": _figures_section(folder / "figures"),
        "Examples": _examples_section(clips, found),
    }
    if title is None:
        sets = dict.fromkeys(row["dataset"] for row in rows)
        title = f"Explanations of {', '.join(sets)}" if rows else "Explanations"
    path = folder / "report.html" if out is None else Path(out)
    write_atomically(path, _page(title, _notes(folder), sections))
    return path


def _nothing_found(folder):
    expected = (
        "expected the output folder of an evaluation (with results.csv or "
        "examples/), or a folder of explanations (with explanation.json and "
        "explanation.wav, there or in folders below)"
    )
    if not folder.is_dir():
        return f"{folder}: no such folder; {expected}."
    if (folder / "seeds.csv").is_file():
        return (
            f"{folder} holds the means over several seeds, which have no "
            f"sounds; {expected}. Give the evaluation of one of the seeds."
        )
    names = sorted(path.name for path in folder.iterdir())
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder}: {expected}; found {listed or 'nothing'}."


def _notes(folder):
    """What an evaluation's settings say, as short texts."""
    try:
        text = (folder / "evaluation.json").read_text(encoding="utf-8")
        common = json.loads(text)["common"]
        return [
            f"{name} {common[key]}"
            for key, name in FACTS.items()
            if common.get(key) is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _metrics_section(folder, rows):
    if not rows:
        return ""
    return metrics_html(rows, read_table(folder / "comparisons.csv"))


def _figures_section(folder):
    parts = []
    for path in sorted(folder.glob("*.png"), key=_published_first):
        kind, _, rest = path.stem.partition("_")
        name = escape(
            f"{FIGURES.get(kind, kind)}: {condition_label(rest)}"
            if rest
            else FIGURES.get(kind, kind)
        ).replace("_", " ")
        state = "" if parts else " open"
        uri = data_uri("image/png", path.read_bytes())
        parts += [
            f"<details{state}><summary>{name}</summary>"
            f'<div class="scroll paper" tabindex="0" role="region" '
            f'aria-label="{name}"><img loading="lazy" alt="{name}" '
            f'src="{uri}"></div></details>'
        ]
    return "\n".join(parts)


def _published_first(path):
    kinds = ["metrics_published", *FIGURES]
    for rank, kind in enumerate(kinds):
        if path.stem.startswith(kind):
            return rank, path.stem
    return len(kinds), path.stem


def _examples_section(clips, found):
    if not clips:
        return ""
    # The encoder works outside of Python's lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        articles = list(pool.map(clip_html, clips, range(len(clips))))
    text = (STATIC / "introduction.html").read_text(encoding="utf-8")
    if len(clips) < found:
        text += (
            f'<p class="quiet">{len(clips)} of the {found} clips whose sounds '
            "were saved are on this page.</p>"
        )
    return "\n".join([text, _filters_html(clips), *articles])


def _filters_html(clips):
    """Filters and orders; the script shows them."""
    methods = list(
        dict.fromkeys(e.method for clip in clips for e in clip.explained)
    )
    conditions = dict.fromkeys(clip.condition for clip in clips)
    classes = sorted({clip.true_label or clip.label for clip in clips})
    decisions = {clip.decision for clip in clips} - {""}
    order = _select("order", "Order", ORDERS, ORDERS.get)
    order += _select("judge", "by the probabilities of", methods, method_label)
    selects = [
        _select("condition", "Condition", conditions, condition_label, "all"),
        _select("class", "Class", classes, str, "all"),
        _select("decision", "Decisions", sorted(decisions), str, "all", 1),
        f'<div class="pair">{order}</div>',
    ]
    boxes = "".join(
        f'<label><input type="checkbox" name="method" value="{escape(m)}" '
        f"checked> {escape(method_label(m) or 'explanation')}</label>"
        for m in methods
    )
    if len(methods) > 1:
        selects += [f"<fieldset><legend>Methods</legend>{boxes}</fieldset>"]
    return (
        '<form id="filters" class="scripted" autocomplete="off">'
        f"{''.join(selects)}"
        '<p id="count" role="status" aria-live="polite"></p></form>'
    )


def _select(name, label, values, label_of, everything=None, least=2):
    """A labelled choice; empty if there is nothing to choose."""
    values = list(values)
    if len(values) < least:
        return ""
    options = "".join(
        f'<option value="{escape(v)}">{escape(label_of(v) or "none")}</option>'
        for v in values
    )
    if everything:
        options = f'<option value="*">{everything}</option>{options}'
    return f'<label>{label} <select name="{name}">{options}</select></label>'


def _page(title, notes, sections):
    """Put the parts together."""
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    script = (STATIC / "page.js").read_text(encoding="utf-8")
    heat = (STATIC / "heat.svg").read_text(encoding="utf-8")
    sections = {name: html for name, html in sections.items() if html}
    links = "".join(
        f'<a href="#{name.lower()}">{name}</a>' for name in sections
    )
    body = "\n".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>\n{html}</section>'
        for name, html in sections.items()
    )
    facts = escape(", ".join(notes))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="'
        f'{policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f"<script>{script}</script></head>\n<body>{heat}\n"
        f"<header><h1>{escape(title)}</h1>"
        + (f'<p class="quiet">{facts}</p>' if facts else "")
        + f'<nav aria-label="Sections">{links}<button id="theme" '
        'class="scripted" type="button">Colours</button></nav></header>\n'
        f"<main>{body}</main></body></html>\n"
    )


def policy(script):
    """What the page may do: run this one script, load nothing.

    Even if a text slipped through unescaped, it could load and run nothing.

    Example
    -------
    >>> policy("1").split("; ")[1]
    "script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"
    """
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    allowed = base64.b64encode(digest).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{allowed}'; "
        "style-src 'unsafe-inline'; img-src data:; media-src data:"
    )
