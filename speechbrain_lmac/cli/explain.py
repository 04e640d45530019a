"""``lmac explain``: what a classifier heard in files and folders of audio.

Authors
 * The speechbrain_lmac authors 2026
"""

import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    EXIT_FAILED,
    add_json,
    bar_wanted,
    comma_list,
    error_text,
    to_json,
    warn,
    whole_number,
)
from speechbrain_lmac.cli.inputs import (
    collect,
    move_into,
    plan_outputs,
    remove_explanation,
)
from speechbrain_lmac.cli.sources import (
    HELP,
    check_device,
    load_audio_interpreter,
)
from speechbrain_lmac.cli.wording import printable

EXAMPLES = """\
  lmac explain dog_in_rain.flac --interpreter results/lmac_small/1234 --out out
  lmac explain recordings/ more/ --recursive --json --out out \\
      --interpreter results/lmac_small/1234/package > explanations.jsonl
  lmac explain street.wav --top-k 3 --interpreter owner/name --out out
  lmac explain street.wav --classes dog,rain --interpreter ... --out out
  lmac explain street.wav --interpreter results/lmac_zs_small/1234 --out out \\
      --prompts "a dog barks" "rain falls"

Each file gets a folder in --out, named after it, with the sounds of the
explanation and of the rest, a picture and explanation.json. A file that
cannot be read stops nothing: those are listed at the end, and the exit code
is then 1.
"""


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = commands.add(
        "explain", "explain files and folders of audio", EXAMPLES, run
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="audio files of any format that libsndfile reads, or folders",
    )
    parser.add_argument("--interpreter", required=True, help=HELP)
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="where the results go"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--top-k",
        type=whole_number,
        default=1,
        metavar="K",
        help="explain the K most probable classes (default: 1)",
    )
    what.add_argument(
        "--classes",
        type=comma_list,
        metavar="A,B",
        help="explain these classes, whatever the decision",
    )
    what.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        metavar="TEXT",
        help="explain these texts; for zero-shot interpreters, which need it. "
        "All words up to the next option are texts: files go before it",
    )
    explain_swallowed_files(parser)
    parser.add_argument(
        "--device", default="cpu", help="such as cuda:0 (default: cpu)"
    )
    parser.add_argument(
        "--recursive",
        action="store_true",
        help="look into folders of folders, too",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace explanations that are in --out already",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar, no lines"
    )
    add_json(parser)


def explain_swallowed_files(parser):
    """Say why files are missed that stand behind ``--prompts``."""
    tell = parser.error

    def error(message):
        if message.endswith("required: FILE_OR_FOLDER"):
            message += (
                "; what follows --prompts are texts, so give files before it, "
                "or behind --"
            )
        tell(message)

    parser.error = error


def check_prompts(args):
    """Refuse files among the prompts, whose explanation nobody asks for."""
    files = [
        text
        for text in args.prompts or ()
        # A folder for the class "dog" makes no file of the prompt "dog".
        if os.path.isfile(text) or (os.sep in text and os.path.isdir(text))
    ]
    if files:
        args.parser.error(
            f"--prompts: {files[0]!r} is a file or folder; give it before "
            "--prompts, or behind --"
        )


def run(args):
    """Explain every file; the failed ones are listed at the end."""
    check_prompts(args)
    files, failed = collect(args.inputs, args.recursive)
    if files:
        targets, replaced = plan_outputs(files, args.out, args.overwrite)
        check_device(args.device)
        interpreter = load_audio_interpreter(args.interpreter, args.device)
        # Wrong classes or prompts are refused here, before anything is made.
        results = results_of(interpreter, files, args)
        if replaced:
            warn(f"{args.out}: {len(replaced)} earlier explanations replaced")
        failed |= explain_files(results, files, targets, args)
    return tell_failed(failed, len(files), args)


