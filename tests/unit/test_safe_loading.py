"""Hyperparameter files that would run code, and those that must work."""

import importlib
import sys
import time

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_lmac.inference.package.safe import (
    UnsafePackageError,
    load_hparams_safely,
)
from speechbrain_lmac.inference.package.safe import names as safe_names
from speechbrain_lmac.inference.package.safe.budget import MemoryBudget
from speechbrain_lmac.utils.checks import UserError

CLAP = "speechbrain_lmac.classifiers.zero_shot"


@pytest.fixture
def load(tmp_path):
    """Writes a text to a file and loads it."""

    def write_and_load(text, *args, **options):
        path = tmp_path / "hyperparams.yaml"
        path.write_text(text, encoding="utf-8")
        return load_hparams_safely(path, *args, **options)

    return write_and_load


# --- what must work ----------------------------------------------------------

GOOD = """\
n: 4
twice: !ref <n> * 2 + 1
name: net
path: !ref results/<name>/<n>
flag: True
none: null
word: yes
small: 1e-3
pair: (3, 4)
named: !tuple (a, 2)
nested: {a: [1, 2.5, x], b: {c: !ref <n>}}
deep: !ref <nested[b][c]>
layer: !new:torch.nn.Linear [!ref <n>, 3]
same: !ref <layer>
other: !copy <layer>
kind: !name:torch.nn.LeakyReLU
partial: !name:torch.nn.Linear
    in_features: 2
anchored: &a [1, 2]
aliased: *a
frontend: !new:speechbrain_lmac.features.FrontEnd
classifier: !new:speechbrain_lmac.classifiers.slim.SlimCnn
    n_classes: 3
    channels: [4, 8]
decoder: !apply:speechbrain_lmac.interpreters.decoders.build_decoder
    classifier: !ref <classifier>
    frontend: !ref <frontend>
    mask_domain: mel
labels: !new:speechbrain.dataio.encoder.CategoricalEncoder
modules:
    decoder: !ref <decoder>
__hidden: 1
"""


def test_the_same_as_hyperpyyaml(load):
    ours, theirs = load(GOOD), load_hyperpyyaml(GOOD)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        if isinstance(value, (int, float, str, tuple, list, type(None))):
            assert ours[key] == value, key
        assert type(ours[key]) is type(value) or isinstance(value, dict), key
    assert ours["twice"] == 9 and ours["path"] == "results/net/4"
    assert ours["pair"] == (3, 4) and ours["named"] == ("a", 2)
    assert ours["word"] == "yes" and ours["small"] == 0.001
    assert ours["nested"] == {"a": [1, 2.5, "x"], "b": {"c": 4}}
    assert ours["same"] is ours["layer"] is not ours["other"]
    assert ours["modules"]["decoder"] is ours["decoder"]
    assert ours["kind"] is torch.nn.LeakyReLU
    assert ours["partial"](out_features=5).weight.shape == (5, 2)
    assert "__hidden" not in ours


def test_overrides(load):
    assert load(GOOD, {"n": 2})["layer"].in_features == 2
    assert load(GOOD, "n: 3")["twice"] == 7
    given = torch.nn.Linear(7, 7)
    loaded = load(GOOD, {"layer": given, "nested": {"b": {"c": 5}}})
    assert loaded["same"] is given
    assert loaded["deep"] == 5 and loaded["nested"]["a"] == [1, 2.5, "x"]
    with pytest.raises(UserError, match="`nn`.*no hyperparameter.*n, twice"):
        load(GOOD, {"nn": 1})


def test_what_an_override_replaces_is_not_even_judged(load):
    assert load("a: !new:os.system [x]\nb: !ref <a>", {"a": 1})["b"] == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [1", "line 1.*valid YAML"),
        ("- 1", "lines `key: value`"),
        ("", "lines `key: value`"),
        ("a: !new:torch.nn.Linear [x, y]", "line 1: cannot build.*Linear"),
        ("a: !new:torch.nn.Linear {width: 3}", "line 1: cannot build.*width"),
        (
            "a: !apply:speechbrain_lmac.interpreters.l2i.build_l2i\n"
            "    {classifier: 1, frontend: 2, mask_domain: mel}",
            "expected 'stft'",
        ),
    ],
)
def test_mistakes_are_told(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="Cannot read.*absent.yaml"):
        load_hparams_safely(tmp_path / "absent.yaml")


# --- what must not run -------------------------------------------------------

