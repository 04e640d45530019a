"""Hyperparameter files: what is refused, by name, before anything is built."""

import pytest

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams

TEXT = """
seed: 1234
data_folder: !PLACEHOLDER  # e.g., /data/ESC-50
noise_folder: null
l_in_w: 4
lr: 1e-3
offset: 0.5
finetuning: False
folds: [1, 2, 3]
methods: [lmac, random]
loss: {kind: published, weight: 2.0}
output_folder: !ref results/<seed>
twice: !ref <l_in_w> * 2
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
counter: !new:collections.Counter
    a: 1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def load(file, *lines):
    return load_hparams(file, "\n".join(["data_folder: /data", *lines]))


def refusal(file, *lines):
    """Message with which a command line is refused."""
    with pytest.raises(UserError) as caught:
        load(file, *lines)
    return str(caught.value)


def test_file_and_overrides(file):
    hparams = load(file, "l_in_w: 5", "seed: 7")
    assert hparams["data_folder"] == "/data"
    assert hparams["twice"] == 10
    assert hparams["output_folder"] == "results/7"
    assert hparams["lr"] == pytest.approx(1e-3)


def test_overrides_as_a_dict(file):
    assert load_hparams(file, {"data_folder": "/d"})["data_folder"] == "/d"


@pytest.mark.parametrize(
    "line, value",
    [
        ("l_in_w: 4.5", 4.5),
        ("l_in_w: 1e-2", 0.01),
        ("l_in_w: null", None),
        ("lr: 3", 3),
        ("offset: -2.5e-4", -2.5e-4),
        ("finetuning: true", True),
        ("folds: [4]", [4]),
        ("folds: (4, 5)", (4, 5)),
        ("folds: 4", 4),
        ("folds: null", None),
        ("noise_folder: /wham", "/wham"),
        ("methods: [ideal]", ["ideal"]),
        ("loss: {weight: 3}", {"kind": "published", "weight": 3}),
        ("twice: 9", 9),
        ("twice: !ref <seed>", 1234),
        ("counter: null", None),
    ],
)
def test_values_that_fit(file, line, value):
    assert load(file, line)[line.split(":")[0]] == value


@pytest.mark.parametrize(
    "line, expected",
    [
        ("l_in_w: abc", "--l_in_w: expected a number"),
        ("l_in_w: True", "--l_in_w: expected a number"),
        ("l_in_w: [4]", "--l_in_w: expected a number"),
        ("lr: '1e-3'", "--lr: expected a number"),
        ("lr: 1,5", "--lr: expected a number"),
        ("finetuning: 1", "--finetuning: expected True or False"),
        # In YAML 1.2, which HyperPyYAML reads, yes and no are texts.
        ("finetuning: yes", "--finetuning: expected True or False"),
        ("folds: all", "--folds: expected a list such as [all]"),
        ("folds: [a, b]", "--folds: expected a list of numbers"),
        ("methods: lmac", "--methods: expected a list such as [lmac]"),
        ("loss: published", "--loss: expected a mapping"),
        ("loss: {weight: x}", "--loss[weight]: expected a number"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(file, line, expected):
    message = refusal(file, line)
    assert message.startswith(expected)
    assert f"{file} says" in message and "found" in message


def test_the_message_shows_both_values(file):
    assert refusal(file, "folds: [a, b]").endswith(
        "says [1, 2, 3]), found [a, b]."
    )


@pytest.mark.parametrize(
    "line, advice",
    [
        ("l_inw: 4", "Did you mean --l_in_w"),
        ("Seed: 1", "Did you mean --seed"),
        # Of SpeechBrain's own options.
        ("devise: cuda", "Did you mean --device"),
        ("zzzz: 4", "It has: seed, data_folder, noise_folder,"),
        ("loss: {kindd: x}", "Did you mean --kind"),
    ],
)
def test_unknown_override(file, line, advice):
    message = refusal(file, line)
    key = "kindd" if "kindd" in line else line.split(":")[0]
    assert f"{key}: {file}" in message and advice in message


def test_a_missing_placeholder_says_what_to_type(file):
    for overrides in (None, "", "seed: 1", {}):
        with pytest.raises(UserError, match="add --data_folder=... to"):
            load_hparams(file, overrides)


def test_every_missing_placeholder_is_named(file):
    file.write_text("a: !PLACEHOLDER\nb: !PLACEHOLDER\nc: !PLACEHOLDER\n")
    with pytest.raises(UserError, match="leaves a, c to you.*--a=... --c=..."):
        load_hparams(file, "b: 1")


@pytest.mark.parametrize("key", ["finetuning", "data_folder", "l_in_w"])
def test_an_option_without_value(file, key):
    """The parser makes ``--key`` at the end of the line into ``key:``."""
    with pytest.raises(UserError, match=f"--{key} has no value; .*{key}=True"):
        load_hparams(file, f"{key}:")


def test_an_option_given_twice(file):
    assert "each once" in refusal(file, "seed: 1", "seed: 2")


def test_an_option_that_is_no_yaml(file):
    message = refusal(file, "noise_folder: @home")
    assert "--noise_folder=@home" in message and "quotes" in message


def test_an_option_without_dashes(file):
    with pytest.raises(UserError, match="found 'l_in_w 4'; are its dashes"):
        load_hparams(file, "l_in_w 4")


@pytest.mark.parametrize(
    "text, line",
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 1\na: 2\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: !new:x\n b: 1\n  c: 2\n", 3),
    ],
)
def test_a_broken_file_is_named_with_its_line(file, text, line):
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_hparams(file)
    assert str(caught.value).startswith(f"{file}, line {line}: ")


@pytest.mark.parametrize(
    "content, found", [(b"", "nothing"), (b"- 1\n", "found CommentedSeq")]
)
def test_a_file_without_keys(file, content, found):
    file.write_bytes(content)
    with pytest.raises(UserError, match=found):
        load_hparams(file)


def test_a_file_that_is_no_text(file):
    file.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(UserError, match="valid YAML"):
        load_hparams(file)


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(UserError, match="Cannot read the hyperparameter file"):
        load_hparams(tmp_path / name)


def test_errors_of_what_the_file_builds_name_the_options(file):
    file.write_text("b: 1\na: !apply:math.sqrt [!ref <b>]\n")
    with pytest.raises(
        UserError, match="train.yaml.*--b=-1.*math dom"
    ) as caught:
        load_hparams(file, {"b": -1})
    assert type(caught.value.__cause__) is ValueError  # for whoever debugs


RANGED = """
batch_size: 16
lr: 0.1
wave_prob: 0.5
probs: [0.5, 0.5]
contamination_snr: [0, 12]
other: 1.0
sample_rate: 16000
n_fft: 1024
win_length: 23.2
hop_length: 11.6
n_mels: 80
"""


@pytest.mark.parametrize(
    "line, reason",
    [
        ("batch_size: 0", "whole numbers from 1 to"),
        ("batch_size: 2.5", "whole numbers"),
        ("batch_size: .nan", "whole numbers"),
        ("lr: -1e-3", "from 0.0"),
        ("wave_prob: 1.1", "from 0.0 to 1.0"),
        ("probs: [.inf]", "finite"),
        ("other: .nan", "finite"),
        ("contamination_snr: [.nan, 1]", "from -1000.0"),
        ("n_fft: 256", "ascending order"),
        ("hop_length: 30", "ascending order"),
        ("hop_length: 0.01", "`hop_length` is 0 samples"),
        ("n_mels: 600", "at most the 513 bins"),
        ("other: 2026-13-45", "--key=value"),
    ],
)
def test_numbers_out_of_range(tmp_path, line, reason):
    path = tmp_path / "ranged.yaml"
    path.write_text(RANGED)
    with pytest.raises(UserError) as caught:
        load_hparams(path, line)
    assert reason in str(caught.value)
    assert f"{line.partition(':')[0]}" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["batch_size: 1", "lr: 0", "wave_prob: 1", "other: -7"]
)
def test_numbers_in_range(tmp_path, line):
    path = tmp_path / "ranged.yaml"
    path.write_text(RANGED)
    load_hparams(path, line)


def test_an_output_folder_that_cannot_be_made_by_what_is_built(file):
    """SpeechBrain's checkpointer makes its folder, so before start_run."""
    taken = file.with_name("taken")
    taken.touch()
    file.write_text(
        "output_folder: !PLACEHOLDER\n"
        "checkpointer: !new:speechbrain.utils.checkpoints.Checkpointer\n"
        "    checkpoints_dir: !ref <output_folder>/save\n"
    )
    for folder in (taken, taken / "run"):
        with pytest.raises(UserError) as caught:
            load_hparams(file, {"output_folder": str(folder)})
        message = str(caught.value)
        assert message.startswith("`output_folder`: cannot write to")
        assert str(folder) in message and "Point --output_folder" in message


def test_another_path_that_cannot_be_used(file):
    file.write_text("text: !apply:speechbrain.dataio.dataio.load_pkl [no.pkl]")
    with pytest.raises(UserError, match=f"{file}: cannot use no.pkl"):
        load_hparams(file)


def test_an_empty_mapping_takes_any_keys(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("options: {}\nfull: {a: 1}\n")
    found = load_hparams(file, "options: {gradcam: {layer: 1}}")
    assert found["options"] == {"gradcam": {"layer": 1}}
    with pytest.raises(UserError, match="--b"):
        load_hparams(file, "full: {b: 1}")
