"""The model card of a package: what it is, what for, how well, from what.

Authors
 * The speechbrain_lmac authors 2026
"""

import csv
import io
from pathlib import Path

import ruamel.yaml

from speechbrain_lmac import __version__
from speechbrain_lmac.metrics.table import SPECTRA

METHODS = {
    "lmac": (
        "L-MAC",
        "Paissan, Ravanelli, Subakan, *Listenable Maps for Audio "
        "Classifiers*, ICML 2024, [arXiv 2403.13086]"
        "(https://arxiv.org/abs/2403.13086)",
    ),
    "l2i": (
        "L2I",
        "Parekh, Parekh, Mozharovskyi, d'Alché-Buc, Richard, *Listen to "
        "Interpret*, NeurIPS 2022, [arXiv 2202.11479]"
        "(https://arxiv.org/abs/2202.11479)",
    ),
    "lmac_zs": (
        "LMAC-ZS",
        "Paissan, Della Libera, Ravanelli, Subakan, *Listenable Maps for "
        "Zero-Shot Audio Classifiers*, NeurIPS 2024, [arXiv 2405.17615]"
        "(https://arxiv.org/abs/2405.17615)",
    ),
}
METHODS["lmac_ft"] = ("L-MAC, fine-tuned", METHODS["lmac"][1])
#: What the built-in data set is called.
SYNTHETIC = "synthetic sounds, made by speechbrain_lmac"
MAX_TABLE = 30_000  # characters of a results.md that is taken over
OWN_TEST = (
    "The training's own test, on the clips that it held out; `lmac evaluate` "
    "compares with other methods and under other conditions."
)
USAGE = """\
```python
from speechbrain_lmac.inference import AudioInterpreter
interpreter = AudioInterpreter.from_hparams(source="FOLDER_OR_REPOSITORY")
explanation = interpreter.interpret_file("clip.wav"{prompts})
print(explanation.label, explanation.probability)
explanation.save("explanation")  # wav files, a figure, JSON
```"""
LIMITS = """\
- An interpretation is **not a separation** of sources: it keeps what the
  classifier's decision rests on, which may be a part of a sound, several
  sounds, or background. It sounds as it does because of the classifier.
- It explains this one classifier, for better or worse. It says nothing about
  whether a decision is right, nor about other classifiers.
- Sounds unlike those of the training data are explained less faithfully, and
  no figure above holds for them. Check the masked-in and masked-out
  probabilities that come with each explanation.
- Not meant for decisions about people, and not for surveillance."""


def write_card(path, facts, run_folder):
    """Write a package's README.md, with the hub's front matter.

    Arguments
    ---------
    path : pathlib.Path
        File to write.
    facts : dict
        ``method``, ``kind``, ``mask_domain``, ``sample_rate``, ``labels``
        (or None), ``explains``, ``model`` (class of what is explained) and
        ``data`` (plain hyperparameters about the training data).
    run_folder : pathlib.Path
        Looked into for ``evaluation/results.csv`` or ``results.md``, then for
        the training's own test.
    """
    table = found_metrics(run_folder, facts)
    name, source = METHODS[facts["method"]]
    prompts = ', prompts=["a dog barks", "rain"]' * (not facts["labels"])
    sections = [
        _front_matter(facts, table is not None),
        f"# {name}: listenable explanations of a sound classifier",
        _what(facts, name, source),
        "## How to use\n\n`pip install speechbrain_lmac`, then:\n\n"
        + USAGE.format(prompts=prompts),
        "## How faithful it is\n\n"
        + (table or "Not evaluated yet (`lmac evaluate` does)."),
        f"## Intended use and limits\n\nTo hear what a classifier listened "
        f"to: for research, debugging and teaching.\n\n{LIMITS}",
        f"## Training data\n\n{_data(facts)}",
        "## Licence\n\nThe weights' licence is for whoever publishes them to "
        "state, above in the first lines; mind the licence of the training "
        "data. The code, speechbrain_lmac, is under Apache-2.0.",
        f"Written by speechbrain_lmac {__version__}. Weights are safetensors; "
        "checksums of all files are in `config.json`.",
    ]
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _front_matter(facts, evaluated):
    dataset = facts["data"].get("dataset")
    known = dataset and dataset != SYNTHETIC
    tags = ["audio", "audio-classification", "explainability", "speechbrain"]
    values = {
        "license": "other",
        "license_name": "to-be-stated",
        "library_name": "speechbrain",
        "tags": [*tags, facts["method"].replace("_", "-"), facts["kind"]],
        "datasets": [str(dataset).lower()] if known else [],
        "metrics": [metric.name for metric in SPECTRA] if evaluated else [],
    }
    text = io.StringIO()
    writer = ruamel.yaml.YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.dump(values, text)
    return f"---\n{text.getvalue()}---"