def explain_files(results, files, targets, args):
    """Write and tell what becomes of files, one after the other.

    Arguments
    ---------
    results : iterator
        Of :func:`results_of`.
    files, targets : list of Path
        The sounds, and the folder for each.
    args : argparse.Namespace
        Of the command line.

    Returns
    -------
    dict of str to str
        File -> why it failed.
    """
    from tqdm import tqdm

    out = Path(args.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    failed, notes = {}, set()
    with (
        # Folders appear in `out` whole, or not at all.
        tempfile.TemporaryDirectory(prefix=".lmac-", dir=out) as scratch,
        tqdm(
            total=len(files), unit="file", disable=not bar_wanted(args.quiet)
        ) as bar,
    ):
        for file, target in zip(files, targets, strict=True):
            found, error = next(results)
            if error is None:
                folders, error = try_to_keep(found, target, scratch, args)
            if error is not None:
                failed[str(file)] = error_text(error, args)
            else:
                for line in lines_of(found, file, folders, notes, args):
                    tqdm.write(line, file=sys.stdout)
            bar.update()
    if notes and not args.quiet:
        warn("note: " + "; ".join(sorted(notes)))
    return failed


def results_of(interpreter, files, args):
    """What becomes of each file: explanation and error, one of them None.

    Arguments
    ---------
    interpreter : AudioInterpreter
        Explains.
    files : list of Path
        The sounds.
    args : argparse.Namespace
        With ``top_k``, ``classes``, ``prompts``, ``debug``.

    Returns
    -------
    iterator of (list of Explanation, Exception or None)

    Raises
    ------
    UserError
        At once, if the classes or prompts are none of the interpreter's.
    """
    asked = (args.top_k, args.classes, args.prompts)
    stream = interpreter.interpret_files(files, *asked)

    def results():
        done = 0
        try:
            for result in stream:
                done += 1
                yield result.explanation, result.error
            return
        except Exception:
            if args.debug:
                traceback.print_exc()
        # Some file broke its batch: from here on each is on its own.
        for file in files[done:]:
            try:
                yield interpreter.interpret_file(file, *asked), None
            except Exception as error:
                yield None, error

    return results()


def try_to_keep(found, target, scratch, args):
    """As :func:`keep`; the folders, and what went wrong: one of them None."""
    try:
        return keep(found, target, Path(scratch)), None
    except Exception as error:  # of this file alone, such as a name too long
        if args.debug:
            traceback.print_exc()
        shutil.rmtree(Path(scratch) / target.name, ignore_errors=True)
        return None, error


def keep(found, target, scratch):
    """Write what was found in a file, whole or not at all.

    Arguments
    ---------
    found : Explanation or list of Explanation
        What was found.
    target : Path
        The folder. An explanation that is there is replaced, and nothing
        else that lies beside it.
    scratch : Path
        A folder on the same disk.

    Returns
    -------
    list of Path
        The folder of each explanation.
    """
    made, folders = scratch / target.name, [""]
    if isinstance(found, list):
        folders = folder_names([item.label for item in found])
    for folder, explanation in zip(folders, _listed(found), strict=True):
        explanation.save(made / folder)
    remove_explanation(target)
    move_into(made, target)
    return [target / folder for folder in folders]


def _listed(found):
    return found if isinstance(found, list) else [found]


def lines_of(found, file, folders, notes, args):
    """What is printed of a file; its notes are added to those of others."""
    lines = []
    for folder, explanation in zip(folders, _listed(found), strict=True):
        facts = explanation.facts()
        facts = {"file": str(file), "folder": str(folder), **facts}
        if args.json:
            lines.append(to_json(facts))
        elif not args.quiet:
            lines.append(printable(line_of(facts), keep=""))
        # A decision is explained as it should be.
        if "note" in facts and not facts.get("is_decision", True):
            notes.add(facts["note"])
    return lines


def folder_names(labels):
    """Folders for several explanations of a file, in their order.

    Example
    -------
    >>> folder_names(["dog", "a dog barks?"])
    ['1_dog', '2_a_dog_barks_']
    """
    from speechbrain_lmac.utils.files import safe_name

    return [
        safe_name(f"{k}_{label.replace(' ', '_')}")
        for k, label in enumerate(labels, 1)
    ]


def line_of(facts):
    """A line for people.

    Example
    -------
    >>> line_of({"file": "a.wav", "label": "dog", "probability": 0.93,
    ...     "probability_masked_in": 0.9, "probability_masked_out": None,
    ...     "folder": "out/a"})
    'a.wav: dog  p 0.93  masked-in 0.90  masked-out -  -> out/a'
    """
    shown = [
        f"{name} " + ("-" if facts[key] is None else f"{facts[key]:.2f}")
        for name, key in (
            ("similarity", "similarity"),  # zero-shot
            ("p", "probability"),
            ("masked-in", "probability_masked_in"),
            ("masked-out", "probability_masked_out"),
        )
        if key in facts
    ]
    told = "  ".join([facts["label"], *shown])
    return f"{facts['file']}: {told}  -> {facts['folder']}"


def tell_failed(failed, num_files, args):
    """List what failed, and decide on the exit code."""
    if not failed:
        return EXIT_DONE
    if args.json:
        for file, why in failed.items():
            print(to_json({"file": file, "error": why}))
    lines = [
        why if why.startswith(file) else f"{file}: {why}"
        for file, why in failed.items()
    ]
    if len(lines) == 1:
        warn(f"error: {lines[0]}")
    else:
        warn(f"error: {len(lines)} inputs failed, the others are done:")
        listed = [f"  {printable(line)}" for line in lines]
        print(*listed, sep="\n", file=sys.stderr)
    return EXIT_FAILED
