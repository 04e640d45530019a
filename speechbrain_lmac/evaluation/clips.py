"""Which clips an interpreter is evaluated on, and what their classes are.

A training knows its split: what it held out is tested. Clips that it was
trained on are told from others by the manifests in its ``save`` folder.
"""

from __future__ import annotations

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.captions.prompts import (
    HELD_OUT_TEMPLATES,
    class_key,
)
from speechbrain_lmac.data.labelled import (
    LAYOUTS,
    layout_name,
    listed,
    prepare_labelled,
)
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.manifests import manifest_clips
from speechbrain_lmac.evaluation.zero_shot import prompts_of
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import on_every_rank

logger = get_logger(__name__)


class LabelledClips(NamedTuple):
    """Clips of a labelled data set, and what an evaluation must know of them.

    Attributes
    ----------
    clips : list of dict
        With id, wav (path), class_string and num_samples.
    names : list of str
        Class names by the classifier's index.
    audio : AudioCache
        Loads a path at the classifier's sample rate.
    n_trained : int or None
        How many of the clips the interpreter was trained or validated on;
        None if it does not know.
    train : list of dict
        Training clips, if they were asked for.
    dataset : str
        What tables call the data.
    """

    clips: list[dict]
    names: list[str]
    audio: AudioCache
    n_trained: int | None = None
    train: list[dict] = []  # noqa: RUF012  # never changed
    dataset: str = "test clips"


def test_clips(
    interpreter: Interpreter,
    save_folder: str | Path,
    *,
    data_folder: str | Path,
    layout: str | None = None,
    labels_file: str | Path | None = None,
    test_fold_nums: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    dataset: str | None = None,
    prompts: Mapping[str, str] | None = None,
    templates: Sequence[str] | None = None,
    cache_folder: str | Path | None = None,
    skip_broken_audio: bool = False,
    with_train: bool = False,
) -> LabelledClips:
    """The labelled clips that an interpreter is to be evaluated on.

    Of the data set of the training these are the clips that it held out: its
    test folds, or, if the same sounds come in another layout, those that it
    was neither trained nor validated on. Of other data they are all clips, and
    of a model of :func:`load_model` all whose classes it knows by name.

    Arguments
    ---------
    interpreter : Interpreter
        Closed-set or zero-shot; the latter gets the classes as prompts.
    save_folder : str or pathlib.Path
        Receives the manifests.
    data_folder : str or pathlib.Path
        The data set.
    layout : str or None
        As for :func:`speechbrain_lmac.data.labelled.prepare_labelled`; None
        for that of the training.
    labels_file : str, pathlib.Path or None
        The table of layout csv.
    test_fold_nums : sequence of int or None
        Folds to test on, whatever the training held out.
    classes : sequence of str or None
        Some of the data's classes.
    dataset : str or None
        What tables call the data; None for its own name.
    prompts : dict of str to str or None
        Zero-shot: class -> prompt, where it is not the class's name.
    templates : sequence of str or None
        Zero-shot: what the prompts are put into.
    cache_folder : str, pathlib.Path or None
        Decoded clips.
    skip_broken_audio : bool
        Whether to go on without clips that cannot be read.
    with_train : bool
        Whether to list the clips of the training folds, too.

    Returns
    -------
    LabelledClips

    Raises
    ------
    UserError
        If the data cannot be used, their classes are not the classifier's,
        or nothing is left to test on.
    """
    trained = interpreter.hparams
    loaded = not trained and interpreter.method in ATTRIBUTIONS
    layout = layout_name(layout or trained.get("layout") or "esc50")
    given = {"data_folder": data_folder, "labels_file": labels_file}
    same = _same_data(interpreter, layout, given)
    if same and labels_file is None:
        given["labels_file"] = trained.get("labels_file")
    if test_fold_nums:
        _check_folds_known(trained, layout, given)
    audio = AudioCache(cache_folder, interpreter.frontend.sample_rate)
    manifests = on_every_rank(
        prepare_labelled,
        layout=layout,
        **given,
        save_folder=save_folder,
        train_fold_nums=trained["train_fold_nums"] if with_train else None,
        valid_fold_nums=None,
        test_fold_nums=test_fold_nums
        or ("all" if loaded else _folds(interpreter, layout, same)),
        classes=classes or (trained.get("classes") if same else None),
        audio=audio,
        skip_broken_audio=skip_broken_audio,
        split=trained.get("split"),
    )
    clips = manifest_clips(manifests.test, data_folder)
    seen = _seen(interpreter, clips, data_folder)
    if seen and not test_fold_nums and not same:
        clips, seen = _held_out(clips, seen), []
    if interpreter.zero_shot:
        names = list(manifests.class_names)
        templates = list(templates or HELD_OUT_TEMPLATES[:1])
        interpreter.set_prompts(prompts_of(names, prompts), templates)
    else:
        names = interpreter.names
    if loaded:
        clips = known_clips(names, clips)
    train = manifest_clips(manifests.train, data_folder) if with_train else []
    check_classes(names, clips + train)
    n_trained = None if seen is None else len(seen)
    own = Path(data_folder).resolve().name or layout
    dataset = dataset or LAYOUTS[layout].dataset or own
    return LabelledClips(clips, names, audio, n_trained, train, dataset)


