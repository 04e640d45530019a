"""Whole jobs on a trained interpreter: evaluate it, save what it says.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import pandas
from speechbrain.dataio.dataio import load_data_json
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.conditions import (
    build_condition,
    check_conditions,
)
from speechbrain_lmac.data.datasets import read_label_encoder
from speechbrain_lmac.evaluation import Evaluator
from speechbrain_lmac.interpreters import load_interpreter
from speechbrain_lmac.methods import check_methods, check_protocols
from speechbrain_lmac.metrics.comparison import compare, holm
from speechbrain_lmac.report.figures import save_explanation_figure
from speechbrain_lmac.report.page import Example, write_page
from speechbrain_lmac.report.sounds import safe_name, save_explanation
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_markdown,
)

logger = get_logger(__name__)

#: Metrics on which L-MAC is compared with the other methods.
COMPARED = ("AI", "AD", "AG", "FF", "Fid-In")


def manifest_clips(manifest, data_folder):
    """The clips of a manifest, as :func:`build_condition` wants them.

    Arguments
    ---------
    manifest : str or pathlib.Path
        JSON manifest of one split.
    data_folder : str or pathlib.Path
        What ``{data_root}`` stands for in it.

    Returns
    -------
    list of dict
        With id, wav, class_string, num_samples.
    """
    entries = load_data_json(manifest, {"data_root": str(data_folder)})
    return [{"id": clip_id, **entry} for clip_id, entry in entries.items()]


class ExampleWriter:
    """Saves sounds and figures of the first clips of a condition.

    Arguments
    ---------
    folder : str or pathlib.Path
        One folder per clip is made in it.
    interpreter : Interpreter
        Names the front end and the mask's domain.
    labels : list of str
        Class names by index.
    n_examples : int
        Clips per condition; -1 for all.
    method : str
        Whose explanations are saved.
    """

    def __init__(self, folder, interpreter, labels, n_examples, method="lmac"):
        self.folder = Path(folder)
        self.frontend = interpreter.frontend
        self.mask_domain = interpreter.mask_domain
        self.labels = labels
        self.n_examples = n_examples
        self.method = method
        self.examples = []

    def start(self, condition, clips):
        """Choose the clips of a condition: spread over the classes."""
        self.condition = condition
        ordered = sorted(
            range(len(clips)),
            key=lambda i: sum(
                c.class_string == clips[i].class_string for c in clips[:i]
            ),
        )
        count = len(clips) if self.n_examples < 0 else self.n_examples
        self.wanted = {clips[i].id for i in ordered[:count]}

    def __call__(self, method, clip, k, mixture, scored):
        """Called by the evaluator for every clip of every method."""
        if method != self.method or clip.id not in self.wanted:
            return
        target = int(scored.probs[k].argmax())
        p, p_in, p_out = (
            float(probs[k, target])
            for probs in (
                scored.probs,
                scored.masked_in_probs,
                scored.masked_out_probs,
            )
        )
        label = self.labels[target]
        sounds = {
            "original": mixture.mixture.cpu(),
            "explanation": scored.masked_in_wavs[k].cpu(),
            "masked_out": scored.masked_out_wavs[k].cpu(),
        }
        facts = {
            "clip_id": clip.id,
            "condition": self.condition,
            "true_label": clip.class_string,
            "label": label,
            "probability": p,
            "probability_masked_in": p_in,
            "probability_masked_out": p_out,
        }
        folder = self.folder / self.condition / safe_name(clip.id)
        save_explanation(
            folder,
            **sounds,
            sample_rate=self.frontend.sample_rate,
            label=label,
            probabilities={
                "input": p,
                "masked_in": p_in,
                "masked_out": p_out,
            },
        )
        figure = folder / "explanation.png"
        self._draw(figure, mixture.mixture, scored.mask[k], facts)
        self.examples.append(
            Example(
                **facts,
                figure_png=figure,
                sample_rate=self.frontend.sample_rate,
                **sounds,
            )
        )

    def _draw(self, path, wav, mask, facts):
        wav = wav.to(mask.device)
        view = self.frontend(wav[None]).log_magnitude
        if self.mask_domain == "mel":
            view = self.frontend.mel(view)
        view, mask = view[0].cpu(), mask.cpu()
        save_explanation_figure(
            path,
            view,
            mask,
            mask * view,
            self.frontend.sample_rate,
            1000 * self.frontend.hop_samples / self.frontend.sample_rate,
            title=f"{facts['clip_id']} ({self.condition})",
            label=facts["label"],
            probs_text=(
                f"p = {facts['probability']:.2f}, masked-in "
                f"{facts['probability_masked_in']:.2f}, masked-out "
                f"{facts['probability_masked_out']:.2f}"
            ),
            frequency_axis=("mel" if self.mask_domain == "mel" else "linear"),
        )


def evaluate_interpreter(
    interpreter,
    clips,
    output_folder,
    *,
    audio,
    load=None,
    conditions=("clean",),
    methods=("lmac",),
    protocols=("published",),
    curve_steps=0,
    dataset="ESC-50",
    n_examples=0,
    batch_size=16,
    seed=1234,
    n_mixtures=2,
    speech_folder=None,
    wham_folder=None,
    device=None,
    progressbar=True,
):
    """Evaluate methods under conditions; write table, values and sounds.

    Writes ``results.csv``, ``results.md``, ``comparisons.csv`` (paired tests
    of L-MAC against each method), ``per_clip_<condition>_<method>.csv``,
    ``examples/`` and ``report.html`` into the output folder.

    Arguments
    ---------
    interpreter : Interpreter
        From :func:`speechbrain_lmac.interpreters.load_interpreter`.
    clips : list of dict
        From :func:`manifest_clips`.
    output_folder : str or pathlib.Path
        Created if need be.
    audio : callable
        Path -> waveform, an ``AudioCache``.
    load : callable or None
        How a clip's path is loaded, if not by ``audio``.
    conditions, methods, protocols : sequence of str
        What to evaluate.
    dataset : str
        Name for the table.
    n_examples : int
        Clips per condition with sounds and figures; -1 for all.
    curve_steps, batch_size, seed, n_mixtures, speech_folder, wham_folder
        As in ``evaluate.yaml``.
    device : str or None
        Where to compute.
    progressbar : bool
        Show one.

    Returns
    -------
    list of dict
        The rows of the table.
    """
    check_methods(methods)
    check_protocols(protocols)
    check_conditions(conditions, speech_folder, wham_folder)
    output_folder = Path(output_folder)
    output_folder.mkdir(parents=True, exist_ok=True)
    names = class_names(interpreter, clips)
    evaluator = Evaluator(
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
        interpreter.mask_domain,
        methods,
        protocols,
        curve_steps,
        batch_size,
        seed,
        device or infer_device(),
    )
    writer = ExampleWriter(
        output_folder / "examples", interpreter, names, n_examples
    )
    rows, compared = [], []
    for condition in conditions:
        items = build_condition(
            condition,
            clips,
            load or audio,
            seed,
            speech_folder=speech_folder,
            wham_folder=wham_folder,
            n_mixtures=n_mixtures,
            sample_rate=interpreter.frontend.sample_rate,
            audio=audio,
        )
        logger.info("Condition %s: %d clips", condition, len(items))
        writer.start(condition, items)
        stats = evaluator.evaluate(
            items,
            {name: index for index, name in enumerate(names)},
            condition != "clean",
            writer,
            progressbar,
        )
        meta = {
            "dataset": dataset,
            "condition": condition,
            "mask_domain": interpreter.mask_domain,
            "n_clips": len(items),
        }
        rows += _rows(meta, stats, output_folder)
        compared += compare_with_lmac(meta, stats)
    if compared:
        path = output_folder / "comparisons.csv"
        pandas.DataFrame(compared).to_csv(path, index=False)
    _write(rows, writer.examples, output_folder, dataset)
    return rows


def class_names(interpreter, clips):
    """Class names by index; the clips must know no others."""
    encoder = read_label_encoder(interpreter.label_file)
    names = [encoder.ind2lab[k] for k in sorted(encoder.ind2lab)]
    unknown = sorted({c["class_string"] for c in clips} - set(names))
    if unknown:
        raise UserError(
            "The test clips have classes that the classifier does not know: "
            f"{', '.join(unknown[:10])}. It knows {', '.join(names)}. Choose "
            "the data set that the interpreter was trained on, or `classes`."
        )
    return names


def compare_with_lmac(meta, stats):
    """Paired tests of L-MAC against every other method.

    Holm's correction counts the methods and metrics of a condition and
    protocol as one family; ``all_ones`` and ``ideal`` are yardsticks and not
    compared.

    Arguments
    ---------
    meta : dict
        Columns that the rows begin with.
    stats : dict of str to ClipStats
        Of :meth:`Evaluator.evaluate`.

    Returns
    -------
    list of dict
        protocol, method, metric, difference (positive: L-MAC is better), low,
        high, p, n, p_holm.
    """
    families = {}
    for key, other in stats.items():
        method, _, protocol = key.partition("@")
        ours = stats.get(f"lmac@{protocol}" if protocol else "lmac")
        if ours is None or method in ("lmac", "all_ones", "ideal"):
            continue
        for metric in COMPARED:
            result = compare(ours.values(metric), other.values(metric), metric)
            row = {
                **meta,
                "protocol": protocol or "published",
                "method": method,
                "metric": metric,
                **result._asdict(),
            }
            families.setdefault(row["protocol"], []).append(row)
    for family in families.values():
        adjusted = holm([row["p"] for row in family])
        for row, p_holm in zip(family, adjusted, strict=True):
            row["p_holm"] = float(p_holm)
    return [row for family in families.values() for row in family]


def _rows(meta, stats, output_folder):
    rows = []
    for method, clip_stats in stats.items():
        clip_stats.to_csv(
            output_folder / f"per_clip_{meta['condition']}_{method}.csv"
        )
        summaries = clip_stats.summaries()
        accuracy = summaries.pop("accuracy").mean
        method, _, protocol = method.partition("@")
        facts = {
            **meta,
            "method": method,
            "protocol": protocol or "published",
            "accuracy": accuracy,
        }
        rows.append(row_from_summaries(facts, summaries))
    return rows


def _write(rows, examples, output_folder, dataset):
    title = f"Explanations of {dataset}"
    write_csv(rows, output_folder / "results.csv")
    write_markdown(rows, output_folder / "results.md", title)
    if examples:
        write_page(output_folder / "report.html", rows, examples, title)
    print(format_screen(rows))
    logger.info("Results in %s", output_folder)


def save_examples(hparams, manifests, n_examples, device=None):
    """Sounds and figures of a few clean test clips, after training."""
    if not n_examples:
        return
    interpreter = load_interpreter(
        hparams["output_folder"], data_folder=hparams["data_folder"]
    )
    evaluate_interpreter(
        interpreter,
        manifest_clips(manifests.test, hparams["data_folder"]),
        Path(hparams["output_folder"]) / "interpretations",
        audio=hparams["audio"],
        dataset=hparams["dataset"],
        n_examples=n_examples,
        batch_size=hparams["batch_size"],
        seed=hparams["seed"],
        device=device,
    )
