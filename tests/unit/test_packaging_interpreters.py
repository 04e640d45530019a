"""Packages of trained interpreters: written whole, loaded with care."""

import importlib.util
import json
import os
import pickle
import shutil
import socket
import struct
import time
from types import SimpleNamespace

import pytest
import torch
from clap_toys import SMALL_AUDIO, save_clap
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.loading import save_classifier
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import (
    SmallClap,
    save_small_clap,
)
from speechbrain_lmac.inference.package import (
    UnsafePackageError,
    load_package,
    write_package,
)
from speechbrain_lmac.inference.package import files as package_files
from speechbrain_lmac.inference.package.files import CONFIG_FILE, file_facts
from speechbrain_lmac.inference.package.safe.weights import save_weights
from speechbrain_lmac.interpreters.loading import Interpreter, write_info
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams

PROMPTS = ["dog", "rain", "siren"]
COMMON = """\
output_folder: {folder}
dataset: ESC-50
mask_domain: {domain}
finetuning: {finetuning}
ckpt_metric: quality
ckpt_mode: max
audio: {{folder: /nowhere}}
contamination: null
checkpointer: null
lr: 0.1
"""
CLOSED = (
    COMMON
    + """\
classifier_source: {folder}/classifier
sample_rate: 16000
n_fft: 512
win_length: 23.2199
hop_length: 11.6099
n_mels: 32
frontend: !apply:speechbrain_lmac.features.build_frontend
    mask_domain: !ref <mask_domain>
    sample_rate: !ref <sample_rate>
    n_fft: !ref <n_fft>
    n_mels: !ref <n_mels>
classifier: !new:{classifier}
    n_classes: 3
    n_mels: !ref <n_mels>
    channels: [4, 8, 8]
decoder: !apply:{decoder}
    classifier: !ref <classifier>
    frontend: !ref <frontend>
    channels: [6, 4]
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
"""
)
ZERO_SHOT = (
    COMMON
    + """\
clap_source: {clap}
encoder: !{make}
    {argument}: !ref <clap_source>
frontend: !apply:{clap_class}.build_frontend
    self: !ref <encoder>
    mask_domain: !ref <mask_domain>
sample_rate: {rate}
decoder: !apply:speechbrain_lmac.interpreters.text_decoder.build_text_decoder
    encoder: !ref <encoder>
    frontend: !ref <frontend>
    channels: [6, 4]
"""
)
CLASSIFIERS = "speechbrain_lmac.classifiers"
L2I = "speechbrain_lmac.interpreters.l2i.build_l2i"
LMAC = "speechbrain_lmac.interpreters.decoders.build_decoder"
SLIM = f"{CLASSIFIERS}.slim.SlimCnn"


def finish(folder, hparams):
    """Move weights and statistics away from their start, and save them."""
    for module in hparams["decoder"].modules():
        for tensor in module._parameters.values():
            if tensor is not None:
                tensor.data.add_(0.05 * torch.randn_like(tensor))
    if hasattr(hparams["decoder"], "dictionary"):
        hparams["decoder"].set_dictionary(torch.rand(257, 100))
    saver = Checkpointer(folder / "save", {"decoder": hparams["decoder"]})
    saver.save_checkpoint(meta={"quality": 1.0})
    return folder


def closed_run(
    folder, decoder=LMAC, domain="stft", finetuning=False, classifier=SLIM
):
    """What a training leaves, without the training."""
    folder.mkdir(parents=True)
    file = folder / "hyperparams.yaml"
    file.write_text(
        CLOSED.format(
            folder=folder,
            decoder=decoder,
            domain=domain,
            finetuning=finetuning,
            classifier=classifier,
        )
    )
    hparams = load_hparams(file)
    labels = CategoricalEncoder()
    labels.update_from_iterable(PROMPTS)
    for norm in hparams["classifier"].norms:
        norm.running_mean.normal_()
    save_classifier(folder / "classifier", hparams["classifier"], labels)
    write_info(folder, hparams)
    return finish(folder, hparams)


