"""The model card of a package: what it is, what for, how well, from what."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from speechbrain_lmac import __version__
from speechbrain_lmac.metrics.table import SPECTRA
from speechbrain_lmac.report.columns import cell, method_label, present_metrics

LMAC = (
    "Paissan, Ravanelli, Subakan, *Listenable Maps for Audio Classifiers*, "
    "ICML 2024, [arXiv 2403.13086](https://arxiv.org/abs/2403.13086)"
)
SOURCES = {
    "lmac": LMAC,
    "lmac_ft": LMAC,
    "l2i": "Parekh, Parekh, Mozharovskyi, d'Alché-Buc, Richard, *Listen to "
    "Interpret*, NeurIPS 2022, [arXiv 2202.11479]"
    "(https://arxiv.org/abs/2202.11479)",
    "lmac_zs": "Paissan, Della Libera, Ravanelli, Subakan, *Listenable Maps "
    "for Zero-Shot Audio Classifiers*, NeurIPS 2024, [arXiv 2405.17615]"
    "(https://arxiv.org/abs/2405.17615)",
}
#: What the built-in data set is called.
SYNTHETIC = "synthetic sounds, made by speechbrain_lmac"
MAX_CLASSES = 60
TEMPLATE = Path(__file__).with_name("card.md")


def write_card(
    folder: Path, facts: Mapping[str, Any], run: Path | None
) -> None:
    """Write a package's README.md, with the hub's front matter.

    ``facts`` are those of ``config.json``. The figures are those of the
    evaluation in the folder ``run``, or else of the training's own test.
    """
    labels, data = facts["labels"], facts["data"]
    method, dataset = facts["method"], data.get("dataset")
    metrics = run and _found_metrics(run, method, dataset)
    classes = "Its classes are the prompts that you give (zero-shot)."
    if labels:
        shown = ", ".join(labels[:MAX_CLASSES])
        more = ", …" * (len(labels) > MAX_CLASSES)
        classes = f"Its {len(labels)} classes: {shown}{more}."
    tags = ["audio", "audio-classification", "explainability", "speechbrain"]
    front = ModelCardData(
        license="other",
        license_name="to-be-stated",
        library_name="speechbrain",
        tags=[*tags, method.replace("_", "-")],
        datasets=[str(dataset).lower()]
        if dataset not in (None, SYNTHETIC)
        else None,
        metrics=[metric.name for metric in SPECTRA] if metrics else None,
    )
    text = TEMPLATE.read_text(encoding="utf-8").format(
        front=front.to_yaml(),
        name=method_label(method),
        source=SOURCES[method],
        model=facts["model"],
        sample_rate=facts["sample_rate"],
        mask_domain=facts["mask_domain"],
        classes=classes,
        prompts="" if labels else ', prompts=["a dog barks", "rain"]',
        metrics=metrics or "Not evaluated yet (`lmac evaluate` does).",
        data="\n".join(f"- {k}: {v}" for k, v in data.items()) or "Not noted.",
        version=__version__,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _found_metrics(run, method, dataset):
    """What an evaluation, or the training's own test, found; or None."""
    table = _table(run / "evaluation/results.csv", method, dataset)
    if table is None:
        table = _table(run / "interpretations/results.csv", method, dataset)
        table = table and (
            "The training's own test, on the clips that it held out; `lmac "
            "evaluate` compares with other methods and under other "
            f"conditions.\n\n{table}"
        )
    return table


def _table(path, method, dataset):
    """A method's own rows of a ``results.csv`` as Markdown, or None."""
    if not path.is_file():
        return None
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # What is evaluated has the name of its family there.
    family = "lmac_zs" if method == "lmac_zs" else "lmac"
    rows = [row for row in rows if row.get("method") == method] or [
        row for row in rows if row.get("method") == family
    ]
    metrics = present_metrics(rows, SPECTRA)
    if not metrics:
        return None
    lines = [
        "| condition | protocol | clips | "
        + " | ".join(metric.title for metric in metrics)
        + " |",
        "|---|---|---:" + "|---:" * len(metrics) + "|",
    ]
    for row in rows:
        cells = [row.get(name) or "" for name in ("condition", "protocol")]
        clips = row.get("n_clips") or ""
        if row.get("n_trained") not in (None, "", "0"):
            clips += f" ({row['n_trained']} of them trained on)"
        cells.append(clips)
        cells += [" ".join(cell(row, m)[:2]).strip() or "–" for m in metrics]
        lines.append(f"| {' | '.join(cells)} |".replace("\n", " "))
    named = dataset if dataset == SYNTHETIC else rows[0].get("dataset")
    title = f"{named or 'Test data'}; [95 % intervals]."
    return "\n".join([title, "", *lines])
