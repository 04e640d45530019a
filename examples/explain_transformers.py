#!/usr/bin/env python3
"""Two small speech models of transformers, and what they listen to.

A Wav2Vec2 or an AST of the library's own classes is trained to tell spoken
digits apart, in a plain loop, on a CPU in minutes, and saved by
``save_pretrained``. From then on the folder's name is all that it takes to
explain what it hears, as with any folder or hub repository of such a model.

To run this example, do the following:
> python examples/explain_transformers.py wav2vec2 DATA_FOLDER MODEL_FOLDER
> python examples/explain_transformers.py ast DATA_FOLDER MODEL_FOLDER
> python examples/explain_transformers.py explain MODEL_FOLDER SOUND OUTPUT

DATA_FOLDER holds the recordings of the Free Spoken Digit Dataset
(github.com/Jakobovski/free-spoken-digit-dataset), such as 7_theo_12.wav; one
speaker is not trained on.

Authors
 * The speechbrain_lmac authors 2026
"""

import random
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn

from speechbrain_lmac import explain
from speechbrain_lmac.data import load_audio
from speechbrain_lmac.data.mixtures import peak_normalize

RATE = 8000  # Hz, of the recordings
UNHEARD = "theo"
DIGITS = "zero one two three four five six seven eight nine".split()
NAMES = {
    "id2label": dict(enumerate(DIGITS)),
    "label2id": {name: k for k, name in enumerate(DIGITS)},
}


def wav2vec2(wavs):
    """A Wav2Vec2 of 160,000 parameters, and its feature extractor.

    900 clips do not teach it to analyse frequencies: the first convolution
    starts as tones of an ear's bands, in two phases, and the second smooths
    what is heard of each band.
    """
    config = transformers.Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(64, 64),
        conv_kernel=(64, 16),
        conv_stride=(16, 8),
        num_feat_extract_layers=2,
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=64,
        do_stable_layer_norm=True,
        initializer_range=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
        mask_time_prob=0.0,
        layerdrop=0.0,
        **NAMES,
    )
    model = transformers.Wav2Vec2ForSequenceClassification(config)
    layers = model.wav2vec2.feature_extractor.conv_layers
    first, second = (layer.conv.weight.data for layer in layers)
    centres = 700 * torch.logspace(0.05, 0.81, 32) - 700  # Hz, a mel scale
    phase = 2 * torch.pi * centres[:, None] * torch.arange(-32, 32) / RATE
    first[:, 0] = torch.cat([phase.cos(), phase.sin()])
    first *= torch.hann_window(64) / 8
    phases = torch.eye(32).repeat(1, 2)[..., None]
    second *= 0.1
    second[:32] += phases * torch.hann_window(16) / 8
    return model, transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=RATE, return_attention_mask=True
    )


def ast(wavs):
    """An AST of 250,000 parameters, and its feature extractor.

    A patch has all of few bands: a voice's pitch does not show.
    """
    shape = {"max_length": 80, "num_mel_bins": 16}
    config = transformers.ASTConfig(
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        hidden_dropout_prob=0.1,
        initializer_range=0.1,
        patch_size=16,
        time_stride=4,
        **shape,
        **NAMES,
    )
    extractor = transformers.ASTFeatureExtractor(
        sampling_rate=RATE, do_normalize=False, **shape
    )
    bands = extractor(wavs, sampling_rate=RATE, return_tensors="pt")
    heard = bands["input_values"][bands["input_values"] != 0]
    extractor.do_normalize = True
    extractor.mean, extractor.std = heard.mean().item(), heard.std().item()
    return transformers.ASTForAudioClassification(config), extractor


def read_digits(data_folder):
    """Waveforms at a peak of 1 and digits: of the speakers, of the unheard."""
    known, unheard = [], []
    for path in sorted(Path(data_folder).rglob("[0-9]_*_*.wav")):
        digit, speaker, _ = path.stem.split("_")
        wav = peak_normalize(load_audio(path, RATE)[0][None])[0].numpy()
        part = unheard if speaker == UNHEARD else known
        part.append((wav, int(digit)))
    return known, unheard