def zero_shot_run(folder, clap, make, argument, clap_class, rate):
    folder.mkdir(parents=True)
    file = folder / "hyperparams.yaml"
    file.write_text(
        ZERO_SHOT.format(
            folder=folder,
            domain="stft",
            finetuning=False,
            clap=clap,
            make=make,
            argument=argument,
            clap_class=f"{CLASSIFIERS}.zero_shot.{clap_class}",
            rate=rate,
        )
    )
    hparams = load_hparams(file)
    write_info(folder, hparams)
    return finish(folder, hparams)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("runs")
    settings = {"sample_rate": 16000, "n_fft": 512, "n_mels": 32}
    clap = SmallClap(16, (4, 8, 8), 0.1, {"n_words": 32}, settings)
    clap.learn_words(PROMPTS)
    clap.center_on(PROMPTS)
    save_small_clap(root / "small_clap", clap, PROMPTS)
    return {
        "lmac": closed_run(root / "lmac"),
        "mel": closed_run(root / "mel", domain="mel"),
        "ft": closed_run(root / "ft", finetuning=True),
        "l2i": closed_run(root / "l2i", L2I),
        "small": zero_shot_run(
            root / "small",
            root / "small_clap",
            f"apply:{CLASSIFIERS}.zero_shot.small.load_small_clap",
            "folder",
            "small.SmallClap",
            16000,
        ),
    }


@pytest.fixture(scope="module")
def packages(runs, tmp_path_factory):
    """The package of each run."""
    root = tmp_path_factory.mktemp("packages")
    return {name: write_package(run, root / name) for name, run in runs.items()}


@pytest.fixture
def package(packages, tmp_path):
    """A copy of the closed-set package, to be mistreated."""
    return shutil.copytree(packages["lmac"], tmp_path / "package")


def config_of(package):
    return json.loads((package / CONFIG_FILE).read_text())


def edit_config(package, edit):
    """Change config.json, as whoever wrote the package could."""
    config = config_of(package)
    edit(config)
    (package / CONFIG_FILE).write_text(json.dumps(config))


def replaced(package, name, content):
    """Change a file, and its checksum with it."""
    path = package / name
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    edit_config(package, lambda c: c["files"].update({name: file_facts(path)}))
    return path


def answers(interpreter, prompts=None):
    """Logits and masks of some clips, at the classifier's rate."""
    if prompts:
        interpreter.classifier.set_prompts(prompts)
    torch.manual_seed(1)
    wavs = torch.randn(2, 96000)
    found = explain(
        wavs,
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
    )
    return found.output.logits, found.mask


# --- round trips -------------------------------------------------------------


