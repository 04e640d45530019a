"""Packages of trained interpreters: written whole, loaded with care."""

import json
import os
import pickle
import shutil
import socket
import struct

import pytest
import torch
from clap_toys import SMALL_AUDIO, save_clap
from recipe_models import small_classifier
from safetensors.torch import load_file, save_file
from zs_toys import PROMPTS, small_clap, zs_interpreter

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.cnn14 import build_cnn14
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.classifiers.wrapper import TorchClassifier
from speechbrain_lmac.features import FrontEnd, MelFrontEnd
from speechbrain_lmac.inference import load_package, write_package
from speechbrain_lmac.inference.package.weights import save_weights
from speechbrain_lmac.interpreters.decoders import (
    ReferenceDecoder,
    build_decoder,
)
from speechbrain_lmac.interpreters.l2i import build_l2i
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError

LABELS = list(PROMPTS)
FACTS = {"dataset": "ESC-50", "classes": LABELS, "lr": 0.1}


def closed(classifier=None, build=build_decoder, kind=FrontEnd, **facts):
    """An interpreter of a closed set, small, with random weights."""
    torch.manual_seed(0)
    if classifier is None:
        classifier = SlimCnn(3, n_mels=32, channels=(4, 8, 8))
        for norm in classifier.norms:
            norm.running_mean.normal_()
    classifier.freeze()
    frontend = kind(16000, n_fft=512, n_mels=32)
    decoder = build(classifier, frontend, channels=[6, 4]).eval()
    return Interpreter(
        frontend, classifier, decoder, LABELS, {**FACTS, **facts}
    )


def l2i():
    made = closed(build=build_l2i)
    made.decoder.set_dictionary(torch.rand(257, 100))
    return made


def cnn14():
    """CNN14's own front end has the 513 bins of the reference decoder."""
    classifier = build_cnn14(3).freeze()
    decoder = ReferenceDecoder().eval()
    return Interpreter(FrontEnd(), classifier, decoder, LABELS, FACTS)


def hf(folder):
    save_clap(folder, SMALL_AUDIO, seconds=2, bands=16)
    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    return zs_interpreter(HfClap(folder))