def changed(wav):
    """As another voice elsewhere: pitch, tempo, colour, echoes, level, noise.

    Three voices are few, and what is told of a fourth depends on it most.
    """
    places = np.arange(0, len(wav) - 1, np.exp(random.uniform(-0.2, 0.2)))
    wav = np.interp(places, np.arange(len(wav)), wav)
    wav = in_tempo(wav, np.exp(random.uniform(-0.15, 0.15)))
    spectrum = np.fft.rfft(wav)
    colour = np.random.uniform(-8, 8, 8)  # dB
    colour = np.interp(np.linspace(0, 7, len(spectrum)), range(8), colour)
    wav = np.fft.irfft(spectrum * 10 ** (colour / 20))
    echoes = random.uniform(0, 0.4) * np.random.standard_normal(12)
    wav = np.convolve(wav, [1, *echoes])
    wav = np.pad(wav, (random.randrange(1200), random.randrange(1200)))
    start = random.randrange(len(wav))
    wav[start : start + random.randrange(800)] = 0
    wav *= np.exp(random.uniform(-1, 0)) / np.abs(wav).max()
    noise = np.std(wav) * 10 ** random.uniform(-2.5, -0.5)
    wav += noise * np.random.standard_normal(len(wav))
    return wav.astype(np.float32)


def in_tempo(wav, rate, size=200, hop=40):
    """``rate`` times as fast at its pitch: frames, laid at other distances."""
    starts = np.arange(0, max(1, len(wav) - size), hop * rate).astype(int)
    slower = np.zeros(hop * len(starts) + size)
    wav, window = np.pad(wav, (0, size)), np.hanning(size)
    for place, start in enumerate(starts):
        frame = window * wav[start : start + size]
        slower[hop * place : hop * place + size] += frame
    return slower


def inputs_of(extractor, wavs):
    """The model's arguments, by the library's own extractor."""
    options = {"sampling_rate": RATE, "return_tensors": "pt"}
    if isinstance(extractor, transformers.Wav2Vec2FeatureExtractor):
        options["padding"] = True
    return extractor(wavs, **options)


@torch.no_grad()
def accuracy(model, extractor, clips):
    """Share of the clips, each heard alone, that are decided rightly."""
    right = [
        model(**inputs_of(extractor, [wav])).logits.argmax().item() == digit
        for wav, digit in clips
    ]
    return sum(right) / len(right)


def train(model, extractor, clips, epochs, batch_size=16, lr=2e-3):
    """A plain loop; clips of similar lengths make a batch."""
    steps = epochs * (len(clips) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, steps, pct_start=0.15
    )
    model.train()
    for epoch in range(1, epochs + 1):
        drawn = [(changed(wav), digit) for wav, digit in clips]
        drawn.sort(key=lambda pair: len(pair[0]))
        starts = range(0, len(clips) - batch_size + 1, batch_size)
        total = 0.0
        for start in random.sample(starts, len(starts)):
            wavs, digits = zip(*drawn[start : start + batch_size], strict=True)
            logits = model(**inputs_of(extractor, list(wavs))).logits
            loss = nn.functional.cross_entropy(
                logits, torch.tensor(digits), label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() / len(starts)
        if epoch % 5 == 0:
            print(f"epoch {epoch}: loss {total:.3f}", flush=True)
    return model.eval()


def fit(kind, data_folder, model_folder, epochs=40):
    """Train, say how good it is on a voice never heard, and save."""
    transformers.set_seed(0)
    known, unheard = read_digits(data_folder)
    model, extractor = kind([wav for wav, _ in known])
    train(model, extractor, known, int(epochs))
    right = accuracy(model, extractor, unheard)
    print(f"{UNHEARD}: {right:.1%} of {len(unheard)} digits")
    model.save_pretrained(model_folder)
    extractor.save_pretrained(model_folder)
    return right


def listen(model_folder, sound, output_folder):
    """What a model listens to, by the name of its folder."""
    found = explain(sound, model_folder)
    found.save(output_folder)
    print(
        f"{sound} is heard as {found.label} ({found.probability:.2f}); what "
        f"the mask keeps, {found.mask_mean:.0%}, as "
        f"{found.probability_masked_in:.2f}, the rest as "
        f"{found.probability_masked_out:.2f}. Sounds in {output_folder}"
    )
    return found


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    kinds = {"wav2vec2": wav2vec2, "ast": ast}
    if task in kinds:
        fit(kinds[task], *arguments)
    else:
        listen(*arguments)