def _what(facts, name, source):
    """First paragraph: what the package is."""
    if facts["labels"]:
        labels = facts["labels"]
        shown = ", ".join(labels[:60]) + ", …" * (len(labels) > 60)
        known = f"Its {len(labels)} classes: {shown}."
    else:
        known = "Its classes are the prompts that you give (zero-shot)."
    domain = {
        "stft": "the bins of the STFT, so that it can be listened to",
        "mel": "the mel bands of the classifier's input",
    }[facts["mask_domain"]]
    return (
        f"{name} ({source}) explains the decisions of a frozen sound "
        f"classifier ({facts['model']}, {facts['sample_rate']} Hz): a decoder "
        "makes from the classifier's hidden maps a mask over the "
        "spectrogram that keeps what the decision rests on, and turns it "
        f"back into sound. The mask is on {domain}. {known}"
    )


def _data(facts):
    """The training data, as the run's hyperparameters tell them."""
    lines = [
        f"- {key}: {value}"
        for key, value in facts["data"].items()
        if value not in (None, [], "")
    ]
    return "\n".join(lines) or "Not noted."


def found_metrics(run_folder, facts):
    """What is known of a run's faithfulness, as Markdown.

    Arguments
    ---------
    run_folder : str or pathlib.Path
        Output folder of a training.
    facts : dict
        As for :func:`write_card`.

    Returns
    -------
    str or None
        Of an evaluation; else of the training's own test; None if there is
        neither.
    """
    asked = (facts["method"], facts["data"].get("dataset"))
    table = metrics_table(Path(run_folder) / "evaluation", *asked)
    if table is None:
        table = metrics_table(Path(run_folder) / "interpretations", *asked)
        table = table and f"{OWN_TEST}\n\n{table}"
    return table


def metrics_table(folder, method, dataset=None):
    """What an evaluation found, as Markdown; None if there is none.

    Arguments
    ---------
    folder : str or pathlib.Path
        Output folder of evaluate.py.
    method : str
        Of the interpreter, such as ``lmac``.
    dataset : str or None
        Of the training, which is spoken of by this name if it is synthetic.

    Returns
    -------
    str or None
        The method's own rows of ``results.csv``, with 95 % intervals; else
        the whole of ``results.md``.
    """
    folder = Path(folder)
    if (folder / "results.csv").is_file():
        with open(folder / "results.csv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        # What is evaluated has the name of its family there.
        family = "lmac_zs" if method == "lmac_zs" else "lmac"
        for name in (method, family):
            own = [row for row in rows if row.get("method") == name]
            if own:
                return _table(own, dataset)
    if (folder / "results.md").is_file():
        text = (folder / "results.md").read_text(encoding="utf-8")
        return text.replace("\n#", "\n###").lstrip("#")[:MAX_TABLE].strip()
    return None


def _table(rows, dataset):
    metrics = [m for m in SPECTRA if rows[0].get(m.name)]
    heads = [metric.title for metric in metrics]
    lines = [
        " | ".join(["| condition | protocol | clips", *heads]) + " |",
        "|---|---|---:" + "|---:" * len(metrics) + "|",
    ]
    for row in rows:
        cells = [row.get(key) or "" for key in ("condition", "protocol")]
        clips = row.get("n_clips") or ""
        if row.get("n_trained") not in (None, "", "0"):
            clips += f" ({row['n_trained']} of them trained on)"
        cells += [clips, *(_cell(row, m) for m in metrics)]
        lines.append("| " + " | ".join(cells).replace("\n", " ") + " |")
    named = rows[0].get("dataset") or "Test data"
    what = f"{dataset if dataset == SYNTHETIC else named}; [95 % intervals]."
    return "\n".join([what, "", *lines])


def _cell(row, metric):
    """A mean and its interval."""
    try:
        mean, low, high = (
            float(row[metric.name + end]) for end in ("", "_low", "_high")
        )
    except (KeyError, TypeError, ValueError):
        return row.get(metric.name) or "–"
    digits = metric.digits
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