@pytest.mark.parametrize("name", ["lmac", "mel", "ft", "l2i"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_package_answers_as_its_run(runs, packages, name, trust):
    loaded = load_package(packages[name], trust_source=trust)
    run = Interpreter.load(runs[name])
    for ours, theirs in zip(answers(loaded), answers(run), strict=True):
        assert torch.equal(ours, theirs)
    assert loaded.mask_domain == run.mask_domain
    assert loaded.labels == run.labels == PROMPTS
    assert loaded.classifier.frozen and not loaded.decoder.training
    assert not any(p.requires_grad for p in loaded.decoder.parameters())
    assert config_of(packages[name])["labels"] == PROMPTS


@pytest.mark.parametrize("trust", [False, True])
def test_a_zero_shot_package_answers_as_its_run(runs, packages, trust):
    loaded = load_package(packages["small"], trust_source=trust)
    assert isinstance(loaded.classifier, ZeroShotClassifier)
    assert len(loaded.classifier.prompts) >= 1 and loaded.labels is None
    run = Interpreter.load(runs["small"]).set_prompts(PROMPTS)
    for ours, theirs in zip(
        answers(loaded, PROMPTS), answers(run, PROMPTS), strict=True
    ):
        assert torch.equal(ours, theirs)
    info = json.loads((packages["small"] / "clap.json").read_text())
    assert info["fingerprint"] == fingerprint(loaded.hparams["encoder"])


def test_the_kinds_of_methods(packages):
    methods = {name: config_of(p)["method"] for name, p in packages.items()}
    assert methods == {
        "lmac": "lmac",
        "mel": "lmac",
        "ft": "lmac_ft",
        "l2i": "l2i",
        "small": "lmac_zs",
    }
    kinds = {config_of(p)["kind"] for p in packages.values()}
    assert kinds == {"closed-set", "zero-shot"}


def test_what_a_package_holds(packages):
    package = packages["lmac"]
    names = {path.name for path in package.iterdir()}
    assert names == {
        *("README.md", "classifier.safetensors", "config.json"),
        *("decoder.safetensors", "hyperparams.yaml", "label_encoder.txt"),
    }
    config = config_of(package)
    assert config["speechbrain_interface"] == "AudioInterpreter"
    assert config["package_format"] == 1 and config["sample_rate"] == 16000
    assert set(config["files"]) == names - {"config.json"}
    for name, facts in config["files"].items():
        assert facts == file_facts(package / name)
    text = (package / "hyperparams.yaml").read_text()
    # Nothing of the training, nor of the place where it ran.
    assert "lr" not in text and str(package.parent.parent) not in text
    modes = {path.stat().st_mode for path in package.iterdir()}
    assert len(modes) == 1


def test_plain_hyperpyyaml_reads_it(packages):
    for name, parts in (
        ("lmac", ["frontend", "classifier", "decoder"]),
        ("small", ["frontend", "encoder", "decoder"]),
    ):
        with open(packages[name] / "hyperparams.yaml") as file:
            hparams = load_hyperpyyaml(file)
        assert list(hparams["modules"]) == parts
        assert hparams["sample_rate"] == 16000
        assert hparams["mask_domain"] == "stft"


def test_loading_writes_nothing_and_draws_nothing(packages, monkeypatch):
    monkeypatch.chdir(packages["lmac"].parent)
    before = sorted(packages["lmac"].parent.rglob("*"))
    state = torch.random.get_rng_state()
    load_package("lmac")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sorted(packages["lmac"].parent.rglob("*")) == before


def test_overrides(packages):
    loaded = load_package(packages["lmac"], overrides={"n_mels": 32})
    assert loaded.hparams["n_mels"] == 32
    with pytest.raises(UserError, match="`lr`"):
        load_package(packages["lmac"], overrides={"lr": 1})


def test_loading_is_fast(packages):
    start = time.process_time()
    load_package(packages["lmac"])
    assert time.process_time() - start < 5


# --- writing -----------------------------------------------------------------


def test_the_default_place_and_overwriting(runs, tmp_path):
    run = shutil.copytree(runs["lmac"], tmp_path / "run")
    out = write_package(run)
    assert out == run / "package"
    (out / "mark").touch()
    with pytest.raises(UserError, match="`out_folder`: .*package exists"):
        write_package(run)
    assert (out / "mark").exists()
    assert write_package(run, overwrite=True) == out
    assert not (out / "mark").exists()
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_what_is_no_package_is_not_replaced(runs, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds no package"):
        write_package(runs["lmac"], tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    out = write_package(runs["lmac"], tmp_path / "out")
    before = (out / CONFIG_FILE).read_text()
    monkeypatch.setattr(
        "speechbrain_lmac.inference.package.writing.write_config", fail
    )
    for name in ("out", "new"):
        with pytest.raises(OSError, match="No space"):
            write_package(runs["l2i"], tmp_path / name, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / CONFIG_FILE).read_text() == before


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="`run_folder`"):
        write_package(tmp_path)


def test_shared_tensors_are_written_once_each(tmp_path):
    module = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)}
    )
    module["b"].weight = module["a"].weight
    save_weights(module, tmp_path / "w.safetensors")
    from safetensors.torch import load_file

    state = load_file(tmp_path / "w.safetensors")
    assert torch.equal(state["a.weight"], state["b.weight"])
    assert set(state) == set(module.state_dict())


