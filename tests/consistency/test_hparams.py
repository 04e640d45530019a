"""Every hyperparameter has a reader, and every reader a hyperparameter.

SpeechBrain's rule for a YAML file and its script; here what the package reads
for the script counts, too.
"""

import functools
import re

from conftest import ROOT
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.hparams import read_tree

# What SpeechBrain's Brain takes from the hyperparameters by itself.
OF_THE_BRAIN = {"modules", "opt_class", "checkpointer"}
OF_THE_BRAIN |= set(RunOptions.__dataclass_fields__)
READ = (
    r"hparams(?:\.get\(|\[)\s*\"(\w+)\"|hparams\.(\w+)|getattr\(\S+, \"(\w+)\""
)
OF_A_DICT = {"get", "items", "keys", "pop", "setdefault", "update", "values"}


def keys_of(path):
    return {key for key in read_tree(path) if not key.startswith("__")}


def references(path):
    """Keys that other values of the file refer to."""
    lines = re.findall(r"!(?:ref|copy) (.+)", path.read_text(encoding="utf-8"))
    return {name for line in lines for name in re.findall(r"<(\w+)", line)}


def read_in(text):
    """Names of hyperparameters that some code reads, as SpeechBrain scans it.

    >>> sorted(read_in('hparams["a"], self.hparams.b, hparams.get("c", 1)'))
    ['a', 'b', 'c']
    """
    return {n for m in re.findall(READ, text) for n in m if n} - OF_A_DICT


def named_in(path):
    """Names that a file reads, in any way; keys that it hands on count."""
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r"\"(\w+)\"", text)) | read_in(text)


@functools.cache
def named_in_the_package():
    paths = (ROOT / "speechbrain_lmac").rglob("*.py")
    return set().union(*map(named_in, paths))


def scripts_of(row):
    """The row's script, and those whose usage names the same file."""
    script, name = ROOT / row["Script_file"], row["Hparam_file"].split("/")[-1]
    others = (
        other
        for other in script.parent.glob("*.py")
        if f"hparams/{name}" in other.read_text(encoding="utf-8")
    )
    return {script, *others}


def test_every_key_has_a_reader(row):
    path = ROOT / row["Hparam_file"]
    read = named_in_the_package().union(*map(named_in, scripts_of(row)))
    unread = keys_of(path) - references(path) - read - OF_THE_BRAIN
    assert not unread, f"{row['Hparam_file']}: nothing reads {sorted(unread)}"


def test_every_reader_finds_its_key(row):
    path = ROOT / row["Hparam_file"]
    for script in scripts_of(row):
        text = script.read_text(encoding="utf-8")
        required = set(re.findall(r"hparams\[\"(\w+)\"\](?! =)", text))
        asked = set(re.findall(r"\"(\w+)\" in hparams", text))
        missing = required - asked - keys_of(path)
        assert not missing, f"{script.name} reads {sorted(missing)}"


def test_every_reference_is_to_a_key(row):
    path = ROOT / row["Hparam_file"]
    assert not references(path) - keys_of(path)


def test_what_reading_is():
    code = 'hparams["a"], self.hparams.b, hparams.get("c"), hparams.items()'
    assert read_in(code) == {*"abc"}
    assert read_in('getattr(self.hparams, "d", None)') == {"d"}