#: Each would run a command, FILE being what it creates; {run} stands for it.
ATTACKS = [
    'a: !apply:os.system ["{run}"]',
    'a: !new:os.system ["{run}"]',
    'a: !applyref:os.system ["{run}"]',
    'a: !!python/object/apply:os.system ["{run}"]',
    'a: !!python/object/new:os.system ["{run}"]',
    'a: !<tag:yaml.org,2002:python/object/apply:os.system> ["{run}"]',
    'a: !apply:os%2Esystem ["{run}"]',
    'a: !apply:posix.system ["{run}"]',
    'a: !new:subprocess.Popen ["{run}", -1, null]',
    'a: !apply:speechbrain_lmac.inference.package.writing.os.system ["{run}"]',
    'a: !new:speechbrain_lmac.inference.package.writing.os.system ["{run}"]',
    'a: !apply:torch.nn.modules.module.torch.os.system ["{run}"]',
    'a: !new:speechbrain.nnet.containers.torch.os.system ["{run}"]',
    "a: !apply:builtins.exec [\"import os; os.system('{run}')\"]",
    'a: (!!python/object/apply:os.system ["{run}"])',
    "a: !tuple '(!!python/object/apply:os.system [\"{run}\"])'",
    'a: [1, {{b: !apply:os.system ["{run}"]}}]',
    '__a: !apply:os.system ["{run}"]',
    'a: !new:torch.nn.Linear [2, !apply:os.system ["{run}"]]',
    '? !apply:os.system ["{run}"]\n: 1',
    "t: os.system\na: 1\nb: !apply:%3Ct%3E ['{run}']",
    "%TAG ! tag:yaml.org,2002:python/object/apply:os.\n---\n"
    'a: !system ["{run}"]',
    'a: 1\n---\nb: !apply:os.system ["{run}"]',
    '<<: {{a: !apply:os.system ["{run}"]}}',
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs(load, tmp_path, attack):
    made = tmp_path / "made"
    with pytest.raises(UnsafePackageError, match="line 1|line 2|line 3|%"):
        load(attack.format(run=f"touch {made}") + "\n")
    assert not made.exists()


@pytest.mark.parametrize("attack", [ATTACKS[k] for k in (0, 3, 9, 14)])
def test_the_attacks_are_real(tmp_path, attack):
    # With the loader that trusts, the same files do what they say.
    made = tmp_path / "made"
    load_hyperpyyaml(attack.format(run=f"touch {made}"))
    assert made.exists()


def test_refusals_name_tag_name_and_line(load):
    with pytest.raises(
        UnsafePackageError,
        match=r"hyperparams.yaml, line 2: !apply:os\.system is not on the "
        r"allow-list.*trust_source=True",
    ):
        load("a: 1\nb: !apply:os.system [reboot]")


@pytest.mark.parametrize(
    "name, why",
    [
        ("os.system", "lies under none of"),
        ("torch.load", "lies under none of"),
        ("torch.nnx.Linear", "lies under none of"),
        ("speechbrain.utils.checkpoints.Checkpointer", "none of"),
        ("speechbrain.utils.parameter_transfer.Pretrainer", "none of"),
        ("torch.nn.modules.module.torch.load", "no class"),
        ("speechbrain_lmac.inference.package.writing.os.system", "no class"),
        (
            "speechbrain_lmac.inference.package.tempfile.TemporaryFile",
            "no class",
        ),
        ("torch.nn.functional.relu", "no class"),
        ("torch.nn.Linear.__init__", "public"),
        ("torch.nn.Linear.forward", "no class"),
        ("torch.nn.modules._functions.SyncBatchNorm", "public"),
        (
            "speechbrain_lmac.inference.package.writing.Path",
            "defined elsewhere",
        ),
        (
            "speechbrain_lmac.inference.package.safe.names.ModuleType",
            "defined elsewhere",
        ),
        ("speechbrain_lmac.data.audio.AudioCache", "neither"),
        ("speechbrain_lmac.utils.checks.UserError", "neither"),
        ("speechbrain.nnet.schedulers.NewBobScheduler", "neither"),
        (f"{CLAP}.hf.HfClap", "loads files"),
        (f"{CLAP}.laion.LaionClap", "loads files"),
        ("speechbrain.lobes.models.beats.BEATs", "loads files"),
        ("speechbrain.lobes.models.discrete.dac.DAC", "loads files"),
        (
            "speechbrain.lobes.models.huggingface_transformers.hubert.HuBERT",
            "loads files",
        ),
        ("torch.nn.parallel.DistributedDataParallel", "loads files"),
        ("torch.nn.NoSuchThing", "no class"),
        ("torch.nn", "no class"),
        ("Linear", "public"),
        ("torch.nn..Linear", "public"),
        ("torch.nn.Linear\n", "public"),
    ],
)
def test_names_that_are_refused(name, why):
    with pytest.raises(safe_names.ForbiddenName, match=why):
        safe_names.resolve_class(name)
    with pytest.raises(safe_names.ForbiddenName):
        safe_names.resolve_function(name)


def test_loaders_are_refused_where_others_import_them(load):
    # packaging.py imports SmallClap, and may import a loader one day.
    module = importlib.import_module("speechbrain_lmac.inference.package")
    loader = importlib.import_module(f"{CLAP}.hf").HfClap
    module.Alias = loader
    try:
        with pytest.raises(UnsafePackageError, match="loads files"):
            load("a: !new:speechbrain_lmac.inference.package.Alias [x]")
    finally:
        del module.Alias


def test_functions_are_those_of_the_list():
    for name in safe_names.FUNCTIONS:
        assert callable(safe_names.resolve_function(name))
    with pytest.raises(safe_names.ForbiddenName):
        safe_names.resolve_function(
            "speechbrain_lmac.utils.hparams.load_hparams"
        )


def test_nothing_is_imported_for_a_forbidden_name(load, tmp_path, monkeypatch):
    made = tmp_path / "made"
    (tmp_path / "evil_module.py").write_text(f"open({str(made)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for tag in ("!new:", "!name:", "!apply:", "!module:"):
        with pytest.raises(UnsafePackageError, match="evil_module"):
            load(f"a: {tag}evil_module.Net []")
    assert not made.exists() and "evil_module" not in sys.modules


def test_all_is_judged_before_anything_is_built(load, monkeypatch):
    built = []
    monkeypatch.setattr(
        torch.nn.Linear, "__init__", lambda *args: built.append(args)
    )
    with pytest.raises(UnsafePackageError, match="line 2"):
        load("a: !new:torch.nn.Linear [2, 3]\nb: !apply:os.getcwd []")
    assert built == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: !include:other.yaml", "!include:other.yaml is not allowed"),
        ("a: !PLACEHOLDER", "!PLACEHOLDER is not allowed"),
        ("a: !module:torch.nn", "!module:torch.nn is not allowed"),
        ("a: {b: 1}\nc: !ref <a.__class__>", "without attributes"),
        ("a: {b: 1}\nc: !ref <a[b].real>", "without attributes"),
        ("c: !ref <d>", "no <d> to refer to"),
        ("a: !new:torch.nn.ReLU\nc: !ref x<a>", "only plain values"),
        ("a: !new:torch.nn.ReLU text", "takes no text"),
        ("a: 2026-11-21", "!!timestamp"),
        ("a: !!binary aGk=", "!!binary"),
        ("a: !!set {b}", "!!set"),
        ("1: a", "keys of plain text"),
        ("a: 1\na: 2", "given twice"),
        ("%YAML 1.1\n---\na: 1", "directives"),
    ],
)
def test_other_syntax_is_refused(load, text, message):
    with pytest.raises(UnsafePackageError, match=message):
        load(text)