def test_a_classifier_of_ones_own_needs_trust(tmp_path, monkeypatch, caplog):
    (tmp_path / "my_nets.py").write_text(
        f"from {CLASSIFIERS}.slim import SlimCnn\n"
        "class MyNet(SlimCnn):\n    '''My own.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = closed_run(tmp_path / "run", classifier="my_nets.MyNet")
    package = write_package(run)
    with pytest.raises(UnsafePackageError, match="!new:my_nets.MyNet"):
        load_package(package)
    loaded = load_package(package, trust_source=True)
    assert type(loaded.classifier).__name__ == "MyNet"


def test_cnn14_and_its_parts_by_reference():
    import ruamel.yaml

    from speechbrain_lmac.inference.package.run_yaml import inference_yaml

    text = """\
n_mels: 80
sparsity: !new:speechbrain_lmac.training.lmac.SparsityWeight {weight: 1}
embedding_model: &a !new:speechbrain.lobes.models.Cnn14.Cnn14
  mel_bins: 80
head: &b !new:torch.nn.Linear {in_features: 2048, out_features: 5}
classifier: &c !new:speechbrain_lmac.classifiers.cnn14.Cnn14Classifier
  embedding_model: *a
  classifier: *b
decoder: !apply:x.y
  classifier: *c
  note: "it's: 1 # odd"
  empty:
"""
    out = inference_yaml(ruamel.yaml.YAML().load(text), ["decoder"])
    assert "sparsity" not in out
    tree = ruamel.yaml.YAML().load(out)
    assert list(tree) == [
        *("n_mels", "embedding_model", "head", "classifier", "decoder"),
        "modules",
    ]
    assert "embedding_model: !ref <embedding_model>\n" in out
    assert "classifier: !ref <head>\n" in out
    assert tree["decoder"]["note"] == "it's: 1 # odd"
    assert tree["decoder"]["empty"] is None


# --- the model card ----------------------------------------------------------


def card(package):
    import ruamel.yaml

    text = (package / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return ruamel.yaml.YAML(typ="safe").load(front), body


def test_the_model_card(packages):
    front, body = card(packages["lmac"])
    assert front["library_name"] == "speechbrain" and front["license"]
    assert "audio-classification" in front["tags"]
    assert front["datasets"] == ["esc-50"] and front["metrics"] == []
    assert "not a separation" in body and "dog, rain, siren" in body
    assert "AudioInterpreter.from_hparams" in body
    assert "Not evaluated yet" in body
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "the card", "exec")
    assert len(code.splitlines()) == 5
    assert "prompts=" in card(packages["small"])[1]


def test_the_metrics_of_an_evaluation(runs, tmp_path):
    run = shutil.copytree(runs["lmac"], tmp_path / "run")
    (run / "evaluation").mkdir()
    (run / "evaluation/results.csv").write_text(
        "dataset,condition,method,protocol,n_clips,AI,AI_low,AI_high,FF\n"
        "ESC-50,clean,lmac,published,80,82.5,73.75,90,0.7\n"
        "ESC-50,clean,gradcam,published,80,20,10,30,0.1\n"
    )
    front, body = card(write_package(run))
    assert "AI" in front["metrics"]
    assert "| condition | protocol | clips | AI ↑ | FF ↑ |" in body
    assert "| clean | published | 80 | 82.5 [73.8, 90.0] | 0.7 |" in body
    (run / "evaluation/results.csv").unlink()
    (run / "evaluation/results.md").write_text("# Found\n\n## Clean\n\n| a |\n")
    _, body = card(write_package(run, overwrite=True))
    assert (
        "Found" in body and "\n#### Clean" in body and "\n# Found" not in body
    )


def test_the_training_s_own_test_is_on_the_card(runs, tmp_path):
    run = shutil.copytree(runs["lmac"], tmp_path / "run")
    (run / "interpretations").mkdir()
    (run / "interpretations/results.csv").write_text(
        "dataset,condition,method,protocol,n_clips,AI,AI_low,AI_high\n"
        "ESC-50,clean,lmac,published,80,62.5,53.75,70\n"
    )
    front, body = card(write_package(run))
    assert "The training's own test" in body and "AI" in front["metrics"]
    assert "| clean | published | 80 | 62.5 [53.8, 70.0] |" in body
    (run / "evaluation").mkdir()
    (run / "evaluation/results.md").write_text("# Found\n")
    _, body = card(write_package(run, overwrite=True))
    assert "own test" not in body and "Found" in body


def test_synthetic_data_are_no_esc50(runs, tmp_path):
    run = shutil.copytree(runs["lmac"], tmp_path / "run")
    with (run / "hyperparams.yaml").open("a") as file:
        file.write(f"data_folder: {tmp_path / 'data'}\n")
    (run / "interpretations").mkdir()
    (run / "interpretations/results.csv").write_text(
        "dataset,condition,method,n_clips,AI\nESC-50,clean,lmac,80,62.5\n"
    )
    (tmp_path / "data/meta").mkdir(parents=True)
    (tmp_path / "data/meta/synthetic.json").write_text(
        '{"clips_per_class_and_fold": 2}'
    )
    package = write_package(run)
    front, body = card(package)
    assert front["datasets"] == [] and "esc-50" not in body.lower()
    assert config_of(package)["data"]["dataset"].startswith("synthetic")


def test_the_card_may_be_edited(package):
    (package / "README.md").write_text("My own words.")
    load_package(package)
    (package / "README.md").unlink()
    load_package(package)


# --- packages that are broken ------------------------------------------------


def test_a_folder_that_is_no_package(tmp_path, runs):
    for folder in (tmp_path / "absent", tmp_path, runs["lmac"]):
        with pytest.raises(UserError, match="config.json.*lmac package"):
            load_package(folder)
    (tmp_path / CONFIG_FILE).write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="`speechbrain_interface`.*None"):
        load_package(tmp_path)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b" " * (2 << 20)]
)
def test_a_broken_config(package, content):
    (package / CONFIG_FILE).write_bytes(content)
    with pytest.raises(UserError, match=CONFIG_FILE):
        load_package(package)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"package_format": 2}, "format 2.*Upgrade.*pip install -U"),
        ({"package_format": 10**30}, "Upgrade"),
        ({"package_format": 0}, "`package_format` .* from 1 to 1, found 0"),
        ({"package_format": "1"}, "to be a whole number .* found '1'"),
        ({"package_format": True}, "found True"),
        ({"kind": "open"}, "found `kind`: 'open'. Fetch"),
        ({"kind": ["open"]}, r"found `kind`: \['open'\]"),
        ({"mask_domain": "wave"}, "found `mask_domain`: 'wave'"),
        ({"files": ["a"]}, r"found `files`: \['a'\]"),
        ({"files": {"hyperparams.yaml": 1}}, "expected `sha256`"),
        ({"files": {}}, "no hyperparams.yaml.*label_encoder.txt"),
        ({"sample_rate": 8000}, "`sample_rate` is 8000.*has 16000"),
        ({"explains": {"classifier": "0" * 16}}, "do not belong together"),
        ({"kind": "zero-shot"}, "expected `encoder`"),
    ],
)
def test_a_config_that_does_not_fit(package, change, message):
    edit_config(package, lambda config: config.update(change))
    with pytest.raises(UserError, match=message) as error:
        load_package(package)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "classifier.safetensors",
        "decoder.safetensors",
        "hyperparams.yaml",
        "label_encoder.txt",
    ],
)
def test_missing_and_changed_files_are_named(package, name):
    path = package / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} has changed.*sha256"):
        load_package(package)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{name} has changed.*size"):
        load_package(package)
    with pytest.raises(UserError, match=f"{name} has changed"):
        load_package(package, trust_source=True)
    path.unlink()
    with pytest.raises(UserError, match=f"misses {name}.*again"):
        load_package(package)


