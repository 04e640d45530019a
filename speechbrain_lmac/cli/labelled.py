"""Labelled sounds to evaluate on: data sets, a folder per class, a table.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.cli.inputs import audio_suffixes

#: All clips are test clips.
FOLD = 1
COLUMNS = ("file", "label")


def prepare_folders(data_folder, save_folder, audio, classes=None):
    """Manifest of a folder that holds a folder of audio files per class.

    Arguments
    ---------
    data_folder : str or Path
        Its folders are the classes; hidden ones are left out.
    save_folder : str or Path
        Where the manifest goes.
    audio : AudioCache
        Decodes the clips.
    classes : sequence of str or None
        The chosen ones; None for all.

    Returns
    -------
    Manifests
        With test clips alone.

    Raises
    ------
    UserError
        If there is no such folder, or clips cannot be used.
    """
    from speechbrain_lmac.checks import UserError

    root, suffixes = Path(data_folder), audio_suffixes()
    rows = [
        (file.relative_to(root).as_posix(), folder.name)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name[0] != "."
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in suffixes and file.name[0] != "."
    ]
    if not rows:
        raise UserError(
            f"--data-folder {root}: expected a folder of audio files (wav, "
            "flac, ogg, mp3, ...) for each class, such as dog/1.wav; found "
            "none."
        )
    return _prepare(rows, root, save_folder, audio, classes)


def prepare_csv(table, save_folder, audio, classes=None):
    """Manifest of the audio files in a table.

    Arguments
    ---------
    table : str or Path
        A CSV file with columns file (relative to its folder) and label.
    save_folder, audio, classes : object
        As for :func:`prepare_folders`.

    Returns
    -------
    Manifests
        With test clips alone.

    Raises
    ------
    UserError
        If the table or its clips cannot be used.
    """
    from speechbrain_lmac.checks import UserError
    from speechbrain_lmac.data.caption_layouts import check_relative
    from speechbrain_lmac.data.tables import read_metadata

    table = Path(table)
    if not table.is_file():
        raise UserError(
            f"--data-folder {table}: expected a CSV file with the columns "
            f"{' and '.join(COLUMNS)}; there is no such file."
        )
    found = read_metadata(table, COLUMNS)
    rows = [
        (check_relative(file, f"{table}, data row {k}"), label.strip())
        for k, (file, label) in enumerate(
            zip(found.file, found.label, strict=True), 1
        )
    ]
    return _prepare(rows, table.parent, save_folder, audio, classes)


def _prepare(rows, root, save_folder, audio, classes):
    import pandas as pd

    from speechbrain_lmac.data.manifests import make_manifests
    from speechbrain_lmac.data.tables import select_classes

    table = pd.DataFrame(rows, columns=["wav", "class_string"])
    # The whole path: "1.wav" may stand in the folder of every class.
    table = table.assign(
        fold=FOLD, clip_id=table.wav.str.replace("/", "_", regex=False)
    )
    table, class_names = select_classes(table, classes)
    return make_manifests(
        table,
        root,
        save_folder,
        {"test_fold_nums": (FOLD,)},
        class_names,
        audio,
    )


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
        As :func:`speechbrain_lmac.runs.manifest_clips` gives them.
    names : list of str or None
        Class names by index; None: those of the label file.
    audio : AudioCache
        Loads the clips.

    Raises
    ------
    UserError
        If the data cannot be used.
    """
    from speechbrain_lmac.data.audio import AudioCache
    from speechbrain_lmac.runs import manifest_clips

    zero_shot = interpreter.label_file is None
    audio = AudioCache(args.cache_folder, interpreter.frontend.sample_rate)
    if args.dataset == "csv":
        manifests = prepare_csv(data, out / "manifests", audio, args.classes)
        data = data.parent
    elif args.dataset == "folders":
        manifests = prepare_folders(
            data, out / "manifests", audio, args.classes
        )
    elif zero_shot:
        return _zero_shot_dataset(interpreter, data, out, args)
    else:
        manifests = _dataset(interpreter.hparams, data, out, audio, args)
    names = _set_prompts(interpreter, manifests, args) if zero_shot else None
    return manifest_clips(manifests.test, data), names, audio


def _templates(args):
    from speechbrain_lmac.data.prompts import HELD_OUT_TEMPLATES

    return args.templates or list(HELD_OUT_TEMPLATES[:1])


def _set_prompts(interpreter, manifests, args):
    """Make the classes the prompts of a zero-shot classifier."""
    from speechbrain_lmac.zero_shot import prompts_of

    names = list(manifests.class_names)
    interpreter.classifier.set_prompts(prompts_of(names), _templates(args))
    return names


def _zero_shot_dataset(interpreter, data, out, args):
    """A published data set for a zero-shot classifier."""
    from speechbrain_lmac.zero_shot_data import prompt_with_classes

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


def _dataset(trained, data, out, audio, args):
    """The test folds of a published data set."""
    from speechbrain_lmac.checks import UserError
    from speechbrain_lmac.zero_shot import find_dataset

    prepare, _ = find_dataset(args.dataset)
    folds = fold_numbers(args.test_folds) or trained.get("test_fold_nums")
    if not folds:
        raise UserError(
            "--test-folds: the interpreter does not tell which folds it was "
            "not trained on; give them, such as --test-folds 5."
        )
    return prepare(
        data_folder=data,
        save_folder=out / "manifests",
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums=folds,
        classes=args.classes or trained.get("classes"),
        audio=audio,
        dataset=args.dataset,
    )


def fold_numbers(texts):
    """Folds as numbers; None if none are given.

    Example
    -------
    >>> fold_numbers(["1", "4"])
    [1, 4]
    """
    from speechbrain_lmac.checks import UserError

    if texts is None:
        return None
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise UserError(
            "--test-folds: expected numbers with commas between them, such "
            f"as 4,5; found {','.join(texts)!r}."
        )
    return [int(text) for text in texts]
