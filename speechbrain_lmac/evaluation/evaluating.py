"""What the evaluation recipes of labelled data sets share."""

from speechbrain.utils.distributed import ddp_init_group

from speechbrain_lmac.evaluation.clips import options_of, test_clips
from speechbrain_lmac.evaluation.methods import trained_methods
from speechbrain_lmac.evaluation.run import evaluate
from speechbrain_lmac.evaluation.seeds import evaluate_seeds
from speechbrain_lmac.interpreters.loading import Interpreter, load_others
from speechbrain_lmac.utils.experiment import load_hparams, parse, start_run


def evaluate_recipe(argv):
    """Evaluate one interpreter, or those of several seeds; returns the rows."""
    hparams_file, run_opts, overrides = parse(argv)
    ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    return evaluate_seeds(
        lambda changes: evaluate_labelled(hparams_file, run_opts, changes),
        hparams,
        overrides,
    )


def evaluate_labelled(hparams_file, run_opts, overrides):
    """Load everything, then explain and score the test clips."""
    hparams = load_hparams(hparams_file, overrides)
    settings = hparams["evaluation"]
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    others = load_others(
        interpreter,
        hparams["interpreter"],
        trained_methods(settings.methods),
        {"lmac_ft": hparams["lmac_ft_folder"], "l2i": hparams["l2i_folder"]},
    )
    start_run(hparams, hparams_file, overrides)
    clips = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        **options_of(hparams),
    )
    return evaluate(
        interpreter,
        clips,
        settings,
        hparams["output_folder"],
        others=others,
        device=run_opts.device,
        progressbar=not run_opts.noprogressbar,
    )