def test_all_that_is_read_has_a_checksum(package):
    edit_config(package, lambda c: c["files"].pop("label_encoder.txt"))
    with pytest.raises(UserError, match="names no label_encoder.txt"):
        load_package(package)


def test_a_decoder_of_another_classifier(packages, package):
    other = (packages["mel"] / "classifier.safetensors").read_bytes()
    replaced(package, "classifier.safetensors", other)
    with pytest.raises(UserError, match="do not belong together"):
        load_package(package)


ENCODER_END = "================\n'starting_index' => 0\n"


def test_labels_that_do_not_fit(package):
    labels = CategoricalEncoder()
    labels.update_from_iterable(["dog", "rain"])
    labels.save(package / "label_encoder.txt")
    replaced(
        package,
        "label_encoder.txt",
        (package / "label_encoder.txt").read_bytes(),
    )
    with pytest.raises(UserError, match="expected 3 labels.*found 2"):
        load_package(package)
    for text in (
        "dog\n",
        "'dog' => " + "(" * 500 + "\n",
        "",
        "'dog' => 0\n'rain' => 1\n",  # without the lines below
        "'dog' => 0\n'rain' => 2\n'siren' => 3\n" + ENCODER_END,
        "'dog' => 0\n'rain' => 1\n'dog' => 2\n" + ENCODER_END,
        "['dog'] => 0\n" + ENCODER_END,
    ):
        replaced(package, "label_encoder.txt", text)
        with pytest.raises(UserError, match="no label encoder"):
            load_package(package)


