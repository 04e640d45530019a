"""Zero-shot interpreters made by code, small enough for unit tests."""

import torch

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.text_decoder import (
    PromptedDecoder,
    build_text_decoder,
)

PROMPTS = ("dog", "rain", "siren")


def small_clap():
    """A SmallClap with random weights that tells words and sounds apart."""
    torch.manual_seed(3)
    clap = SmallClap(embed_dim=16, channels=(4, 8, 8), dropout=0.0)
    clap.learn_words([*PROMPTS, "a bark", "one two three"])
    return clap.freeze()


def zs_interpreter(encoder=None, domain="stft", prompts=PROMPTS):
    """An interpreter whose decoder has random weights."""
    encoder = small_clap() if encoder is None else encoder
    frontend = encoder.build_frontend(domain)
    classifier = ZeroShotClassifier(encoder, prompts, ("the sound of {}",))
    torch.manual_seed(5)
    decoder = build_text_decoder(encoder, frontend, channels=(8, 4))
    decoder = PromptedDecoder(decoder, classifier).eval()
    return Interpreter(frontend, classifier, decoder)


class FixedDecoder(torch.nn.Module):
    """In place of a TextMaskDecoder: masks by a rule.

    ``rule(index of the prompt, similarity) -> mask (bins,)`` in [0, 1].
    """

    def __init__(self, known, rule):
        super().__init__()
        self.register_buffer("known", known)
        self.rule = rule

    def forward(self, hidden, num_frames, text, similarity):
        """Logits (batch * prompts, num_frames, bins)."""
        text = text.flatten(0, -2)
        index = (text @ self.known.T).argmax(1).tolist()
        rows = [
            self.rule(k, s)
            for k, s in zip(index, similarity.flatten(), strict=True)
        ]
        return torch.stack(rows).logit()[:, None].expand(-1, num_frames, -1)


def with_rule(interpreter, rule):
    """An interpreter with the masks of a :class:`FixedDecoder`."""
    classifier = interpreter.classifier
    fixed = FixedDecoder(classifier.text_embeddings, rule)
    return interpreter._replace(decoder=PromptedDecoder(fixed, classifier))


def tones(frequency, n, num_samples=8000, rate=16000):
    """``n`` clips of a tone, each with a phase of its own."""
    time = torch.arange(num_samples) / rate
    phase = torch.arange(n)[:, None]
    return torch.sin(6.2832 * frequency * time + phase)
