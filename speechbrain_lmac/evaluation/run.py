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
from speechbrain_lmac.classifiers.base import AudioClassifier, fingerprint
from speechbrain_lmac.classifiers.loading import front_end_facts
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.evaluation.clips import LabelledClips, check_classes
from speechbrain_lmac.evaluation.conditions import (
    build_condition,
)
from speechbrain_lmac.evaluation.evaluator import Evaluator, split_key
from speechbrain_lmac.evaluation.examples import ExampleWriter
from speechbrain_lmac.evaluation.journal import Journal
from speechbrain_lmac.evaluation.judge import Judge
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import BaseFrontEnd
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.comparison import compare_with
from speechbrain_lmac.report.results import row_of, write_results
from speechbrain_lmac.utils.distributed import on_every_rank

logger = get_logger(__name__)


def evaluate(
    interpreter: Interpreter,
    clips: LabelledClips | DynamicItemDataset,
    settings: EvaluationSettings,
    output_folder: str | Path,
    *,
    others: Mapping[str, Interpreter] | None = None,
    judge: tuple[BaseFrontEnd, AudioClassifier] | None = None,
    device: str | None = None,
    progressbar: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate methods under conditions; write tables, values and sounds.

    Writes ``per_clip_<condition>_<method>.csv`` and, from those alone,
    ``results.csv``, ``results.md``, ``results.tex``, ``comparisons.csv``
    (paired tests of its method against each other) and ``figures/``; besides
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
        :func:`speechbrain_lmac.interpreters.load_others`.
    judge : tuple of (BaseFrontEnd, AudioClassifier) or None
        Another classifier that hears the explanations, too, from
        :func:`speechbrain_lmac.evaluation.load_judge`.
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
        If a method is unknown for this interpreter, the clips have classes
        that it does not know, or the judge knows none of them.
    """
    data = _labelled(interpreter, clips)
    classifier: Any = interpreter.classifier
    methods = settings.methods_of(interpreter.method)
    rate = interpreter.frontend.sample_rate
    other = Judge(*judge, data.names, rate) if judge else None
    decoders = {name: each.decoder for name, each in (others or {}).items()}
    grid = _grid(interpreter.frontend)
    frontends = {
        name: each.frontend
        for name, each in (others or {}).items()
        if _grid(each.frontend) != grid
    }
    evaluator = Evaluator(
        interpreter.frontend,
        classifier,
        interpreter.decoder,
        methods,
        settings,
        decoders,
        device or infer_device(),
        other,
        frontends,
    )
    journal = on_every_rank(
        Journal,
        folder=output_folder,
        common={
            "version": __version__,
            **classifier.facts(),
            "classifier": fingerprint(classifier),
            "decoder": fingerprint(interpreter.decoder),
            "method": interpreter.method,
            "mask_domain": interpreter.mask_domain,
            "clips": [[clip["id"], clip["num_samples"]] for clip in data.clips],
            **settings.fingerprint(),
            **({} if other is None else {"judge": other.facts()}),
        },
        methods={
            name: fingerprint(decoders[name])
            if name in decoders
            else settings.attribution.get(name)
            for name in methods
        },
    )
    files = {clip["id"]: clip["wav"] for clip in data.clips}
    writer = on_every_rank(
        ExampleWriter,
        folder=Path(output_folder) / "examples",
        frontend=interpreter.frontend,
        classifier=classifier,
        labels=data.names,
        n_examples=settings.n_examples,
        method=interpreter.method,
        settings=journal.settings,
        warn=lambda clip_id: data.audio.load(files[clip_id]).note,
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
            sample_rate=rate,
        )
        logger.info("Condition %s: %d clips", condition, len(items))
        on_every_rank(
            writer.start, condition=condition, clips=items, methods=methods
        )
        evaluated[condition] = _evaluate_condition(
            evaluator, condition, items, data, journal, writer, progressbar
        )
    ddp_barrier()  # all examples are written
    facts = {
        "dataset": settings.dataset or data.dataset,
        "mask_domain": interpreter.mask_domain,
        "n_trained": data.n_trained,
    }
    return _write(evaluated, facts, interpreter.method, output_folder)


def _grid(frontend):
    """What the masks of two front ends must share to be masks of either."""
    return frontend.mask_domain, front_end_facts(frontend)


def _labelled(interpreter, clips):
    """Clips of a data set with what an evaluation must know of them."""
    if isinstance(clips, LabelledClips):
        return clips
    listed = [{"id": name, **entry} for name, entry in clips.data.items()]
    check_classes(interpreter.names, listed)
    audio = AudioCache(sample_rate=interpreter.frontend.sample_rate)
    return LabelledClips(listed, interpreter.names, audio)


def _evaluate_condition(
    evaluator, condition, items, data, journal, writer, progressbar
):
    """Score a condition's clips by row, but what the journal has."""
    done = journal.load(condition)
    if done:
        known = sum(len(stats) == len(items) for stats in done.values())
        text = "%d finished rows of an earlier run are kept; %d go on"
        logger.info(text, known, len(done) - known)
    stats = evaluator.evaluate(
        items,
        {name: index for index, name in enumerate(data.names)},
        contaminated=condition != "clean",
        on_scored=writer,
        progressbar=progressbar,
        done=done,
        on_batch=lambda rows: journal.save(condition, rows),
        revisit=writer.wanted,
    )
    journal.save(condition, stats, now=True)
    return stats


def _write(evaluated, facts, trained, output_folder):
    """Tables, tests and figures from per-clip values by condition and row."""
    rows, compared = [], []
    for condition, stats in evaluated.items():
        for key, scores in stats.items():
            method, protocol = split_key(key)
            meta = {
                **facts,
                "condition": condition,
                "method": method,
                "protocol": protocol,
                "n_clips": scores.n_clips,
                "n_rows": len(scores),
            }
            rows.append(row_of(meta, scores))
        meta = {**facts, "condition": condition}
        compared += compare_with(trained, meta, stats)
    if if_main_process():
        title = f"Explanations of {facts['dataset']}"
        write_results(rows, compared, evaluated, output_folder, title)
    ddp_barrier()
    return rows