# --- files that would take all memory ----------------------------------------


def laughs(levels, item):
    """Aliases that stand for 10 ** levels items."""
    lines = [f"a0: &a0 [{', '.join([item] * 10)}]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]")
    return "\n".join(lines)


def chain(tag, levels):
    lines = ["a0: [1, 2]"]
    for k in range(1, levels):
        lines.append(f"a{k}: [{tag} <a{k - 1}>, {tag} <a{k - 1}>]")
    return "\n".join(lines)


def doubling(levels):
    lines = ["a0: lollollol"]
    lines += [f"a{k}: !ref <a{k - 1}><a{k - 1}>" for k in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text, message",
    [
        (laughs(9, "lol"), "stand for more than"),
        (chain("!ref", 40), "stand for more than"),
        (chain("!copy", 40), "stand for more than"),
        (doubling(14), "characters|stand for more"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 20"),
        ("a: " + "{a: " * 30 + "1" + "}" * 30, "nested deeper than 20"),
        ("a: [" + "1," * 9000 + "1]", "more than 4000 nodes"),
        ("a: " + "x" * 5000, "4096 characters"),
        ("# " + "x" * 70000, "at most 65536 bytes"),
        ("a: &a [*a]", "refers to itself"),
        ("a: !ref <b>\nb: !ref <a>", "refers to itself"),
        ("a: {b: !ref <a>}", "refers to itself"),
        ("a: 123456789012", "out of bounds"),
        ("a: " + "9" * 4000, "out of bounds|no !!int"),
        ("a: .inf", "out of bounds"),
        ("a: .nan", "out of bounds"),
        ("a: 1000000\nb: !ref <a> * <a>", "out of bounds"),
    ],
)
def test_bombs_are_put_aside_at_once(load, text, message):
    start = time.process_time()
    with pytest.raises(UnsafePackageError, match=message):
        load(text)
    assert time.process_time() - start < 5


def test_texts_are_not_multiplied_nor_numbers_raised(load):
    text = "a: 9\nx: !ref \"'x' * 100000<a>\"\ny: !ref <a> ** <a> ** <a>\n"
    loaded = load(text)
    assert loaded["x"] == "'x' * 1000009" and loaded["y"] == "9 ** 9 ** 9"


@pytest.mark.parametrize(
    "layer",
    [
        "torch.nn.Linear [200000, 200000]",
        "torch.nn.Conv2d [100000, 100000, 3]",
        "torch.nn.LSTM [50000, 50000, 100]",
        "speechbrain_lmac.features.FrontEnd {n_fft: 1000000}",
        "speechbrain_lmac.classifiers.slim.SlimCnn\n"
        "    {n_classes: 3, channels: [100000, 100000]}",
        "torch.nn.Embedding [9999999, 9999999]",
        "speechbrain.lobes.models.Cnn14.Cnn14\n"
        "    {mel_bins: 80, emb_dim: 9999999}",
    ],
)
def test_huge_layers_are_refused_before_they_take_memory(load, layer):
    start = time.process_time()
    with pytest.raises(UserError, match="hyperparams.yaml: .* asks for tens"):
        load(f"a: !new:{layer}", max_bytes=100 << 20)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "layer",
    [
        "torch.nn.LSTM [1, 1, 1000000]",
        "torch.nn.TransformerDecoder\n"
        "    decoder_layer: !new:torch.nn.TransformerDecoderLayer [2, 1, 1]\n"
        "    num_layers: 1000000",
        "torch.nn.TransformerEncoder\n"
        "    encoder_layer: !new:torch.nn.ReLU\n"
        "    num_layers: 1000000",
        "speechbrain_lmac.classifiers.slim.SlimCnn\n"
        f"    {{n_classes: 2, channels: [{'1, ' * 3000}1]}}",
    ],
)
def test_layers_without_end_are_refused_soon(load, layer):
    start = time.process_time()
    with pytest.raises(UserError, match="yaml: .* 10000 steps.*trust_source"):
        load(f"a: !new:{layer}")
    assert time.process_time() - start < 10  # hours, if they were made
    assert sys.getprofile() is None


