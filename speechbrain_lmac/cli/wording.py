"""What is printed: options by their names, nothing that steers a terminal.

Authors
 * The speechbrain_lmac authors 2026
"""

import re
import unicodedata

# Control characters, marks of direction, halves of characters, line ends.
_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: What Python calls it -> what the command line does, where it has it.
PHRASES = {
    "overwrite=True (--overwrite)": "--overwrite",
    "pass overwrite=True": "add --overwrite",
    "overwrite=True": "--overwrite",
    "set correct_only=False": "add --wrong-too",
    "pass trust_source=True": "load it in Python with trust_source=True",
    "n_examples above 0": "--examples above 0",
}
NAMES = {
    "data_folder": "--data-folder",
    "folder": "OUT",
    "high_anchor": "--high-anchor",
    "n_items": "--items",
    "out_folder": "--out",
    "results_folder": "--results",
    "run_folder": "RUN_FOLDER",
    "source": "--interpreter",
}


def in_shell_words(text, args):
    """A message of a function, with the options of a subcommand.

    Arguments
    ---------
    text : str
        With names of arguments in backticks.
    args : argparse.Namespace
        With the ``parser`` of the subcommand.

    Returns
    -------
    str
        Names that the subcommand does not have stay as they are.

    Example
    -------
    >>> import argparse
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--top-k")
    >>> args = argparse.Namespace(parser=parser)
    >>> in_shell_words("`top_k`: expected 1, as in `config`", args)
    '--top-k: expected 1, as in `config`'
    """
    parser = getattr(args, "parser", None)
    if parser is None:
        return text
    known = set(re.findall(r"--[\w-]+|\b[A-Z_]{3,}\b", parser.format_usage()))
    for phrase, words in PHRASES.items():
        needed = re.findall(r"--[\w-]+", words)
        if known.issuperset(needed):
            text = text.replace(phrase, words)

    def option(match):
        name = match[1]
        words = NAMES.get(name, "--" + name.replace("_", "-"))
        return words if words in known else match[0]

    return re.sub(r"`(\w+)`", option, text)


def printable(text, keep="\n\t"):
    r"""A text with a mark in place of what would steer a terminal.

    Labels come from packages of anyone, and names of files from anywhere.

    Arguments
    ---------
    text : str
        To be printed.
    keep : str
        Control characters that stay.

    Returns
    -------
    str

    Example
    -------
    >>> printable("dog\x1b[2J\u202e, Käse")
    'dog�[2J�, Käse'
    """
    return "".join(
        c if c in keep or unicodedata.category(c) not in _STEERING else "\ufffd"
        for c in text
    )