KINDS = {
    "lmac": lambda folder: closed(),
    "lmac_ft": lambda folder: closed(finetuning=True),
    "mel": lambda folder: closed(kind=MelFrontEnd),
    "l2i": lambda folder: l2i(),
    "focalnet": lambda folder: closed(small_classifier("focalnet", 3)),
    "vit": lambda folder: closed(small_classifier("vit", 3)),
    "small": lambda folder: zs_interpreter(),
    "small_mel": lambda folder: zs_interpreter(domain="mel"),
    "hf": hf,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Kind -> an interpreter and its package, made when asked for."""
    root, done = tmp_path_factory.mktemp("packages"), {}

    def get(kind):
        if kind in ("focalnet", "vit", "hf"):
            pytest.importorskip("transformers")
        if kind not in done:
            interpreter = KINDS[kind](root / f"{kind}_source")
            done[kind] = interpreter, write_package(interpreter, root / kind)
        return done[kind]

    return get


@pytest.fixture
def package(made, tmp_path):
    """A copy of the closed-set package, to be mistreated."""
    return shutil.copytree(made("lmac")[1], tmp_path / "package")


@pytest.fixture
def hf_package(made, tmp_path):
    return shutil.copytree(made("hf")[1], tmp_path / "package")


def config_of(package):
    return json.loads((package / "config.json").read_text())


def edit(package, change):
    """Change config.json, as whoever wrote the package could."""
    config = config_of(package)
    change(config)
    (package / "config.json").write_text(json.dumps(config))


def refused(package, found="", **options):
    """Loading ends in one line that holds a text."""
    with pytest.raises(UserError) as error:
        load_package(package, **options)
    assert found in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def answers(interpreter):
    """Logits and masks of some clips, at the classifier's rate."""
    if interpreter.zero_shot:
        interpreter.set_prompts(PROMPTS)
    torch.manual_seed(1)
    parts = (interpreter.frontend, interpreter.classifier, interpreter.decoder)
    with torch.no_grad():
        found = explain(torch.randn(2, 96000), *parts)
    return found.output.logits, found.mask


# --- round trips -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_answers_as_what_was_written(made, kind, monkeypatch):
    interpreter, package = made(kind)

    def refuse(*args):
        raise AssertionError("Expected no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = load_package(package)
    for ours, theirs in zip(answers(loaded), answers(interpreter), strict=True):
        assert torch.equal(ours, theirs)
    assert loaded.labels == interpreter.labels
    assert loaded.mask_domain == interpreter.mask_domain
    assert loaded.classifier.frozen and not loaded.decoder.training
    assert not any(p.requires_grad for p in loaded.decoder.parameters())
    method = {"lmac_ft": "lmac_ft", "l2i": "l2i"}.get(kind, "lmac")
    zero_shot = kind in ("small", "small_mel", "hf")
    found = config_of(package)["method"]
    assert found == ("lmac_zs" if zero_shot else method)
    assert loaded.hparams["finetuning"] == (kind == "lmac_ft")


@pytest.mark.slow
def test_cnn14_and_the_reference_decoder(tmp_path):
    interpreter = cnn14()
    loaded = load_package(write_package(interpreter, tmp_path / "package"))
    for ours, theirs in zip(answers(loaded), answers(interpreter), strict=True):
        assert torch.equal(ours, theirs)


def test_what_a_package_holds(made):
    package = made("lmac")[1]
    names = {path.name for path in package.iterdir()}
    assert names == {
        *("README.md", "config.json"),
        *("classifier.safetensors", "decoder.safetensors"),
    }
    config = config_of(package)
    assert config["speechbrain_interface"] == "AudioInterpreter"
    assert config["package_format"] == 2 and config["labels"] == LABELS
    assert config["classifier"] == {
        "class": "SlimCnn",
        "arguments": {
            "n_classes": 3,
            "n_mels": 32,
            "channels": [4, 8, 8],
            "dropout": 0.2,
        },
    }
    # Nothing of the training but what it was trained on.
    assert config["data"] == {"dataset": "ESC-50", "classes": LABELS}
    assert len({path.stat().st_mode for path in package.iterdir()}) == 1


def test_loading_writes_nothing_and_draws_nothing(made):
    package = made("lmac")[1]
    before = sorted(package.parent.rglob("*"))
    state = torch.random.get_rng_state()
    load_package(package)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sorted(package.parent.rglob("*")) == before


def test_a_run_and_its_default_place(trained_run, tmp_path):
    run = shutil.copytree(trained_run.interpreter, tmp_path / "run")
    out = write_package(run, overwrite=True)
    assert out == run / "package"
    loaded, known = load_package(out), Interpreter.load(run)
    assert fingerprint(loaded.decoder) == fingerprint(known.decoder)
    assert loaded.labels == known.labels
    with pytest.raises(UserError, match="no-run"):
        write_package(tmp_path / "no-run")


# --- writing -----------------------------------------------------------------


def test_what_is_there_is_replaced_only_if_asked(made, tmp_path):
    interpreter = made("lmac")[0]
    out = write_package(interpreter, tmp_path / "out")
    (out / "mark").touch()
    with pytest.raises(UserError, match="exists"):
        write_package(interpreter, out)
    assert (out / "mark").exists()
    assert write_package(interpreter, out, overwrite=True) == out
    assert not (out / "mark").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(UserError, match="config.json"):
        write_package(interpreter, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine/thesis.txt").exists()


def test_whole_or_not_at_all(made, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    out = write_package(made("lmac")[0], tmp_path / "out")
    before = (out / "config.json").read_text()
    monkeypatch.setattr(
        "speechbrain_lmac.inference.package.writing.write_card", fail
    )
    for name in ("out", "new"):
        with pytest.raises(OSError, match="No space"):
            write_package(made("l2i")[0], tmp_path / name, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "config.json").read_text() == before


def test_tensors_that_are_shared_are_written_each(tmp_path):
    layer = torch.nn.Linear(3, 3)
    module = torch.nn.ModuleDict({"a": layer, "b": torch.nn.Linear(3, 3)})
    module["b"].weight = layer.weight
    save_weights(module.state_dict(), tmp_path / "w.safetensors")
    state = load_file(tmp_path / "w.safetensors")
    assert torch.equal(state["a.weight"], state["b.weight"])


NETS = """
import torch
from torch import nn
from speechbrain_lmac.classifiers.slim import SlimCnn

print("imported", file=open("{mark}", "w"))

class MyNet(nn.Sequential):
    def __init__(self, width, bend=0.1):
        super().__init__(
            nn.Conv2d(1, width, 3, 2, 1), nn.LeakyReLU(bend),
            nn.Conv2d(width, 8, 3, 2, 1), nn.LeakyReLU(bend),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        self.arguments = {{"width": width, "bend": bend}}

class Forgetful(MyNet):
    def __init__(self, width, bend=0.1):
        super().__init__(width, bend)
        self.arguments = {{"width": width}}

class Mine(SlimCnn):
    pass

def to_images(mel):
    return mel.transpose(1, 2).unsqueeze(1)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module of someone's own, and what its import leaves."""
    mark = tmp_path / "mark"
    (tmp_path / "my_nets.py").write_text(NETS.format(mark=mark))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_nets", raising=False)
    nets = __import__("my_nets")
    nets.mark = mark
    yield nets
    __import__("sys").modules.pop("my_nets", None)


def wrapped(nets, net, transform=None):
    layers = ["1", "3"]
    return closed(
        TorchClassifier(net, layers, 3, transform or nets.to_images, n_mels=32)
    )


def test_a_network_of_ones_own_needs_trust(nets, tmp_path):
    interpreters = {
        "wrapped": wrapped(nets, nets.MyNet(4, 0.7)),
        "mine": closed(nets.Mine(3, n_mels=32, channels=(4, 8, 8))),
    }
    for name, interpreter in interpreters.items():
        package = write_package(interpreter, tmp_path / name)
        loaded = load_package(package, trust_source=True)
        kinds = {type(i.classifier).__name__ for i in (loaded, interpreter)}
        assert len(kinds) == 1
        assert torch.equal(answers(loaded)[0], answers(interpreter)[0])
        nets.mark.unlink(missing_ok=True)
        __import__("sys").modules.pop("my_nets")
        refused(package, "my_nets:")
        assert not nets.mark.exists()


def test_arguments_that_only_the_run_knows(nets, tmp_path):
    net = nets.MyNet(5, 0.7)
    del net.arguments
    interpreter = wrapped(nets, net)
    interpreter.hparams["output_folder"] = str(tmp_path)
    (tmp_path / "hyperparams.yaml").write_text(
        "classifier: !new:speechbrain_lmac.classifiers.TorchClassifier\n"
        "    model: !new:my_nets.MyNet {width: 5, bend: 0.7}\n"
    )
    loaded = load_package(write_package(interpreter), trust_source=True)
    assert torch.equal(answers(loaded)[0], answers(interpreter)[0])


def test_networks_that_cannot_be_built_again(nets, tmp_path):
    class Local(nets.MyNet):
        """Nobody can import it."""

    for net, found in (
        (nets.Forgetful(4, 0.7), "arguments"),  # its masks would be others
        (Local(4), "Local"),
        (torch.nn.Sequential(*nets.MyNet(4)), "Sequential"),
    ):
        with pytest.raises(UserError, match=found):
            write_package(wrapped(nets, net), tmp_path / "out")
    with pytest.raises(UserError, match="lambda"):
        net = wrapped(nets, nets.MyNet(4), lambda x: nets.to_images(x))
        write_package(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_laion_models_are_refused(tmp_path):
    class LaionClap(type(small_clap())):
        """Stands for the other library's."""

    encoder = small_clap()
    encoder.__class__ = LaionClap
    with pytest.raises(UserError, match="lmac_zs_clap.yaml"):
        write_package(zs_interpreter(encoder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# --- the model card ----------------------------------------------------------


def card(package):
    import yaml

    text = (package / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_model_card(made):
    front, body = card(made("lmac")[1])
    assert front["library_name"] == "speechbrain" and front["license"]
    assert "audio-classification" in front["tags"]
    assert front["datasets"] == ["esc-50"] and "metrics" not in front
    assert "not a separation" in body and "dog, rain, siren" in body
    assert "Not evaluated yet" in body
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "the card", "exec")
    assert "from_hparams" in code and len(code.splitlines()) == 5
    assert "prompts=" in card(made("small")[1])[1]
    for kind in KINDS:
        if kind in ("l2i", "small", "lmac_ft"):
            assert "{" not in card(made(kind)[1])[1]


def test_the_figures_of_an_evaluation(tmp_path):
    run = tmp_path / "run"
    interpreter = closed(output_folder=str(run))
    table = "dataset,condition,method,protocol,n_clips,AI,AI_low,AI_high\n"
    for folder, mean in (("interpretations", 62.5), ("evaluation", 82.5)):
        (run / folder).mkdir(parents=True)
        (run / folder / "results.csv").write_text(
            f"{table}ESC-50,clean,lmac,published,80,{mean},53.75,90\n"
            "ESC-50,clean,gradcam,published,80,20,10,30\n"
        )
        front, body = card(write_package(interpreter, overwrite=True))
        assert f"| clean | published | 80 | {mean} [53.8, 90.0] |" in body
        assert ("own test" in body) == (folder == "interpretations")
        assert "AI" in front["metrics"] and "| 20" not in body


def test_synthetic_data_are_no_esc50(tmp_path):
    (tmp_path / "data/meta").mkdir(parents=True)
    (tmp_path / "data/meta/synthetic.json").write_text(
        '{"clips_per_class_and_fold": 2}'
    )
    interpreter = closed(data_folder=str(tmp_path / "data"))
    package = write_package(interpreter, tmp_path / "out")
    front, body = card(package)
    assert "datasets" not in front and "esc-50" not in body.lower()
    assert config_of(package)["data"]["dataset"].startswith("synthetic")


def test_the_card_may_be_edited_or_left_out(package):
    (package / "README.md").unlink()
    load_package(package)


# --- packages that are broken ------------------------------------------------


def test_a_folder_that_is_no_package(tmp_path):
    refused(tmp_path / "absent", "absent")
    refused(tmp_path, "config.json")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused(tmp_path, "config.json")


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe", b"[]", b"3", b"[" * 100_000, b" " * (2 << 20)],
)
def test_a_broken_config(package, content):
    (package / "config.json").write_bytes(content)
    refused(package, "config.json")


@pytest.mark.parametrize("version", [1, 3, 10**30, 0, "2", True, 2.0, None])
def test_other_formats_are_refused_by_name(package, version):
    edit(package, lambda c: c.update(package_format=version))
    assert "speechbrain_lmac" in refused(package, f"{version!r}")


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [1], {"class": "x"}])
@pytest.mark.parametrize(
    "entry",
    ["frontend", "classifier", "decoder", "fingerprints", "data", "method"],
)
def test_entries_of_another_kind(package, entry, value):
    edit(package, lambda c: c.update({entry: value}))
    if entry == "method" or (entry == "data" and isinstance(value, dict)):
        load_package(package)  # facts, of which nothing is built
    else:
        refused(package)
    edit(package, lambda c: c.pop(entry))
    refused(package, entry)


@pytest.mark.parametrize(
    "labels", [None, 3, "dog", [], ["dog"], ["a", "b", "b"], [1, 2, 3], [[], 1]]
)
def test_labels_that_do_not_fit(package, labels):
    edit(package, lambda c: c.update(labels=labels))
    refused(package)


def test_weights_of_another_package(made, package):
    for name in ("classifier", "decoder"):
        copy = shutil.copytree(package, package.with_name(name))
        other = made("lmac")[0]._asdict()[name].state_dict()
        other = {
            k: v + 1 if v.is_floating_point() else v for k, v in other.items()
        }
        save_weights(other, copy / f"{name}.safetensors")
        refused(copy, "do not belong together")
    (package / "decoder.safetensors").unlink()
    refused(package, "decoder.safetensors")


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda state: state.pop("head.bias"), "head.bias"),
        (lambda state: state.update(x=torch.ones(1)), "x"),
        (lambda s: s.update({"head.bias": torch.ones(2)}), "head.bias"),
        (lambda s: s.update({"head.bias": torch.ones(1).double()}), "changed"),
        (lambda s: s["head.bias"].fill_(torch.nan), "NaN"),
        (lambda s: s["head.bias"].fill_(-torch.inf), "infinite"),
    ],
)
def test_weights_must_fit_and_be_finite(package, change, found):
    path = package / "decoder.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    refused(package, found)


def test_damaged_weights(package):
    path = package / "decoder.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-100], b"", b"\0" * 8, content[100:]):
        path.write_bytes(damaged)
        refused(package, "decoder.safetensors")
    flipped = bytearray(content)
    flipped[-2] ^= 1
    path.write_bytes(flipped)
    refused(package, "have changed")


# --- packages that attack ----------------------------------------------------


class Payload:
    """What pickle turns into a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("trust", [False, True])
def test_no_pickle_is_ever_loaded(package, tmp_path, trust):
    made = tmp_path / "made"
    payload = Payload(f"touch {made}")
    torch.save(payload, package / "decoder.ckpt")
    torch.save(payload, package / "pytorch_model.bin")
    load_package(package, trust)
    for name in ("decoder", "classifier"):
        (package / f"{name}.safetensors").write_bytes(pickle.dumps(payload))
        refused(package, f"{name}.safetensors", trust_source=trust)
        torch.save(payload, package / f"{name}.safetensors")
        refused(package, f"{name}.safetensors", trust_source=trust)
    assert not made.exists()
    pickle.loads(pickle.dumps(payload))  # the payload is a real one
    assert made.exists()


@pytest.mark.parametrize("entry", ["frontend", "classifier", "decoder"])
@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os.system",
        "builtins:eval",
        "speechbrain_lmac.classifiers.slim:SlimCnn",
        "speechbrain_lmac.inference.package.writing:os.system",
        "__main__:x",
        "SmallClap",
        "",
        ":",
    ],
)
def test_names_of_code_are_refused(package, entry, name):
    edit(package, lambda c: c[entry].update({"class": name}))
    refused(package, "trust_source")


@pytest.mark.parametrize(
    "value",
    [
        {"class": "os:getcwd", "arguments": {}},
        {"function": "os:getcwd"},
        {"class": "SlimCnn", "arguments": {"n_classes": 3}},
        [{"function": "os:getcwd"}],
    ],
)
def test_code_among_the_arguments(package, value):
    edit(package, lambda c: c["classifier"]["arguments"].update(dropout=value))
    refused(package)


def huge(**arguments):
    return lambda config: config["classifier"]["arguments"].update(arguments)


@pytest.mark.parametrize(
    "change",
    [
        huge(channels=[50_000, 50_000]),  # 90 GB of weights
        huge(channels=[1] * 60),
        huge(channels=[1] * 100_000),
        huge(n_classes=10**9),
        huge(n_classes=10**300),
        huge(n_classes=-1),
        huge(dropout=float("nan")),
        lambda c: c["frontend"]["arguments"].update(n_fft=1 << 30),
        lambda c: c["frontend"]["arguments"].update(n_mels=1 << 30),
        lambda c: c["frontend"]["arguments"].update(win_length=1e9),
        lambda c: c["frontend"]["arguments"].update(sample_rate=1e12),
        lambda c: c["frontend"]["arguments"].update(hop_length=0),
        lambda c: c["frontend"]["arguments"].update(hop_length=1e-9),
        lambda c: c["decoder"]["arguments"].update(channels=[10**6] * 5),
        lambda c: c["decoder"]["arguments"].update(channels=[]),
    ],
)
def test_a_bomb_takes_no_memory(package, change):
    import resource

    edit(package, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(package)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB


def test_a_file_that_announces_more_than_fits(package):
    header, offset = {}, 0
    shape = [75, 1000, 1000]
    size = 4 * 75 * 10**6
    header["weight"] = {
        "dtype": "F32",
        "shape": shape,
        "data_offsets": [offset, offset + size],
    }
    text = json.dumps(header).encode()
    path = package / "decoder.safetensors"
    for length in (len(text), 1 << 40):
        with open(path, "wb") as file:  # sparse: it claims 300 MB on disk
            file.write(struct.pack("<Q", length) + text)
            file.truncate(8 + len(text) + size)
        refused(package, "decoder.safetensors")


# --- large CLAP models -------------------------------------------------------


def clap_arguments(change):
    return lambda config: change(config["encoder"]["arguments"])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["model"].update(auto_map={"AutoModel": "evil.Model"}),
        lambda a: a["model"].update(attn_implementation="owner/kernels"),
        lambda a: a["model"].update(_attn_implementation="owner/kernels"),
        lambda a: a["model"]["text_config"].update(auto_map={"x": "y"}),
        lambda a: a["model"].update(quantization_config={"quant_method": "x"}),
        lambda a: a["model"]["text_config"].update(vocab_size=10**6),
        lambda a: a["model"]["text_config"].update(vocab_size=10**12),
        lambda a: a["model"]["text_config"].update(num_hidden_layers=10**6),
        lambda a: a["model"]["text_config"].update(num_hidden_layers=150),
        lambda a: a["model"]["audio_config"].update(depths=[10**6] * 2),
        lambda a: a["model"]["audio_config"].update(hidden_act="os.system"),
        lambda a: a["tokens"].update(tokenizer_file="/etc/passwd"),
        lambda a: a.update(max_tokens="all"),
        lambda a: a.update(trust_remote_code=True),
        lambda a: a.pop("tokenizer_sha256"),
    ],
)
def test_clap_models_that_name_code_or_take_memory(hf_package, change):
    edit(hf_package, clap_arguments(change))
    refused(hf_package)


def test_a_tokenizer_that_has_changed(hf_package):
    path = hf_package / "tokenizer.json"
    path.write_text(path.read_text().replace('"a"', '"ä"', 1))
    refused(hf_package, "tokenizer.json")
    path.unlink()
    refused(hf_package, "tokenizer.json")
