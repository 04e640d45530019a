"""Augmentations that make a classifier worth explaining.

An explanation asks a classifier about masked, faded and noisy sounds. One
that was trained on full clips only answers "crackling fire" to silence and
"rain" to white noise, whatever the clip: so training shows it random crops,
mixtures, levels, coloured noise, masked spectrograms, and sounds of no class.

All functions are batched, draw from torch's global generator and keep shapes.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F

from speechbrain_lmac.data.mixtures import peak_normalize


def roll_and_crop(wavs, num_samples, speed_range=0.0):
    """A random, circular excerpt of each clip, at a random speed.

    Arguments
    ---------
    wavs : torch.Tensor
        Shape (batch, samples).
    num_samples : int
        Length of the excerpt.
    speed_range : float
        Playback speed, and so pitch, varies by a factor in
        ``[exp(-speed_range), exp(speed_range)]``.

    Returns
    -------
    torch.Tensor
        Shape (batch, num_samples).

    Example
    -------
    >>> roll_and_crop(torch.ones(2, 10), 4).shape
    torch.Size([2, 4])
    """
    batch, total = wavs.shape
    device = wavs.device
    start = torch.randint(0, total, (batch, 1), device=device)
    offsets = torch.arange(num_samples, device=device)[None]
    if not speed_range:
        return wavs.gather(1, (start + offsets) % total)
    draw = 2 * torch.rand(batch, 1, device=device) - 1
    position = offsets * torch.exp(draw * speed_range)
    whole = position.floor()
    part = position - whole
    index = start + whole.long()
    before = wavs.gather(1, index % total)
    return before.lerp(wavs.gather(1, (index + 1) % total), part)


def mix_pairs(wavs, labels, prob=0.5, max_weight=0.5):
    """Some clips are mixed with another of the batch, labels in proportion.

    Arguments
    ---------
    wavs : torch.Tensor
        Shape (batch, samples).
    labels : torch.Tensor
        Class probabilities, shape (batch, classes).
    prob : float
        Probability that a clip is mixed.
    max_weight : float
        Largest weight of the other clip (both at unit norm), in [0, 1].

    Returns
    -------
    tuple of torch.Tensor
        Peak-normalised waveforms and labels.

    Example
    -------
    >>> wavs, labels = mix_pairs(torch.rand(4, 100), torch.eye(4))
    >>> bool(torch.allclose(labels.sum(1), torch.ones(4)))
    True
    """
    batch = len(wavs)
    chosen = torch.rand(batch, 1, device=wavs.device) < prob
    weight = max_weight * torch.rand(batch, 1, device=wavs.device) * chosen
    order = torch.randperm(batch, device=wavs.device)
    unit = wavs / wavs.norm(dim=1, keepdim=True).clamp_min(1e-3)
    mixed = peak_normalize((1 - weight) * unit + weight * unit[order])
    labels = (1 - weight) * labels + weight * labels[order]
    return torch.where(chosen, mixed, wavs), labels


def colored_noise(batch, num_samples, max_slope=1.6, device="cpu"):
    """Noise whose spectrum falls as ``f ** -slope``, from white to brown.

    Arguments
    ---------
    batch : int
        Number of clips.
    num_samples : int
        Samples of each.
    max_slope : float
        Slopes are drawn from [0, max_slope], a third of them 0.
    device : str or torch.device
        Where to make it.

    Returns
    -------
    torch.Tensor
        Shape (batch, num_samples), peak 1.

    Example
    -------
    >>> colored_noise(2, 1000).abs().amax(1).tolist()
    [1.0, 1.0]
    """
    freqs = torch.fft.rfftfreq(num_samples, device=device)
    freqs = freqs.clamp_min(1 / num_samples)
    # A third is white: the noise that is heard most, and hides most.
    slope = max_slope * (1.5 * torch.rand(batch, 1, device=device) - 0.5)
    slope = slope.clamp_min(0)
    phases = torch.randn(batch, len(freqs), dtype=torch.cfloat, device=device)
    noise = torch.fft.irfft(phases * freqs**-slope, n=num_samples)
    return peak_normalize(noise)


def add_noise(wavs, labels, prob=0.3, snr_db=(0.0, 30.0)):
    """Coloured noise on some clips; labels fade where the noise wins.

    Arguments
    ---------
    wavs : torch.Tensor
        Shape (batch, samples).
    labels : torch.Tensor
        Class probabilities, shape (batch, classes).
    prob : float
        Probability that a clip gets noise.
    snr_db : sequence of float
        Range of the signal-to-noise ratio, in dB.

    Returns
    -------
    tuple of torch.Tensor
        Waveforms and labels; at 0 dB a quarter of the label is uniform.

    Example
    -------
    >>> wavs, labels = add_noise(torch.rand(4, 100), torch.eye(4), prob=0.0)
    >>> torch.equal(labels, torch.eye(4))
    True
    """
    batch, samples = wavs.shape
    low, high = snr_db
    chosen = torch.rand(batch, 1, device=wavs.device) < prob
    snr = low + (high - low) * torch.rand(batch, 1, device=wavs.device)
    noise = colored_noise(batch, samples, device=wavs.device)
    level = wavs.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    noisy = wavs + chosen * level * 10 ** (-snr / 20) * noise
    doubt = chosen * 0.5 * torch.sigmoid(-snr / 3)
    return noisy, (1 - doubt) * labels + doubt / labels.shape[1]


def random_level(wavs, range_db=18.0):
    """Peak-normalise, then attenuate by up to ``range_db`` dB.

    Arguments
    ---------
    wavs : torch.Tensor
        Shape (batch, samples).
    range_db : float
        Largest attenuation, in dB.

    Returns
    -------
    torch.Tensor
        Same shape.

    Example
    -------
    >>> float(random_level(torch.rand(1, 100), 0.0).abs().max())
    1.0
    """
    attenuation = range_db * torch.rand(len(wavs), 1, device=wavs.device)
    return peak_normalize(wavs) * 10 ** (-attenuation / 20)


def unknown_sounds(batch, num_samples, device="cpu"):
    """Sounds of no class: silence and noises of every colour and level.

    Arguments
    ---------
    batch : int
        Number of clips.
    num_samples : int
        Samples of each.
    device : str or torch.device
        Where to make them.

    Returns
    -------
    torch.Tensor
        Shape (batch, num_samples): one half coloured noise, one quarter
        white noise, one quarter near silence.

    Example
    -------
    >>> unknown_sounds(3, 100).shape
    torch.Size([3, 100])
    """

    def uniform():
        return torch.rand(batch, 1, device=device)

    white = torch.randn(batch, num_samples, device=device)
    colored = colored_noise(batch, num_samples, device=device)
    sounds = colored * 10 ** (-2 * uniform())
    kind = uniform()
    sounds = torch.where(kind < 0.25, white * 1e-5 * uniform(), sounds)
    return torch.where(kind > 0.75, white * 0.4 * uniform(), sounds)


def drop_stripes(features, count=2, max_time=1 / 6, max_band=1 / 8):
    """SpecAugment (Park et al. 2019): silence random stripes.

    Arguments
    ---------
    features : torch.Tensor
        log1p mel, shape (batch, frames, bands).
    count : int
        Stripes per axis.
    max_time : float
        Widest time stripe, as a share of the frames.
    max_band : float
        Widest frequency stripe, as a share of the bands.

    Returns
    -------
    torch.Tensor
        Same shape.

    Example
    -------
    >>> bool((drop_stripes(torch.ones(2, 60, 40)) <= 1).all())
    True
    """
    batch, frames, bands = features.shape
    for _ in range(count):
        for size, share, dim in ((frames, max_time, 2), (bands, max_band, 1)):
            device = features.device
            width = torch.rand(batch, 1, device=device) * share * size
            start = torch.rand(batch, 1, device=device) * (size - width)
            index = torch.arange(size, device=device)
            keep = (index < start) | (index >= start + width)
            features = features * keep.unsqueeze(dim)
    return features


def soft_masks(features, prob=0.3):
    """Smooth random masks, from faint to hard, on some of the clips.

    They are what the classifier will see when it is explained; one that has
    met them answers masked spectrograms by what they hold.

    Arguments
    ---------
    features : torch.Tensor
        log1p mel, shape (batch, frames, bands).
    prob : float
        Probability that a clip is masked.

    Returns
    -------
    torch.Tensor
        Same shape.

    Example
    -------
    >>> x = torch.rand(2, 60, 40)
    >>> torch.equal(soft_masks(x, prob=0.0), x)
    True
    """
    batch, frames, bands = features.shape
    device = features.device
    cells = (
        max(2, frames // int(torch.randint(4, 40, ()))),
        max(2, bands // int(torch.randint(3, 20, ()))),
    )
    field = F.interpolate(
        torch.randn(batch, 1, *cells, device=device),
        size=(frames, bands),
        mode="bilinear",
    )[:, 0]
    offset = 0.5 * torch.randn(batch, 1, 1, device=device)
    hardness = 10 * torch.rand(batch, 1, 1, device=device)
    mask = torch.sigmoid((field + offset) * hardness)
    chosen = torch.rand(batch, 1, 1, device=device) < prob
    return torch.where(chosen, features * mask, features)


class Augmenter:
    """The whole chain, as a hyperparameter file declares it.

    Arguments
    ---------
    crop_s : float or None
        Length of the training excerpts, in seconds; None keeps the clip's.
    sample_rate : int
        In Hz.
    speed_range : float
        Log range of the playback speed, see :func:`roll_and_crop`.
    mix_prob : float
        Probability of mixing with another clip.
    noise_prob : float
        Probability of coloured noise.
    level_range_db : float
        Random attenuation, in dB.
    soft_mask_prob : float
        Probability of a random soft mask.
    unknown_share : float
        Sounds of no class added per clip of the batch, trained towards a
        uniform answer.
    label_smoothing : float
        Share of every label that is spread over all classes.

    Example
    -------
    >>> augment = Augmenter(crop_s=0.5)
    >>> wavs, labels = augment.waveforms(
    ...     torch.rand(8, 16000), torch.arange(8), n_classes=10
    ... )
    >>> wavs.shape, labels.shape
    (torch.Size([9, 8000]), torch.Size([9, 10]))
    """

    def __init__(
        self,
        crop_s=3.0,
        sample_rate=16000,
        speed_range=0.1,
        mix_prob=0.5,
        noise_prob=0.5,
        level_range_db=18.0,
        soft_mask_prob=0.3,
        unknown_share=1 / 6,
        label_smoothing=0.05,
    ):
        self.crop = None if crop_s is None else round(crop_s * sample_rate)
        self.speed_range = speed_range
        self.mix_prob = mix_prob
        self.noise_prob = noise_prob
        self.level_range_db = level_range_db
        self.soft_mask_prob = soft_mask_prob
        self.unknown_share = unknown_share
        self.label_smoothing = label_smoothing

    def waveforms(self, wavs, target, n_classes):
        """Augmented waveforms and soft labels.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, samples).
        target : torch.Tensor
            Class indices, shape (batch,).
        n_classes : int
            Number of classes.

        Returns
        -------
        tuple of torch.Tensor
            (batch + unknown, crop) waveforms, (batch + unknown, classes)
            label probabilities.
        """
        labels = F.one_hot(target, n_classes).float()
        labels = labels.lerp(
            torch.full_like(labels, 1 / n_classes), self.label_smoothing
        )
        length = self.crop or wavs.shape[1]
        wavs = roll_and_crop(wavs, length, self.speed_range)
        wavs, labels = mix_pairs(wavs, labels, self.mix_prob)
        wavs, labels = add_noise(wavs, labels, self.noise_prob)
        wavs = random_level(wavs, self.level_range_db)
        unknown = round(len(wavs) * self.unknown_share)
        if unknown:
            extra = unknown_sounds(unknown, wavs.shape[1], wavs.device)
            wavs = torch.cat([wavs, extra])
            uniform = torch.full_like(labels[:1], 1 / n_classes)
            labels = torch.cat([labels, uniform.expand(unknown, -1)])
        return wavs, labels

    def features(self, features):
        """Augmented log1p mel features, shape (batch, frames, bands)."""
        return soft_masks(drop_stripes(features), self.soft_mask_prob)
