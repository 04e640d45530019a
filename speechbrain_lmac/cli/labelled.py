"""Labelled sounds to evaluate on: data sets, a folder per class, a table.

Authors
 * The speechbrain_lmac authors 2026
"""

#: Layouts of one's own data; all of its clips are test clips.
OWN = ("folders", "csv")


def labelled_clips(interpreter, data, out, args):
    """Clips to evaluate an interpreter on.

    Arguments
    ---------
    interpreter : Interpreter
        The classifier of a zero-shot one gets the classes as prompts.
    data : Path
        Folder or table.
    out : Path
        Receives ``manifests/``.
    args : argparse.Namespace
        Of ``lmac evaluate``.

    Returns
    -------
    clips : list of dict
        As :func:`speechbrain_lmac.evaluation.run.manifest_clips` gives them.
    names : list of str or None
        Class names by index; None: the interpreter's labels.
    audio : AudioCache
        Loads the clips.

    Raises
    ------
    UserError
        If the data cannot be used.
    """
    from speechbrain_lmac.data.audio import AudioCache
    from speechbrain_lmac.data.labelled import prepare_labelled
    from speechbrain_lmac.evaluation.run import manifest_clips

    zero_shot = interpreter.zero_shot
    own = args.dataset in OWN
    if zero_shot and not own:
        return _zero_shot_dataset(interpreter, data, out, args)
    audio = AudioCache(args.cache_folder, interpreter.frontend.sample_rate)
    trained = {} if own else interpreter.hparams
    table = data if args.dataset == "csv" else None
    data = data.parent if table else data
    manifests = prepare_labelled(
        args.dataset,
        data_folder=data,
        labels_file=table,
        save_folder=out / "manifests",
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums="all" if own else _test_folds(trained, args),
        classes=args.classes or trained.get("classes"),
        audio=audio,
    )
    names = _set_prompts(interpreter, manifests, args) if zero_shot else None
    return manifest_clips(manifests.test, data), names, audio


def _test_folds(trained, args):
    """Folds of a published data set that nothing was trained on."""
    from speechbrain_lmac.utils.checks import UserError

    folds = fold_numbers(args.test_folds) or trained.get("test_fold_nums")
    if not folds:
        raise UserError(
            "--test-folds: the interpreter does not tell which folds it was "
            "not trained on; give them, such as --test-folds 5."
        )
    return folds


def _templates(args):
    from speechbrain_lmac.data.captions.prompts import HELD_OUT_TEMPLATES

    return args.templates or list(HELD_OUT_TEMPLATES[:1])


def _set_prompts(interpreter, manifests, args):
    """Make the classes the prompts of a zero-shot classifier."""
    from speechbrain_lmac.evaluation.zero_shot import prompts_of

    names = list(manifests.class_names)
    interpreter.classifier.set_prompts(prompts_of(names), _templates(args))
    return names


def _zero_shot_dataset(interpreter, data, out, args):
    """A published data set for a zero-shot classifier."""
    from speechbrain_lmac.evaluation.zero_shot_data import prompt_with_classes

    return prompt_with_classes(
        interpreter,
        {
            "dataset": args.dataset,
            "data_folder": data,
            "test_fold_nums": fold_numbers(args.test_folds),
            "classes": args.classes,
            "skip_broken_audio": False,
            "cache_folder": args.cache_folder,
            "prompts": None,
            "templates": _templates(args),
            "output_folder": out,
        },
    )


def fold_numbers(texts):
    """Folds as numbers; None if none are given.

    Example
    -------
    >>> fold_numbers(["1", "4"])
    [1, 4]
    """
    from speechbrain_lmac.utils.checks import UserError

    if texts is None:
        return None
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise UserError(
            "--test-folds: expected numbers with commas between them, such "
            f"as 4,5; found {','.join(texts)!r}."
        )
    return [int(text) for text in texts]
