"""Networks that tell two classes by the loudness below and above a quarter
of the rate: a low and a high tone.
"""

import torch
from torch import nn


class Tones(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 2, bias=False)
        self.conv.weight.data = torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]])

    def forward(self, wavs):
        return 40 * self.conv(wavs).square().mean(2)


class Rated(Tones):
    sample_rate = 8000