# --- packages that attack ----------------------------------------------------


class Payload:
    """What pickle turns into a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "name",
    ["decoder.ckpt", "classifier.pt", "weights.PKL", "clap/pytorch_model.bin"],
)
@pytest.mark.parametrize("listed", [True, False])
def test_pickles_are_refused_by_name(package, tmp_path, name, listed):
    made = tmp_path / "made"
    path = package / name
    path.parent.mkdir(exist_ok=True)
    torch.save(Payload(f"touch {made}"), path)
    if listed:
        edit_config(
            package, lambda c: c["files"].update({name: file_facts(path)})
        )
    with pytest.raises(UnsafePackageError, match=f"{name}.*no pickles"):
        load_package(package)
    with pytest.raises(UnsafePackageError, match="no pickles"):
        load_package(package, trust_source=True)
    assert not made.exists()


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_pickle_under_the_name_of_weights(package, tmp_path, protocol, trust):
    made = tmp_path / "made"
    payload = Payload(f"touch {made}")
    path = package / "decoder.safetensors"
    if protocol == "torch":
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    replaced(package, path.name, path.read_bytes())
    with pytest.raises(UserError, match="decoder.safetensors is no readable"):
        load_package(package, trust_source=trust)
    assert not made.exists()
    # The payload is a real one.
    path.write_bytes(pickle.dumps(payload))
    pickle.loads(path.read_bytes())
    assert made.exists()


def test_yaml_that_runs_commands(package, tmp_path):
    made = tmp_path / "made"
    text = (package / "hyperparams.yaml").read_text()
    text += f'evil: !apply:os.system ["touch {made}"]\n'
    replaced(package, "hyperparams.yaml", text)
    with pytest.raises(UnsafePackageError, match="!apply:os.system"):
        load_package(package)
    assert not made.exists()
    load_package(package, trust_source=True)
    assert made.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../hyperparams.yaml",
        "/etc/passwd",
        "clap/../../hyperparams.yaml",
        "clap\\..\\hyperparams.yaml",
        "./hyperparams.yaml",
        "hyperparams.yaml\n",
        "a/b/c.json",
        "custom.py",
        ".git/config",
        "",
    ],
)
def test_file_names_cannot_leave_the_package(package, name):
    edit_config(
        package,
        lambda c: c["files"].update({name: {"sha256": "0", "size": 1}}),
    )
    with pytest.raises(UnsafePackageError, match="no file of a package"):
        load_package(package)


def test_links_cannot_leave_the_package(package, tmp_path):
    outside = tmp_path / "outside.yaml"
    path = package / "hyperparams.yaml"
    shutil.move(path, outside)
    path.symlink_to(outside)
    with pytest.raises(UnsafePackageError, match="link to .*outside.yaml"):
        load_package(package)
    path.unlink()
    shutil.move(outside, package / "real.yaml")
    path.symlink_to("real.yaml")
    load_package(package)


def test_the_layout_of_the_hubs_cache(packages, tmp_path):
    home = tmp_path / "models--owner--name"
    snapshot = home / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    shutil.copytree(packages["lmac"], home / "blobs")
    for path in (home / "blobs").iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert load_package(snapshot).mask_domain == "stft"


def header_of(shapes, dtype="F32", length=None):
    """A safetensors file that announces tensors and holds nothing."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(torch.tensor(shape).prod())
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", length or len(text)) + text, offset


