"""What is classified zero-shot: an interpreter, and the clips of a data set.

The classes of the data are the prompts. They are known once the data are
prepared, which takes the sample rate of the model: so the interpreter is
loaded first, and gets its prompts with the clips.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.labelled import layout_name, prepare_labelled
from speechbrain_lmac.evaluation.run import manifest_clips
from speechbrain_lmac.evaluation.zero_shot import prompts_of
from speechbrain_lmac.features.lengths import for_any_length
from speechbrain_lmac.interpreters.loading import Interpreter


class LabelledClips(NamedTuple):
    """Test clips of a labelled data set.

    Attributes
    ----------
    clips : list of dict
        As :func:`speechbrain_lmac.evaluation.run.manifest_clips` gives them.
    names : list of str
        Classes, in the order of the classifier's prompts.
    audio : AudioCache
        Loads the clips at the model's sample rate.
    """

    clips: list
    names: list
    audio: AudioCache


def load_unprompted(hparams):
    """Load a trained LMAC-ZS for clips of any length; prompts come later.

    Arguments
    ---------
    hparams : dict
        ``interpreter`` (its folder).

    Returns
    -------
    Interpreter
        Nothing has been written.

    Raises
    ------
    UserError
        If the folder is no interpreter's, or its parts do not fit together.
    """
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
    return interpreter._replace(frontend=for_any_length(interpreter.frontend))


def prompt_with_classes(interpreter, hparams):
    """Prepare the data set, and make its classes the classifier's prompts.

    Arguments
    ---------
    interpreter : Interpreter
        Of :func:`load_unprompted`; its classifier gets the prompts.
    hparams : dict
        ``dataset``, ``data_folder``, ``test_fold_nums``, ``classes``,
        ``skip_broken_audio``, ``cache_folder``, ``prompts``, ``templates``,
        and ``output_folder``, which receives ``manifests/``.

    Returns
    -------
    LabelledClips

    Raises
    ------
    UserError
        If the data set is unknown or broken, or a prompt is of no class.
    """
    rate = interpreter.frontend.sample_rate
    audio = AudioCache(hparams["cache_folder"], rate)
    manifests = _prepare(hparams, interpreter.hparams, audio)
    names = list(manifests.class_names)
    interpreter.classifier.set_prompts(
        prompts_of(names, hparams["prompts"]), hparams["templates"]
    )
    clips = manifest_clips(manifests.test, hparams["data_folder"])
    return LabelledClips(clips, names, audio)


def _prepare(hparams, trained, audio):
    """Manifest of the test clips; all folds where none was trained on."""
    layout = layout_name(hparams["dataset"], "dataset")
    # Labels as captions: only some folds and classes are not trained on.
    folds, classes = hparams["test_fold_nums"], hparams["classes"]
    if trained.get("layout") == layout != "csv":  # there of captions
        folds = folds or trained["test_fold_nums"]
        classes = classes or trained["classes"]
    return prepare_labelled(
        layout,
        data_folder=hparams["data_folder"],
        save_folder=f"{hparams['output_folder']}/manifests",
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums=folds or "all",
        classes=classes,
        audio=audio,
        skip_broken_audio=hparams["skip_broken_audio"],
        dataset=hparams["dataset"],
        split=trained.get("split"),
        labels_file=hparams.get("labels_file"),
    )
