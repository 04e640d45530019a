"""Methods under conditions, measured and written down: :func:`evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    infer_device,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac import __version__
from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.evaluation.clips import (
    LabelledClips,
    check_classes,
    manifest_clips,
)
from speechbrain_lmac.evaluation.conditions import build_condition
from speechbrain_lmac.evaluation.evaluator import Evaluator, split_key
from speechbrain_lmac.evaluation.examples import ExampleWriter
from speechbrain_lmac.evaluation.journal import Journal
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.comparison import compare_with_lmac
from speechbrain_lmac.report.results import row_of, write_results
from speechbrain_lmac.utils.experiment import on_every_rank

logger = get_logger(__name__)


def evaluate(
    interpreter: Interpreter,
    clips: LabelledClips | DynamicItemDataset,
    settings: EvaluationSettings,
    output_folder: str | Path,
    *,
    others: Mapping[str, Interpreter] | None = None,
    device: str | None = None,
    progressbar: bool = True,
) -> list[dict[str, Any]]:
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
        Closed-set or zero-shot, the latter with its prompts.
    clips : LabelledClips or DynamicItemDataset
        From :func:`speechbrain_lmac.evaluation.test_clips`, or a data set
        with wav, class_string and num_samples.
    settings : EvaluationSettings
        What is evaluated.
    output_folder : str or pathlib.Path
        Created if need be.
    others : dict of str to Interpreter or None
        Those of the methods that are trained interpreters of their own, from
        :func:`speechbrain_lmac.interpreters.loading.load_others`.
    device : str or None
        Where to compute; None for a GPU if there is one.
    progressbar : bool
        Show one.

    Returns
    -------
    list of dict
        The rows of the table.

    Raises
    ------
    UserError
        If a method is unknown for this interpreter, or the clips have
        classes that it does not know.
    """
    trained = interpreter.classifier.trained_name
    methods = settings.methods_of(trained)
    data = _labelled(interpreter, clips)
    others = dict(others or {})
    evaluator = Evaluator(
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
        methods=methods,
        protocols=settings.protocols,
        curve_steps=settings.curve_steps,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device or infer_device(),
        ad_variant=settings.ad_variant,
        decoders={name: other.decoder for name, other in others.items()},
        attribution=settings.attribution,
        heard=settings.heard,
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
            "clips": [[clip["id"], clip["num_samples"]] for clip in data.clips],
            **settings.fingerprint(),
        },
        methods={
            name: fingerprint(others[name].decoder)
            if name in others
            else settings.attribution.get(name)
            for name in methods
        },
    )
    writer = on_every_rank(
        ExampleWriter,
        folder=Path(output_folder) / "examples",
        interpreter=interpreter,
        labels=data.names,
        n_examples=settings.n_examples,
        method=trained,
        settings=journal.settings,
    )
    evaluated = {}
    for condition in settings.conditions:
        items = build_condition(
            condition,
            data.clips,
            data.audio,
            settings.seed,
            speech_folder=settings.speech_folder,
            wham_folder=settings.wham_folder,
            n_mixtures=settings.n_mixtures,
            sample_rate=interpreter.frontend.sample_rate,
            audio=data.audio,
        )
        logger.info("Condition %s: %d clips", condition, len(items))
        on_every_rank(
            writer.start, condition=condition, clips=items, methods=methods
        )
        evaluated[condition] = evaluate_condition(
            evaluator,
            items,
            data.names,
            condition,
            journal,
            writer,
            progressbar,
        )
    facts = {
        "dataset": settings.dataset or data.dataset,
        "mask_domain": interpreter.mask_domain,
        "n_trained": data.n_trained,
    }
    return write_evaluation(evaluated, facts, output_folder)


def _labelled(interpreter, clips):
    """Clips of a data set with what an evaluation must know of them."""
    if isinstance(clips, LabelledClips):
        return clips
    listed = [{"id": name, **entry} for name, entry in clips.data.items()]
    names = interpreter.names
    check_classes(names, listed)
    audio = AudioCache(sample_rate=interpreter.frontend.sample_rate)
    return LabelledClips(listed, names, audio)


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
                "n_clips": scores.n_clips,
                "n_rows": len(scores),
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


def save_examples(hparams, manifests, n_examples, device=None):
    """Sounds and figures of a few clean test clips, after training."""
    if not n_examples:
        return
    interpreter = Interpreter.load(hparams["output_folder"])
    evaluate(
        interpreter,
        LabelledClips(
            manifest_clips(manifests.test, hparams["data_folder"]),
            interpreter.names,
            hparams["audio"],
            n_trained=0,
        ),
        EvaluationSettings(
            methods=["lmac"],
            conditions=["clean"],
            dataset=hparams["dataset"],
            n_examples=n_examples,
            batch_size=hparams["batch_size"],
            seed=hparams["seed"],
        ),
        Path(hparams["output_folder"]) / "interpretations",
        device=device,
    )