def test_tensors_larger_than_the_modules(package, monkeypatch):
    import safetensors

    content, size = header_of({"weight": [75, 1000, 1000]})
    path = package / "decoder.safetensors"
    # A sparse file: it claims 300 MB, on disk and in the header.
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(len(content) + size)
    edit_config(
        package, lambda c: c["files"].update({path.name: file_facts(path)})
    )
    opened = safetensors.safe_open

    class HeaderOnly:
        """The library's reader, whose tensors must not be read."""

        def __init__(self, name, framework):
            self.name = name
            self.file = opened(name, framework)
            self.keys = self.file.keys
            self.get_slice = self.file.get_slice

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def get_tensor(self, name):
            assert not self.name.endswith("decoder.safetensors")
            return self.file.get_tensor(name)

    monkeypatch.setattr(safetensors, "safe_open", HeaderOnly)
    with pytest.raises(UserError, match="decoder.*not hold.*of 300.0 MB"):
        load_package(package)


@pytest.mark.parametrize(
    "content, message",
    [
        (header_of({"weight": [2, 2]})[0], "no readable"),
        (header_of({"weight": [2, 2]}, length=1 << 40)[0], "no readable"),
        (b"", "no readable"),
        (b"\x00" * 8, "no readable"),
    ],
)
def test_headers_that_lie(package, content, message):
    replaced(package, "decoder.safetensors", content)
    with pytest.raises(UserError, match=f"decoder.safetensors.*{message}"):
        load_package(package)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(packages, package, value):
    decoder = load_package(packages["lmac"]).decoder
    name, weight = next(iter(decoder.state_dict().items()))
    weight.view(-1)[1] = value
    save_weights(decoder, package / "decoder.safetensors")
    content = (package / "decoder.safetensors").read_bytes()
    replaced(package, "decoder.safetensors", content)
    with pytest.raises(UserError, match=f"ones in {name} .1 of ") as error:
        load_package(package)
    assert "decoder.safetensors" in str(error.value)


def test_truncated_weights(package):
    content = (package / "decoder.safetensors").read_bytes()
    replaced(package, "decoder.safetensors", content[:-100])
    with pytest.raises(UserError, match="decoder.safetensors is no readable"):
        load_package(package)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda state: state.pop("head.bias"), "missing keys head.bias"),
        (lambda s: s.update(x=torch.ones(1)), "unexpected keys x"),
        (lambda s: s.update({"head.bias": torch.ones(2)}), r"shapes head.bias"),
        (
            lambda s: s.update({"head.bias": torch.ones(1).double()}),
            "head.bias: expected torch.float32, found F64",
        ),
    ],
)
def test_weights_must_fit_strictly(package, edit, message):
    from safetensors.torch import load_file, save_file

    path = package / "decoder.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path)
    replaced(package, path.name, path.read_bytes())
    with pytest.raises(UserError, match=message):
        load_package(package)


def test_layers_larger_than_the_weights(package):
    text = (package / "hyperparams.yaml").read_text()
    changed = text.replace("channels: [4, 8, 8]", "channels: [50000, 50000]")
    assert changed != text
    replaced(package, "hyperparams.yaml", changed)
    with pytest.raises(UserError, match="asks for tensors of .* GB"):
        load_package(package)


@pytest.mark.parametrize(
    "part, other",
    [
        ("classifier", "!new:torch.nn.Linear [2, 3]"),
        ("classifier", "3"),
        ("decoder", "null"),
        ("frontend", "{}"),
    ],
)
def test_parts_of_another_kind(package, part, other):
    lines = (package / "hyperparams.yaml").read_text().split("\n\n")
    lines = [
        f"{part}: {other}" if block.startswith(f"{part}:") else block
        for block in lines
        if not block.startswith("decoder:") or part == "decoder"
    ]
    if part != "decoder":
        lines.append("decoder: !new:torch.nn.ReLU")
    lines = [block for block in lines if not block.startswith("modules:")]
    replaced(package, "hyperparams.yaml", "\n\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"expected `{part}`|cannot build"):
        load_package(package)


# --- large CLAP models -------------------------------------------------------

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed",
)


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    """A run on a tiny CLAP of transformers, and its package."""
    root = tmp_path_factory.mktemp("hf")
    save_clap(root / "tiny", SMALL_AUDIO, seconds=2, bands=16)
    torch.manual_seed(2)
    run = zero_shot_run(
        root / "run",
        root / "tiny",
        f"new:{CLASSIFIERS}.zero_shot.hf.HfClap",
        "source",
        "base.ClapEncoder",
        48000,
    )
    return SimpleNamespace(run=run, package=write_package(run))


