"""``lmac explain``: what made a classifier decide, for files and folders."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    EXIT_FAILED,
    add_command,
    comma_list,
    error_text,
    flag,
    option,
    path,
    printable,
    to_json,
    warn,
    whole_number,
)
from speechbrain_lmac.cli.inputs import (
    collect,
    plan_outputs,
    remove_explanations,
    remove_files,
)
from speechbrain_lmac.cli.sources import (
    DEVICE,
    HELP,
    add_source,
    load_audio_interpreter,
)

PROMPTS_FIGURE = "explanations.png"
EXAMPLES = """\
  lmac explain dog.wav --model MIT/ast-finetuned-audioset-10-10-0.4593 --out out
  lmac explain dog.wav --model ./my-wav2vec2 --method ig --classes dog,rain \\
      --out out
  lmac explain x.wav --model my_net:build --weights net.pt --out out \\
      --sample-rate 22050 --labels dog,rain
  lmac explain dog_in_rain.flac --interpreter results/lmac_small/1234 --out out
  lmac explain recordings/ more/ --recursive --json --out out \\
      --interpreter results/lmac_small/1234/package > explanations.jsonl
  lmac explain street.wav --top-k 3 --interpreter owner/name --out out
  lmac explain street.wav --classes dog,rain --interpreter ... --out out
  lmac explain street.wav --classes dog --against rain --model ... --out out
  lmac explain street.wav --interpreter results/lmac_zs_small/1234 --out out \\
      --prompts "a dog barks" "rain falls"

Each file gets a folder in --out, named after it, with the sounds of the
explanation and of the rest, a picture, explanation.json, and when the
explanation is heard: events.txt for Audacity, events.Table.1.selections.txt
for Raven. explanations.csv tells of all of them duration, level, band, centroid
and pitch. A file that cannot be read stops nothing: those are listed at the
end, and the exit code is then 1.
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands, "explain", "explain files and folders of audio", EXAMPLES, run
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=path,
        metavar="FILE_OR_FOLDER",
        help="audio files of any format that libsndfile reads, or folders",
    )
    add_source(parser, HELP)
    how = (
        "what makes the mask, without training: mask, ig, gradcam, ... "
        "(default: the interpreter's own, of a model mask)"
    )
    option(parser, "--method", str, how, metavar="METHOD")
    option(parser, "--out", path, "where the results go", required=True)
    what = parser.add_mutually_exclusive_group()
    most = "explain the K most probable classes (default: 1)"
    option(what, "--top-k", whole_number, most, default=1, metavar="K")
    these = "explain these classes, whatever the decision"
    option(what, "--classes", comma_list, these)
    what.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        metavar="TEXT",
        help="explain these texts; for zero-shot interpreters, which need it. "
        "All words up to the next option are texts: files go before it, or "
        "behind --",
    )
    other = "what raises these classes and lowers this one: why dog, not rain"
    option(parser, "--against", str, other, metavar="CLASS")
    option(parser, "--device", str, DEVICE, default="cpu")
    flag(parser, "--recursive", "look into folders of folders, too")
    flag(parser, "--overwrite", "replace explanations that are in --out")
    flag(parser, "--quiet", "no progress bar, no lines")


def run(args: argparse.Namespace) -> int:
    """Explain every file; the failed ones are listed at the end."""
    from speechbrain_lmac.report import write_descriptors
    from speechbrain_lmac.utils.checks import check_device, check_writable

    for text in args.prompts or ():
        # A folder for the class "dog" makes no file of the prompt "dog".
        if os.path.isfile(text) or (os.sep in text and os.path.isdir(text)):
            args.parser.error(
                f"--prompts: {text!r} is a file or folder; give it before "
                "--prompts, or behind --"
            )
    files, failed = collect(args.inputs, args.recursive)
    if files:
        targets = plan_outputs(files, args.out, args.overwrite)
        check_device(args.device, "`device`:")
        interpreter = load_audio_interpreter(args)
        # Wrong classes or prompts are refused here, before anything is made.
        results = interpreter.interpret_files(
            files,
            top_k=args.top_k,
            classes=args.classes,
            prompts=args.prompts,
            events=True,
            against=args.against,
        )
        check_writable(args.out, "out")
        failed |= _explain(results, files, targets, args)
        write_descriptors(args.out)
    return _list_failed(failed, args)


