"""Cost of one L-MAC training step for CNN14, against SpeechBrain's recipe.

    python benchmarks/training_step.py [--steps 3] [--batch 4] [--device cpu]
    python benchmarks/training_step.py --check
    python benchmarks/training_step.py --quick

The first command times whole optimisation steps (``Brain.fit_batch``) in one
process on one thread, in CPU seconds: other jobs on the machine do not count.
The second one compares objective and gradients instead, the third one only
tries the first with narrow networks.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections import defaultdict
from statistics import median
from typing import NamedTuple

import reference_step as steps
import rounds
import torch

from speechbrain_lmac.features.stft import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder

CLIP_SECONDS = 5
#: Free memory from which all variants are kept at once, in bytes.
ROOMY = 15e9
RECIPE, OURS = "SpeechBrain's recipe", "ours"
HEAVY = "ours, CNN14PSI_stft"
#: Of SpeechBrain's time a step, with our decoder and with its own.
BARS = {OURS: 0.13, HEAVY: 0.95}
PARTS = (
    "STFT",
    "frozen forward",
    "decoder",
    "masked forwards",
    "backward",
    "optimiser",
)
#: Relative errors that --check allows: loss, gradient. In float32 rounding
#: moves some ReLU over its kink, so the gradient's bound is a wide one.
TOLERANCES = {torch.float32: (1e-4, 5e-3), torch.float64: (1e-10, 1e-9)}


def build(name, classifier, batch_size, device):
    """The Brain of a variant."""
    if name == RECIPE:
        return steps.recipe_brain(classifier, device)
    if name == HEAVY:
        decoder = steps.ReferenceDecoder(classifier.hidden_channels[0])
        return steps.package_brain(
            steps.LIGHT, classifier, batch_size, device, decoder
        )
    return steps.package_brain(steps.LIGHT, classifier, batch_size, device)


def build_narrow(name, classifier, batch_size, device):
    """As :func:`build`, for a classifier that is narrower than CNN14."""
    if name != OURS:
        return build(name, classifier, batch_size, device)
    decoder = build_decoder(classifier, FrontEnd(), channels=(8, 4))
    return steps.package_brain(
        steps.LIGHT, classifier, batch_size, device, decoder
    )


class Cost(NamedTuple):
    """What a step took.

    Attributes
    ----------
    seconds : float
        CPU seconds of the process; on a GPU, seconds until it was done.
    parts : dict
        Seconds of each of ``PARTS`` and of the rest.
    peak : int
        Bytes above what was in use before the step: maps and gradients.
    """

    seconds: float
    parts: dict
    peak: int


def clock(device):
    """Seconds: of CPU time, or with a GPU of time."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def stopwatch(brain, device):
    """Seconds of each part of the steps taken meanwhile, as a dict."""
    spent, started = defaultdict(float), {}

    def part_of(module, inputs):
        if module is classifier:
            masked = inputs[0].requires_grad
            return "masked forwards" if masked else "frozen forward"
        return "decoder" if module is decoder else "STFT"

    def start(module, inputs):
        started[module] = clock(device)

    def stop(module, inputs, output):
        spent[part_of(module, inputs)] += clock(device) - started[module]

    def objectives(*args):
        loss = type(brain).compute_objectives(brain, *args)
        started["backward"] = clock(device)
        return loss

    def optimise():
        begun = clock(device)
        spent["backward"] += begun - started["backward"]
        type(brain).optimizers_step(brain)
        spent["optimiser"] += clock(device) - begun

    if "psi" in brain.modules:
        stft, decoder = brain.modules.compute_stft, brain.modules.psi
        classifier = brain.hparams.embedding_model
    else:
        stft, decoder = brain.modules.frontend, brain.modules.decoder
        classifier = brain.modules.classifier
    handles = [
        handle
        for module in (stft, decoder, classifier)
        for handle in (
            module.register_forward_pre_hook(start),
            module.register_forward_hook(stop),
        )
    ]
    brain.compute_objectives, brain.optimizers_step = objectives, optimise
    yield spent
    del brain.compute_objectives, brain.optimizers_step
    for handle in handles:
        handle.remove()


def timed_step(brain, batch, device):
    """Take one optimisation step; returns its :class:`Cost`."""
    gc.collect()
    resident = rounds.reset_peak(device)
    with stopwatch(brain, device) as spent:
        begun = clock(device)
        brain.fit_batch(batch)
        seconds = clock(device) - begun
    brain.step += 1
    parts = {part: spent[part] for part in PARTS}
    parts["the rest"] = seconds - sum(parts.values())
    return Cost(seconds, parts, rounds.peak_memory(device) - resident)


