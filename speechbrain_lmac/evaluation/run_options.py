"""SpeechBrain's run options, handed on to other commands.

Authors
 * The speechbrain_lmac authors 2026
"""

import dataclasses

from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.checks import UserError

#: Options of a single training that several steps cannot share.
REFUSED = {
    "test_only": "the steps train; give --test_folds for some folds alone",
    "distributed_launch": "start it by torchrun",
    "log_config": "each step logs to log.txt of its folder",
    "tqdm_barcolor": "leave it out",
}
#: Options that change no result: a run may go on under others.
OUTSIDE_RESULTS = ("device", "noprogressbar", "tqdm_colored_bar")
#: What an evaluation reads.
OF_EVALUATION = ("device", "noprogressbar")
NO_OPTION = ("param_file", "overridden_args")


def given_options(run_opts):
    """SpeechBrain's own options as they were given on the command line.

    Arguments
    ---------
    run_opts : speechbrain.utils.run_opts.RunOptions
        Of :func:`speechbrain_lmac.utils.experiment.parse`.

    Returns
    -------
    dict of str to list of str
        The words by their options: those that differ from the default, and
        those that were typed, as a step's YAML file may say otherwise.
        ``debug`` brings ``debug_persistently``, so that a step finds the
        checkpoints of the one before.

    Raises
    ------
    UserError
        If one is given that cannot be handed on.

    Example
    -------
    >>> given_options(RunOptions(device="cpu", noprogressbar=True))
    {'device': ['--device=cpu'], 'noprogressbar': ['--noprogressbar']}
    >>> list(given_options(RunOptions(debug=True, debug_batches=1)))
    ['debug', 'debug_batches', 'debug_persistently']
    """
    given, plain = {}, RunOptions()
    if run_opts.debug:
        run_opts = dataclasses.replace(run_opts, debug_persistently=True)
    for field in dataclasses.fields(RunOptions):
        name, value = field.name, getattr(run_opts, field.name)
        default = getattr(plain, name)
        typed = name in run_opts.overridden_args
        if name in NO_OPTION or not (typed or value != default):
            continue
        if name in REFUSED:
            raise UserError(
                f"--{name}: this command cannot hand it on to its steps; "
                f"{REFUSED[name]}."
            )
        given[name] = _flag(name, value)
    return given


def _flag(name, value):
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list):
        return [f"--{name}", *value]
    return [f"--{name}={value}"]
