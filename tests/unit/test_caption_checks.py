"""Captions that a text encoder refuses are found before training begins."""

import logging
from types import SimpleNamespace

import pytest
import torch
from brain_toys import CPU
from clap_toys import byte_tokenizer
from test_captions import write_audio, write_table
from test_lmac_zs_brain import DEFAULTS
from zs_toys import small_clap

from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.data.captions.datasets import check_captions, shortened
from speechbrain_lmac.data.captions.prepare import prepare_captions
from speechbrain_lmac.training.clap import TextGroups
from speechbrain_lmac.training.zero_shot_brain import ZeroShotExplainer
from speechbrain_lmac.utils.checks import UserError

LONG = "rain falls " * 20  # 40 words


def datasets(**captions):
    """A training set of one clip for each keyword, and no other."""
    clips = {
        name: {"wav": f"/data/{name}.wav", "captions": list(texts)}
        for name, texts in captions.items()
    }
    train = SimpleNamespace(data=clips, data_ids=list(clips))
    return {"train": train}


def test_long_captions_end_at_the_limit_with_one_warning(caplog):
    data, clap = datasets(a=[LONG, "rain"], b=["siren", LONG]), small_clap()
    with caplog.at_level(logging.WARNING):
        check_captions(data, clap)
    (record,) = caplog.records
    assert "2 captions are longer than the 32" in record.getMessage()
    assert "a: 'rain falls" in record.getMessage()
    for texts in TextGroups.of(data["train"]).groups:
        assert torch.isfinite(clap.encode_text(texts)).all()
    assert (
        data["train"].data["a"]["captions"][0] == ("rain falls " * 16).strip()
    )


def test_captions_that_fit_stay_and_say_nothing(caplog):
    data = datasets(a=["rain", "a dog: barks!"])
    check_captions(data, small_clap())
    assert data["train"].data["a"]["captions"] == ["rain", "a dog: barks!"]
    assert not caplog.records


def test_captions_without_a_word_are_named_and_counted():
    data = datasets(**{f"c{k}": ["rain", "?!"] for k in range(7)})
    with pytest.raises(UserError) as error:
        check_captions(data, small_clap())
    text = str(error.value)
    assert "7 captions" in text and "'?!'" in text
    assert "clip c0 (/data/c0.wav), caption 2" in text
    assert "clip c4" in text and "clip c5" not in text


def test_tokens_are_counted_as_the_encoder_does():
    pytest.importorskip("transformers")
    encoder = ClapEncoder()
    encoder.tokenizer, encoder.max_tokens = byte_tokenizer(), 20
    for text in ("a dog barks and rain falls", "w" * 50):
        cut = shortened(text, encoder)
        assert text.startswith(cut) and cut
        assert encoder.text_lengths([cut])[0] <= 20
        assert encoder.text_lengths([text])[0] > 20


def test_a_table_is_refused_with_file_and_row(tmp_path):
    root = tmp_path / "data"
    write_audio(root, "a.wav", "b.wav")
    rows = [["a.wav", "a dog barks"], ["b.wav", "..."]]
    write_table(root / "captions.csv", ("file", "caption"), *rows)
    with pytest.raises(UserError, match=r"1 captions(.|\n)*data row 2: b.wav"):
        prepare_captions(root, tmp_path / "save")


def test_validation_prompts_are_read_before_training():
    encoder = small_clap()
    with pytest.raises(UserError, match="40 tokens"):
        ZeroShotExplainer(
            ["rain", LONG],
            ("{}",),
            modules={"encoder": encoder, "frontend": torch.nn.Identity()},
            hparams=dict(DEFAULTS),
            run_opts=CPU,
        )