def test_steps_add_up(load):
    lines = ["layer: !new:torch.nn.LSTM [1, 1, 250]"]
    lines += [f"a{k}: !copy <layer>" for k in range(9)]
    assert load("\n".join(lines[:4]))["a2"].num_layers == 250
    with pytest.raises(UserError, match="10000 steps"):
        load("\n".join(lines))


def test_many_layers_add_up(load):
    lines = [f"a{k}: !new:torch.nn.Linear [500, 500]" for k in range(20)]
    assert len(load("\n".join(lines), max_bytes=30 << 20)) == 20
    with pytest.raises(
        UserError, match="tensors of 16.0 MB, more than the 15.7"
    ):
        load("\n".join(lines), max_bytes=15 << 20)


def test_the_budget_counts_what_is_made():
    x = torch.ones(10)
    with MemoryBudget(10**9, "this") as budget:
        x.view(2, 5).add_(1)
        assert budget.taken == 0
        x.sum()
        assert budget.taken == 4
        torch.zeros(100, dtype=torch.float64)
        assert budget.taken == 804
        torch.outer(x, x)
        assert budget.taken >= 1204
        torch.empty(10**12, device="meta")
        assert budget.taken < 2000
        x[x > 0]  # a size that only the values tell
    with pytest.raises(UserError, match="asks for tensors of 4.0 GB"):
        with MemoryBudget(10**6, "this"):
            x.repeat(10**8)
