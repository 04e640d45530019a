"""The model card of a package: what it is, what for, how well, from what."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from speechbrain_lmac import __version__
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.table import SPECTRA
from speechbrain_lmac.report.columns import cell, method_label, present_metrics
from speechbrain_lmac.report.render import markdown_table, plain_markdown

ARXIV = "https://arxiv.org/abs/"
#: Papers by method: authors, title, venue, number on arXiv.
PAPERS = {
    "lmac": "Paissan et al., *Listenable Maps for Audio Classifiers*, ICML "
    "2024, 2403.13086",
    "l2i": "Parekh et al., *Listen to Interpret*, NeurIPS 2022, 2202.11479",
    "lmac_zs": "Paissan et al., *Listenable Maps for Zero-Shot Audio "
    "Classifiers*, NeurIPS 2024, 2405.17615",
}
#: What the built-in data set is called.
SYNTHETIC = "synthetic sounds, made by speechbrain_lmac"
MAX_CLASSES = 60
OWN_TEST = (
    "The training's own test, on the clips that it held out; `lmac evaluate` "
    "compares with other methods and under other conditions."
)
TEMPLATE = Path(__file__).with_name("card.md")


def write_card(
    folder: Path, config: Mapping[str, Any], interpreter: Interpreter
) -> None:
    """Write a package's README.md, with the hub's front matter.

    The figures are those of the evaluation in the output folder of the
    training, or else of the training's own test.
    """
    labels, data, method = config["labels"], config["data"], config["method"]
    dataset, run = data.get("dataset"), interpreter.hparams.get("output_folder")
    metrics = run and _found_metrics(Path(run), method, dataset)
    classes = "Its classes are the prompts that you give (zero-shot)."
    if labels:
        shown = ", ".join(labels[:MAX_CLASSES])
        more = ", …" * (len(labels) > MAX_CLASSES)
        classes = f"Its {len(labels)} classes: {shown}{more}."
    tags = ["audio", "audio-classification", "explainability", "speechbrain"]
    known = dataset not in (None, SYNTHETIC)
    front = ModelCardData(
        license="other",
        license_name="to-be-stated",
        library_name="speechbrain",
        tags=[*tags, method.replace("_", "-")],
        datasets=[str(dataset).lower()] if known else None,
        metrics=[metric.name for metric in SPECTRA] if metrics else None,
    )
    text = TEMPLATE.read_text(encoding="utf-8").format(
        front=front.to_yaml(),
        name=method_label(method),
        source=_paper(method.removesuffix("_ft")),
        model=(config.get("classifier") or config["encoder"])["class"],
        sample_rate=interpreter.frontend.sample_rate,
        mask_domain=interpreter.mask_domain,
        classes=classes,
        prompts="" if labels else ', prompts=["a dog barks", "rain"]',
        metrics=metrics or "Not evaluated yet (`lmac evaluate` does).",
        data="\n".join(f"- {k}: {v}" for k, v in data.items()) or "Not noted.",
        version=__version__,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _paper(method):
    text, _, number = PAPERS[method].rpartition(", ")
    return f"{text}, [arXiv {number}]({ARXIV}{number})"


def _found_metrics(run, method, dataset):
    """What an evaluation, or the training's own test, found; or None."""
    table = _table(run / "evaluation/results.csv", method, dataset)
    own = table or _table(run / "interpretations/results.csv", method, dataset)
    return table or (own and f"{OWN_TEST}\n\n{own}")


def _table(path, method, dataset):
    """A method's own rows of a ``results.csv`` as Markdown, or None."""
    if not path.is_file():
        return None
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # What is evaluated has the name of its family there.
    names = [row.get("method") for row in rows]
    name = method if method in names else method.removesuffix("_ft")
    rows = [row for row in rows if row.get("method") == name]
    metrics = present_metrics(rows, SPECTRA)
    head = ["condition", "protocol", "clips", *(m.title for m in metrics)]
    lines = []
    for row in rows:
        clips = row.get("n_clips") or ""
        if row.get("n_trained") not in (None, "", "0"):
            clips += f" ({row['n_trained']} of them trained on)"
        cells = [plain_markdown(row.get(key) or "") for key in head[:2]]
        numbers = (" ".join(cell(row, m)[:2]).strip() for m in metrics)
        lines.append([*cells, clips, *numbers])
    named = dataset if dataset == SYNTHETIC else rows and rows[0].get("dataset")
    title = f"{named or 'Test data'}; [95 % intervals]."
    return (
        "\n".join([title, "", *markdown_table(head, lines)]) if rows else None
    )
