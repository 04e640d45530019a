"""Whole jobs on a trained interpreter: evaluate it, save what it says.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain.dataio.dataio import load_data_json
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    infer_device,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac import __version__
from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.evaluation.conditions import (
    build_condition,
    check_conditions,
)
from speechbrain_lmac.evaluation.evaluator import Evaluator, split_key
from speechbrain_lmac.evaluation.examples import ExampleWriter
from speechbrain_lmac.evaluation.journal import Journal
from speechbrain_lmac.evaluation.methods import check_methods, check_protocols
from speechbrain_lmac.features.lengths import for_any_length
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.comparison import compare_with_lmac
from speechbrain_lmac.report.results import row_of, write_results
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import on_every_rank

logger = get_logger(__name__)


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
    others=None,
    attribution=None,
    ad_variant="definition",
    heard=True,
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
    names=None,
):
    """Evaluate methods under conditions; write tables, values and sounds.

    Writes ``per_clip_<condition>_<method>.csv`` and, from those alone,
    ``results.csv``, ``results.md``, ``results.tex``, ``comparisons.csv``
    (paired tests of L-MAC against each method) and ``figures/``; besides
    ``examples/`` and ``report.html``. Rows that an earlier, perhaps
    interrupted, evaluation left in the folder under the same settings are
    taken up, not measured again.

    Arguments
    ---------
    interpreter : Interpreter
        A trained one.
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
    others : dict of str to Interpreter or None
        Those of the methods that are trained interpreters of their own, from
        :func:`speechbrain_lmac.interpreters.loading.load_others`.
    attribution : dict of str to dict or None
        Options of attribution methods by name.
    ad_variant, heard, curve_steps : object
        As for :class:`Evaluator`.
    dataset : str
        Name for the table.
    n_examples : int
        Clips per condition with every method's sounds; -1 for all.
    batch_size, seed : int
        As for :class:`Evaluator`.
    n_mixtures, speech_folder, wham_folder : object
        As in ``evaluate.yaml``.
    device : str or None
        Where to compute.
    progressbar : bool
        Show one.
    names : list of str or None
        Class names by index for a zero-shot classifier: those of its
        prompts. None: those of the interpreter.

    Returns
    -------
    list of dict
        The rows of the table.
    """
    interpreter = interpreter._replace(
        frontend=for_any_length(interpreter.frontend)
    )
    trained = interpreter.classifier.trained_name
    check_methods(methods, trained)
    check_protocols(protocols)
    check_conditions(conditions, speech_folder, wham_folder)
    names = class_names(interpreter, clips, names)
    others = others or {}
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
        ad_variant,
        {name: other.decoder for name, other in others.items()},
        attribution,
        heard,
    )
    journal = on_every_rank(
        Journal,
        folder=output_folder,
        common={
            "version": __version__,
            **interpreter.classifier.facts(),
            "classifier": fingerprint(interpreter.classifier),
            "decoder": fingerprint(interpreter.decoder),
            "mask_domain": interpreter.mask_domain,
            "clips": [[clip["id"], clip["num_samples"]] for clip in clips],
            "curve_steps": curve_steps,
            "batch_size": batch_size,
            "seed": seed,
            "n_mixtures": n_mixtures,
            "ad_variant": ad_variant,
            "heard": heard,
            "speech_folder": speech_folder and str(speech_folder),
            "wham_folder": wham_folder and str(wham_folder),
        },
        methods={
            name: fingerprint(others[name].decoder)
            if name in others
            else (attribution or {}).get(name)
            for name in methods
        },
    )
    writer = on_every_rank(
        ExampleWriter,
        folder=Path(output_folder) / "examples",
        interpreter=interpreter,
        labels=names,
        n_examples=n_examples,
        method=trained,
        settings=journal.settings,
    )
    evaluated = {}
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
        on_every_rank(
            writer.start, condition=condition, clips=items, methods=methods
        )
        evaluated[condition] = evaluate_condition(
            evaluator, items, names, condition, journal, writer, progressbar
        )
    facts = {"dataset": dataset, "mask_domain": interpreter.mask_domain}
    return write_evaluation(evaluated, facts, output_folder)


def evaluate_condition(
    evaluator, items, names, condition, journal, writer, progressbar
):
    """Score a condition's clips, what the journal holds already excepted.

    Arguments
    ---------
    evaluator : Evaluator
        Scores.
    items : list of ConditionClip
        The clips.
    names : list of str
        Class names by index.
    condition : str
        The condition's name.
    journal : Journal
        Remembers.
    writer : ExampleWriter
        Sees every clip; it has been told of the condition.
    progressbar : bool
        Show one.

    Returns
    -------
    dict of str to ClipStats
        By row, clips in the order of ``items``' batches.
    """
    done = journal.load(condition)
    known = sum(len(stats) == len(items) for stats in done.values())
    if done:
        logger.info(
            "%d finished rows of an earlier run are kept; %d go on",
            known,
            len(done) - known,
        )
    stats = evaluator.evaluate(
        items,
        {name: index for index, name in enumerate(names)},
        condition != "clean",
        writer,
        progressbar,
        done,
        lambda rows: journal.save(condition, rows),
        writer.wanted,
    )
    journal.save(condition, stats, now=True)
    return stats


def write_evaluation(evaluated, facts, output_folder):
    """Tables, tests and figures from the per-clip values of an evaluation.

    Arguments
    ---------
    evaluated : dict of str to (dict of str to ClipStats)
        By condition and row.
    facts : dict
        ``dataset`` and ``mask_domain``.
    output_folder : str or pathlib.Path
        Where to.

    Returns
    -------
    list of dict
        The rows.
    """
    rows, compared = [], []
    for condition, stats in evaluated.items():
        for key, scores in stats.items():
            method, protocol = split_key(key)
            meta = {
                **facts,
                "condition": condition,
                "n_clips": len(scores),
            }
            named = {"method": method, "protocol": protocol}
            rows.append(row_of({**meta, **named}, scores))
        compared += compare_with_lmac(meta, stats)
    ddp_barrier()  # all examples are written
    if if_main_process():
        write_results(
            rows,
            compared,
            evaluated,
            output_folder,
            f"Explanations of {facts['dataset']}",
        )
    ddp_barrier()
    return rows


def class_names(interpreter, clips, names=None):
    """Class names by index; the clips must know no others."""
    names = names or interpreter.names
    unknown = sorted({c["class_string"] for c in clips} - set(names))
    if unknown:
        raise UserError(
            "The test clips have classes that the classifier does not know: "
            f"{', '.join(unknown[:10])}. It knows {', '.join(names)}. Choose "
            "the data set that the interpreter was trained on, or `classes`."
        )
    return names


def save_examples(hparams, manifests, n_examples, device=None):
    """Sounds and figures of a few clean test clips, after training."""
    if not n_examples:
        return
    interpreter = Interpreter.load(hparams["output_folder"])
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
