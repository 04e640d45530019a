"""CLAP models with random weights, made by code: no hub, no download."""

import torch


def byte_tokenizer():
    """A RobertaTokenizer whose words are single bytes; 261 tokens."""
    from transformers import RobertaTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    words = ["<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode().values()]
    vocab = {word: k for k, word in enumerate([*words, "<mask>"])}
    return RobertaTokenizer(vocab=vocab, merges=[], model_max_length=512)


#: A text encoder of one layer, for sentences of 78 tokens.
SMALL_TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 80,
}
#: An HTSAT of two stages for 2 s of sound and 16 bands.
SMALL_AUDIO = {
    "num_mel_bins": 16,
    "spec_size": 64,
    "window_size": 4,
    "depths": [1, 2],
    "num_attention_heads": [2, 2],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
}


def save_clap(folder, audio=None, seconds=10, bands=64, **changes):
    """A folder of ``transformers`` files: model, tokenizer, preprocessor.

    ``audio`` describes the audio encoder (HTSAT-tiny if empty), ``changes``
    go into preprocessor_config.json. Returns the model.
    """
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    torch.manual_seed(7)
    tokenizer = byte_tokenizer()
    config = ClapConfig(
        text_config={"vocab_size": len(tokenizer), **SMALL_TEXT},
        audio_config=audio or {},
        projection_dim=64,
    )
    model = ClapModel(config).eval()
    settle_statistics(model.audio_model.audio_encoder.batch_norm)
    options = {"frequency_min": 50, "truncation": "rand_trunc", **changes}
    extractor = ClapFeatureExtractor(
        feature_size=bands, max_length_s=seconds, **options
    )
    for part in (model, tokenizer, extractor):
        part.save_pretrained(folder)
    return model


def settle_statistics(norm):
    """Statistics of decibels, as a trained model's first batch norm has."""
    norm.running_mean.uniform_(-40, -20)
    norm.running_var.uniform_(100, 400)


def test_clips(seconds, sample_rate=48000):
    """Noise with tones, and clicks after silence; shape (2, samples)."""
    time = torch.arange(int(seconds * sample_rate)) / sample_rate
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, len(time), generator=generator)
    tones = sum(torch.sin(6.283 * f * time) for f in (330.0, 2500.0, 9000.0))
    first = 0.1 * noise[0] + 0.2 * tones
    second = 0.5 * noise[1] * (time % 0.5 < 0.02)
    return torch.stack([first, second])


def features_of(frontend, wavs):
    """Waveforms to the encoder's features."""
    return frontend.mel(frontend(wavs).log_magnitude)


def constant_padding(frontend, wavs):
    """The same with a wrong STFT: silence around the clip, no reflection."""
    margin = frontend.n_fft // 2
    stft = torch.stft(
        torch.nn.functional.pad(wavs, (margin, margin)),
        frontend.n_fft,
        frontend.hop_samples,
        window=frontend.window,
        center=False,
        return_complex=True,
    )
    return frontend.mel(stft.abs().transpose(1, 2))


def top_db(frontend, wavs):
    """The same with a wrong floor: 80 dB below each clip's peak."""
    features = features_of(frontend, wavs)
    # 80 dB of power are a factor of 1e4 in amplitude.
    return features.maximum(features.amax((1, 2), keepdim=True) / 1e4)


#: So that pytest takes it for no test.
test_clips.__test__ = False