test_clips.__test__ = False  # type: ignore[attr-defined]  # not pytest's


def spread(
    clips: Sequence[Any], count: int | None = None, key: str = "max_clips"
) -> list[Any]:
    """So many clips, spread over the set; None for all.

    >>> spread(list("abcde"), 3), spread(["a", "b"])
    (['a', 'c', 'e'], ['a', 'b'])
    """
    if count is None:
        return list(clips)
    if not isinstance(count, int) or count < 1:
        raise UserError(
            f"`{key}`: expected a number of clips from 1 up, or null for all, "
            f"found {count!r}."
        )
    places = np.linspace(0, len(clips) - 1, min(count, len(clips)))
    return [clips[k] for k in places.round().astype(int)]


def known_clips(names: Sequence[str], clips: Sequence[dict]) -> list[dict]:
    """Clips of the classes that a model knows, which get its names.

    Case and underscores make no difference; what is left out is logged.

    >>> found = known_clips(["Sea waves"], [{"class_string": "sea_waves"}])
    >>> found
    [{'class_string': 'Sea waves'}]
    """
    known = {class_key(name): name for name in names}
    classes = {clip["class_string"] for clip in clips}
    own = {name: known.get(class_key(name)) for name in classes}
    unknown = sorted(name for name, found in own.items() if found is None)
    if len(unknown) == len(classes):
        check_classes(names, clips)
    renamed = [{**c, "class_string": own[c["class_string"]]} for c in clips]
    left = [clip for clip in renamed if clip["class_string"] is not None]
    if unknown:
        logger.warning(
            "%d of %d clips are left out, of classes that the model does not "
            "know by these names: %s",
            *(len(clips) - len(left), len(clips), listed(unknown)),
        )
    return left


def check_classes(names: Sequence[str], clips: Sequence[dict]) -> None:
    """Refuse clips of classes that the classifier does not know."""
    found = {name for c in clips for name in labels_of(c["class_string"])}
    unknown = sorted(found - set(names))
    if unknown:
        raise UserError(
            "The test clips have classes that the classifier does not know: "
            f"{listed(unknown)}. It knows {listed(names)}. Choose data of its "
            "classes, such as those that it was trained on, or `classes`."
        )


def _same_data(interpreter, layout, given):
    """Whether data are those of the training, in its layout."""
    trained = interpreter.hparams
    if layout != trained.get("layout"):
        return False
    if LAYOUTS[layout].dataset:
        return True
    if interpreter.zero_shot and layout == "csv":  # there of captions
        return False
    if given["labels_file"] is not None:
        return _table(trained) == _table(given)
    known = Path(trained.get("data_folder") or "?").resolve()
    return known == Path(given["data_folder"]).resolve()


def _table(facts):
    default = Path(facts.get("data_folder") or "?", "labels.csv")
    return Path(facts.get("labels_file") or default).resolve()


def _folds(interpreter, layout, same):
    """The folds that are tested if none are given."""
    trained = interpreter.hparams
    if same and trained.get("test_fold_nums"):
        return trained["test_fold_nums"]
    unknown = trained.get("layout") in (None, layout)
    if LAYOUTS[layout].dataset and unknown and not interpreter.zero_shot:
        raise UserError(
            "`test_fold_nums`: the interpreter does not tell which folds it "
            "was not trained on; give them, such as 5."
        )
    return "all"


def _check_folds_known(trained, layout, given):
    """Refuse folds of data that have none, and whose split nobody knows."""
    read = LAYOUTS[layout].read
    if LAYOUTS[layout].dataset or trained.get("split"):
        return
    if "fold" not in read(given["data_folder"], given["labels_file"]).columns:
        raise UserError(
            "`test_fold_nums`: these data have no folds, and the interpreter "
            "does not tell how it made some. Leave the folds out to test on "
            "all clips."
        )


def _seen(interpreter, clips, data_folder):
    """Ids of the clips that the interpreter was trained or validated on.

    None if the interpreter has no manifests: a package does not.
    """
    trained = interpreter.hparams
    root, output = trained.get("data_folder"), trained.get("output_folder")
    if not root or not output:
        return None
    manifests = [Path(output, "save", f"{s}.json") for s in ("train", "valid")]
    known = {
        Path(clip["wav"]): clip["num_samples"]
        for manifest in manifests
        if manifest.is_file()
        for clip in manifest_clips(manifest, root)
    }
    files = {path.resolve() for path in known}

    def was_seen(clip):
        path = Path(clip["wav"])
        # Of the same name in the training's folder, which may be gone.
        twin = Path(root, path.relative_to(data_folder))
        return path.resolve() in files or (
            known.get(twin) == clip["num_samples"]
            and (not twin.is_file() or filecmp.cmp(path, twin, shallow=False))
        )

    return [c["id"] for c in clips if was_seen(c)] if known else None


def _held_out(clips, seen):
    """The clips that were not trained on."""
    left = [clip for clip in clips if clip["id"] not in set(seen)]
    if not left:
        raise UserError(
            f"All {len(clips)} clips were trained or validated on. Give "
            "others, or say which folds to test on all the same."
        )
    text = "%d of %d clips were trained or validated on: left out"
    logger.info(text, len(seen), len(clips))
    return left