def measure(names, classifier, num_steps, batch, device, make=build):
    """Costs of the variants' steps, taken in turns after a warm one each.

    All variants are in memory at once. Returns for each the list of
    :class:`Cost` and the number of trained parameters.
    """
    size = len(batch.sig.data)
    brains = {n: make(n, classifier, size, device) for n in names}
    costs = {name: [] for name in names}
    for round_ in range(num_steps + 1):
        for name, brain in brains.items():
            cost = timed_step(brain, batch, device)
            label = f"step {round_}" if round_ else "warm-up"
            print(f"  {label:8} {name:22}{cost.seconds:9.2f} s", flush=True)
            if round_:
                costs[name].append(cost)
    return {
        name: (costs[name], sum(p.numel() for p in trained(brain)))
        for name, brain in brains.items()
    }


def trained(brain):
    """Parameters that the optimiser moves."""
    return [p for g in brain.optimizer.param_groups for p in g["params"]]


def report(results, device):
    """Print medians, ratios, memory and where the time goes."""
    unit = "CPU s" if device == "cpu" else "s"
    times = {n: [c.seconds for c in costs] for n, (costs, _) in results.items()}
    totals = rounds.medians(times)
    print(
        f"\n{'':22}{unit + '/step':>12}{'ratio':>8}{'parameters':>13}"
        f"{'state GB':>10}{'step GB':>9}"
    )
    for name, (costs, count) in results.items():
        # Weights and Adam's two moments stay between steps, 4 bytes each.
        print(
            f"{name:22}{totals[name]:12.2f}{totals[name] / totals[RECIPE]:8.3f}"
            f"{count / 1e6:11.1f} M{count * 12 / 1e9:10.2f}"
            f"{median(c.peak for c in costs) / 1e9:9.2f}"
        )
    print(f"\n{'where it goes, ' + unit:22}", end="")
    print("".join(f"{name:>24}" for name in results))
    for part in (*PARTS, "the rest"):
        print(f"{part:22}", end="")
        for name, (costs, _) in results.items():
            seconds = median(c.parts[part] for c in costs)
            print(f"{seconds:15.2f} ({seconds / totals[name]:5.1%})", end="")
        print()
    # Each took its turn in each round, so that each round has a ratio.
    return all(
        [
            rounds.judge(
                f"{name} / SpeechBrain's",
                rounds.ratio(times, name, RECIPE),
                BARS[name],
            )
            for name in BARS
            if name in results
        ]
    )


def check(batch_size):
    """Compare the objectives; print, and tell whether they agree."""
    agreed = True
    for dtype, size in ((torch.float32, batch_size), (torch.float64, 1)):
        torch.manual_seed(rounds.SEED)
        result = steps.compare_objectives(
            steps.clip_samples(13), batch_size=size, dtype=dtype
        )
        agreed &= result.loss_error <= TOLERANCES[dtype][0]
        agreed &= result.grad_error <= TOLERANCES[dtype][1]
        tell(f"batch of {size}, {dtype}", result, TOLERANCES[dtype])
        gc.collect()
    print("agreed" if agreed else "DISAGREED")
    torch.manual_seed(rounds.SEED)
    result = steps.compare_objectives(
        CLIP_SECONDS * steps.SAMPLE_RATE, batch_size=1
    )
    tell(f"not held to it: a clip of {CLIP_SECONDS} s", result)
    return agreed


def tell(title, result, tolerances=None):
    """Print a comparison."""
    loss, grad = (
        f" (allowed {t:.0e})" if t else "" for t in tolerances or (0, 0)
    )
    print(
        f"{title}: SpeechBrain {result.frames[0]} frames, objective "
        f"{result.losses[0]:.8g}; ours {result.frames[1]} frames, "
        f"{result.losses[1]:.8g}\n  relative difference {result.loss_error:.1e}"
        f"{loss}, of the gradients {result.grad_error:.1e}{grad}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--steps", type=int, default=3, help="steps of each")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--check", action="store_true", help="compare the objectives instead"
    )
    args = parser.parse_args(argv)
    rounds.prepare()
    print(rounds.machine(args.device))
    if args.check:
        return 0 if check(args.batch) else 1
    names, results = [RECIPE, OURS, HEAVY], {}
    if args.quick:  # narrow networks: that the command works
        batch = steps.make_batch(2, steps.clip_samples(2))
        small = steps.build_classifier(64)
        results = measure(names, small, 1, batch, args.device, build_narrow)
        report(results, args.device)
        return 0
    print(f"batch of {args.batch} clips of {CLIP_SECONDS} s")
    batch = steps.make_batch(args.batch, CLIP_SECONDS * steps.SAMPLE_RATE)
    classifier = steps.build_classifier()
    available = rounds.memory("MemAvailable", "/proc/meminfo")
    groups = [names] if available > ROOMY else [[name] for name in names]
    for group in groups:
        results |= measure(group, classifier, args.steps, batch, args.device)
        gc.collect()
    passed = report(results, args.device)
    print(
        f"peak of the process, with {len(groups[0])} variant(s) in memory: "
        f"{rounds.memory('VmHWM') / 1e9:.1f} GB"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