@pytest.fixture
def hf_package(hf, tmp_path):
    return shutil.copytree(hf.package, tmp_path / "package")


@needs_transformers
@pytest.mark.parametrize("trust", [False, True])
def test_a_hf_package_answers_as_its_run(hf, tmp_path, monkeypatch, trust):
    package = shutil.copytree(hf.package, tmp_path / "moved")

    def refuse(*args):
        raise AssertionError("Expected no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = load_package(package, trust_source=trust)
    run = Interpreter.load(hf.run).set_prompts(PROMPTS)
    for ours, theirs in zip(
        answers(loaded, PROMPTS), answers(run, PROMPTS), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert loaded.frontend.sample_rate == 48000
    assert (package / "clap/model.safetensors").is_file()


@needs_transformers
def test_hf_files_that_are_not_listed(hf_package):
    (hf_package / "clap/vocab.json").write_text("{}")
    edit_config(hf_package, lambda c: c["files"].pop("clap/vocab.json", None))
    with pytest.raises(UserError, match="clap/vocab.json.*not list"):
        load_package(hf_package)


def edit_clap(package, name, **values):
    path = package / "clap" / name
    content = json.loads(path.read_text())
    content.update(values)
    replaced(package, f"clap/{name}", json.dumps(content))


@needs_transformers
@pytest.mark.parametrize(
    "name, values",
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("config.json", {"attn_implementation": "owner/kernels"}),
        ("config.json", {"_attn_implementation": "owner/kernels"}),
        ("config.json", {"text_config": {"auto_map": {"x": "y"}}}),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["e.T"]}}),
        ("tokenizer_config.json", {"tokenizer_class": "TransfoXLTokenizer"}),
        ("preprocessor_config.json", {"auto_map": {"x": "y"}}),
    ],
)
def test_hf_files_that_name_code(hf_package, name, values):
    edit_clap(hf_package, name, **values)
    with pytest.raises(UnsafePackageError, match=f"clap/{name}"):
        load_package(hf_package)


@needs_transformers
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "modeling.py", "chat_template.jinja"]
)
def test_hf_files_that_do_not_belong(hf_package, name):
    (hf_package / "clap" / name).write_text("{}")
    with pytest.raises(UnsafePackageError, match=f"clap/{name}"):
        load_package(hf_package)


@needs_transformers
def test_hf_models_larger_than_their_weights(hf_package):
    text = json.loads((hf_package / "clap/config.json").read_text())
    text["text_config"]["vocab_size"] = 999_999
    text["text_config"]["hidden_size"] = 99_998
    edit_clap(hf_package, "config.json", **text)
    with pytest.raises(UserError, match="clap"):
        load_package(hf_package)
    text["text_config"]["vocab_size"] = 10**12
    edit_clap(hf_package, "config.json", **text)
    with pytest.raises(UserError, match="`vocab_size` is 1000000000000"):
        load_package(hf_package)
    text["text_config"]["vocab_size"] = 100
    text["text_config"]["num_hidden_layers"] = 999_999
    edit_clap(hf_package, "config.json", **text)
    with pytest.raises(UserError, match="`num_hidden_layers`.* at most 200"):
        load_package(hf_package)


def test_laion_models_are_refused_with_advice(runs, monkeypatch, tmp_path):
    class LaionClap(torch.nn.Module):
        """Stands for the other library's."""

    from speechbrain_lmac.inference.package import writing

    interpreter = Interpreter.load(runs["small"]).set_prompts(PROMPTS)
    interpreter.hparams["encoder"] = LaionClap()
    monkeypatch.setattr(
        writing.Interpreter, "load", lambda *a, **k: interpreter
    )
    with pytest.raises(UserError, match="LaionClap.*lmac_zs_clap.yaml"):
        write_package(runs["small"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_names_of_a_package_are_all_harmless():
    for suffix in package_files.PICKLES:
        for stem in ("decoder", "clap/model", "clap/pytorch_model"):
            assert not package_files.KNOWN_NAMES.fullmatch(stem + suffix)
