"""Repeated seeds: the same job on the interpreter of each, then their spread.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.evaluation.seeds_report import write_seeds
from speechbrain_lmac.interpreters.loading import INFO_FILE, read_info
from speechbrain_lmac.utils.hparams import read_overrides


def evaluate_seeds(evaluate, hparams, overrides):
    """Evaluate one interpreter, or those of ``seeds`` and their spread.

    Arguments
    ---------
    evaluate : callable
        ``evaluate(overrides) -> rows``: one evaluation.
    hparams : dict
        With ``seeds``, ``interpreter`` and ``output_folder``.
    overrides : str
        Of the command line.

    Returns
    -------
    list of dict
        The rows of the one, or those of mean and standard deviation, which
        are written to ``seeds.csv`` and ``seeds.md``.

    Raises
    ------
    UserError
        If the interpreter of a seed is missing; found before any work.
    """
    given = read_overrides(overrides)
    seeds, interpreter = hparams["seeds"], Path(hparams["interpreter"])
    if not seeds:
        return evaluate(given)
    for seed in seeds:
        read_info(seed_folder(interpreter, seed), "seeds")
    output = seed_folder(interpreter, "evaluation")
    if "output_folder" in given:
        output = Path(given["output_folder"])
    found = {}
    for seed in seeds:
        changes = {"seed": seed}
        for key in ("interpreter", "lmac_ft_folder", "l2i_folder"):
            if given.get(key) or key == "interpreter":
                changes[key] = str(seed_folder(hparams[key], seed))
        if "output_folder" in given:
            changes["output_folder"] = str(output / str(seed))
        found[seed] = evaluate({**given, **changes})
    return write_seeds(found, output)


def seed_folder(folder, seed):
    """Folder of a seed, from an experiment's or that of another seed.

    Example
    -------
    >>> str(seed_folder("results/lmac_small", 1235))
    'results/lmac_small/1235'
    """
    folder = Path(folder)
    if (folder / INFO_FILE).is_file():
        folder = folder.parent
    return folder / str(seed)