def _explain(
    results: Iterator[Any],
    files: list[Path],
    targets: list[Path],
    args: argparse.Namespace,
) -> dict[str, str]:
    """Save and print what becomes of the files; those that failed, and why."""
    from tqdm import tqdm

    failed: dict[str, str] = {}
    notes: dict[str, None] = {}
    bar = tqdm(files, unit="file", disable=args.quiet or None)
    for file, target in zip(bar, targets, strict=True):
        result = next(results)
        error = result.error
        try:
            if error is None:
                for facts in _save(result.explanation, target):
                    facts = {"file": str(file), **facts}
                    notes |= dict.fromkeys(_notes_of(facts))
                    line = to_json(facts) if args.json else _line_of(facts)
                    if args.json or not args.quiet:
                        tqdm.write(line, file=sys.stdout)
        except Exception as err:  # of this file alone, such as a full disk
            error = err
        if error is not None:
            if args.debug:
                traceback.print_exception(error)
            failed[str(file)] = error_text(error, args.parser)
    if not args.quiet:
        for note in notes:
            warn(f"note: {note}")
    return failed


def _save(explanation: Any, target: Path) -> Iterable[dict[str, Any]]:
    """Write the explanations of a file, and their facts with their folders."""
    several = isinstance(explanation, list)
    each = explanation if several else [explanation]
    names = folder_names([e.label for e in each]) if several else [""]
    remove_explanations(target)
    for name, one in zip(names, each, strict=True):
        try:
            one.save(target / name)
        except BaseException:
            remove_files(target / name)
            raise
        yield {"folder": str(target / name), **one.facts()}
    if several and each[0].similarity is not None:
        _save_prompts(each, target / PROMPTS_FIGURE)


def _save_prompts(explanations: list[Any], path: Path) -> None:
    """One picture of a file's masks under all prompts."""
    from speechbrain_lmac.report import build_prompt_figure, save_figure

    first = explanations[0]
    figure = build_prompt_figure(
        first.spectrogram.expm1(),
        [one.mask for one in explanations],
        [(one.label, one.similarity, one.probability) for one in explanations],
        first.sample_rate,
        first.mask_hop_samples,
        mel=first.mask_domain == "mel",
    )
    save_figure(figure, path)


def _notes_of(facts: dict[str, Any]) -> Iterator[str]:
    """What is to be said of an explanation beside its figures."""
    if "warning" in facts:
        yield f"{facts['file']}: {facts['warning']}"
    if facts.get("events") == []:
        yield f"{facts['file']}: no events: nothing of the sound explains it"
    if facts.get("decisions") == {}:
        yield (
            f"{facts['file']}: {facts['decided']} classes is decided for; "
            "explained is the most probable, or what was asked for"
        )
    # What the mask was made for is explained as it should be.
    made_for = facts.get("is_decision", True)
    if "decisions" in facts:
        made_for = facts["label"] == facts["top"][0]["label"]
    if "note" in facts and not made_for:
        yield facts["note"]


def folder_names(labels: Iterable[str]) -> list[str]:
    """Folders for several explanations of a file, in their order.

    >>> folder_names(["dog", "a dog barks?"])
    ['1_dog', '2_a_dog_barks_']
    """
    from speechbrain_lmac.utils.files import safe_name

    return [
        safe_name(f"{k}_{label.replace(' ', '_')}")
        for k, label in enumerate(labels, 1)
    ]


def _line_of(facts: dict[str, Any]) -> str:
    """A line for people.

    >>> _line_of({"file": "a.wav", "label": "dog", "probability": 0.93,
    ...     "probability_masked_in": 0.9, "probability_masked_out": None,
    ...     "folder": "out/a"})
    'a.wav: dog  p 0.93  masked-in 0.90  masked-out -  -> out/a'
    """
    from speechbrain_lmac.report.columns import class_text, probability_texts

    values = [f"{name} {text}" for name, text in probability_texts(facts)]
    values += [f"decided {facts['decided']}"] if "decided" in facts else []
    values += _when(facts.get("events"))
    shown = "  ".join([class_text(facts), *values])
    line = f"{facts['file']}: {shown}  -> {facts['folder']}"
    return printable(line.replace("\n", " "))


def _when(events: list[dict[str, Any]] | None) -> list[str]:
    """The first events in words, and how many there are more."""
    if not events:
        return []
    spans = [f"{e['onset_s']:.2f}-{e['offset_s']:.2f}" for e in events]
    more = f" and {len(spans) - 3} more" if len(spans) > 3 else ""
    return [f"at {', '.join(spans[:3])} s{more}"]


def _list_failed(failed: dict[str, str], args: argparse.Namespace) -> int:
    """List what failed, and decide on the exit code."""
    if args.json:
        for file, why in failed.items():
            print(to_json({"file": file, "error": why}))
    lines = [
        why if why.startswith(file) else f"{file}: {why}"
        for file, why in failed.items()
    ]
    if len(lines) > 1:
        head = f"{len(lines)} inputs failed, the others are done:"
        lines = ["\n  ".join([head, *lines])]
    for line in lines:
        warn(f"error: {line}")
    return EXIT_FAILED if failed else EXIT_DONE
