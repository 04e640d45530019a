"""AudioInterpreter: explanations of any sound by a trained interpreter.

Authors
 * The speechbrain_lmac authors 2026
"""

import dataclasses
import functools
import os

from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.fetching import FetchConfig, LocalStrategy

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.audio import read_audio
from speechbrain_lmac.inference.asking import (
    check_kind,
    crop_clips,
    make_request,
)
from speechbrain_lmac.inference.clips import ClipExplainer
from speechbrain_lmac.inference.files import stream_files
from speechbrain_lmac.inference.package import load_package
from speechbrain_lmac.inference.package.fetching import collect_package
from speechbrain_lmac.inference.prompts import for_prompts
from speechbrain_lmac.inference.windows import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    explain_each,
)
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError


class AudioInterpreter(Pretrained):
    """A ready-to-use interpreter of a sound classifier.

    Each clip is scaled to a peak of 1 before it is classified, as in
    training. Sounds longer than ``window_s`` are explained in overlapping
    windows; see :mod:`speechbrain_lmac.inference.windows`.

    Any class can be explained, not only the decision. Whether that changes
    the *mask* depends on the method, and ``mask_depends_on_class`` of an
    explanation says it. The masks of L2I and LMAC-ZS are made for the class
    or prompt. L-MAC's decoder sees the classifier's hidden maps alone: its
    one mask explains the decision, so that explanations of other classes have
    the same sound; what differs is the probabilities, those of the asked
    class on the input, under the mask and on the rest.

    Arguments
    ---------
    modules : dict of str to torch.nn.Module
        ``frontend``, ``classifier``, ``decoder``.
    hparams : dict
        ``interpreter``: the loaded
        :class:`speechbrain_lmac.interpreters.loading.Interpreter`.
    run_opts : dict or None
        Such as ``{"device": "cuda:0"}``.
    freeze_params : bool
        As for ``Pretrained``.
    window_s, overlap_s : float
        Seconds of a window of long sounds, and of the fade between two; CLAP
        models that take less have shorter windows.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.interpreters.decoders import build_decoder
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters.loading import Interpreter
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=2).freeze()
    >>> interpreter = AudioInterpreter.from_parts(Interpreter(
    ...     frontend, classifier, build_decoder(classifier, frontend)),
    ...     names=["dog", "rain"], run_opts={"device": "cpu"})
    >>> found, = interpreter.interpret_batch(torch.randn(1, 9000))
    >>> found.label in ("dog", "rain"), found.waveform.shape, found.mask.shape
    (True, torch.Size([9000]), torch.Size([49, 513]))
    """

    MODULES_NEEDED = ["frontend", "classifier", "decoder"]
    HPARAMS_NEEDED = ["interpreter", "names"]

    def __init__(
        self,
        modules=None,
        hparams=None,
        run_opts=None,
        freeze_params=True,
        window_s=WINDOW_SECONDS,
        overlap_s=OVERLAP_SECONDS,
    ):
        super().__init__(modules, hparams, run_opts, freeze_params)
        parts = {name: self.mods[name] for name in self.MODULES_NEEDED}
        self.interpreter = self.hparams.interpreter._replace(**parts)
        self.zero_shot = isinstance(
            self.hparams.interpreter.classifier, ZeroShotClassifier
        )
        if not 0 < 3 * overlap_s <= window_s:
            raise UserError(
                "`overlap_s`: expected more than 0 and at most a third of "
                f"`window_s`, {window_s}, found {overlap_s}."
            )
        self.window_s, self.overlap_s = window_s, overlap_s
        # The last explainer, and what it was made for.
        self._explainer = (None, None)

    @classmethod
    def from_hparams(
        cls,
        source,
        savedir=None,
        run_opts=None,
        overrides=None,
        local_strategy=LocalStrategy.SYMLINK,
        trust_source=False,
        fetch_config=None,
        revision=None,
        download_only=False,
        **kwargs,
    ):
        """Load a package, from a folder or a hub repository.

        Arguments
        ---------
        source : str or pathlib.Path or FetchSource
            Folder of a package, or a repository such as ``owner/name``.
            Once its files are in ``savedir`` or in the hub's cache no network
            is needed (``HF_HUB_OFFLINE=1``).
        savedir : str or pathlib.Path or None
            Where fetched files go: a folder that holds no other package. A
            package's folder is used where it is.
        run_opts : dict or None
            Such as ``{"device": "cuda:0"}``.
        overrides : dict or None
            Hyperparameters to replace.
        local_strategy : LocalStrategy
            As of ``speechbrain.utils.fetching.fetch``.
        trust_source : bool
            Whether to build anything that the package's YAML names. If not,
            a package that names more than an allow-list is refused.
        fetch_config : FetchConfig or None
            Token, cache and the like.
        revision : str or None
            Branch, tag or commit of the repository; as in ``fetch_config``.
        download_only : bool
            Whether to fetch the files and build nothing.
        **kwargs
            Further arguments of the class.

        Returns
        -------
        AudioInterpreter or None (``download_only``)

        Raises
        ------
        UserError
            If the package cannot be found, fetched, trusted or loaded.
        """
        if revision is not None:
            fetch_config = fetch_config or FetchConfig()
            fetch_config = dataclasses.replace(fetch_config, revision=revision)
        folder = collect_package(source, savedir, local_strategy, fetch_config)
        if download_only:
            return None
        interpreter = load_package(
            folder, trust_source=trust_source, overrides=overrides
        )
        return cls.from_parts(interpreter, run_opts=run_opts, **kwargs)

    @classmethod
    def from_run(cls, folder, run_opts=None, **kwargs):
        """Load what a training left in its output folder.

        The run is trusted: its YAML builds what it names.

        Arguments
        ---------
        folder : str or pathlib.Path
            Such as ``results/lmac_small/1234``, closed-set or zero-shot.
        run_opts : dict or None
            Such as ``{"device": "cuda:0"}``.
        **kwargs
            Further arguments of the class.

        Returns
        -------
        AudioInterpreter

        Raises
        ------
        UserError
            If the folder is no interpreter's.
        """
        interpreter = Interpreter.load(folder, "folder")
        return cls.from_parts(interpreter, run_opts=run_opts, **kwargs)

    @classmethod
    def from_parts(cls, interpreter, names=None, run_opts=None, **kwargs):
        """Wrap an interpreter that is loaded already.

        Arguments
        ---------
        interpreter : Interpreter
            Loaded or made of parts.
        names : sequence of str or None
            Classes by index; None: its labels.
        run_opts : dict or None
            Such as ``{"device": "cuda:0"}``.
        **kwargs
            Further arguments of the class.

        Returns
        -------
        AudioInterpreter
        """
        names = interpreter.labels if names is None else names
        return cls(
            {name: getattr(interpreter, name) for name in cls.MODULES_NEEDED},
            {"interpreter": interpreter, "names": list(names or [])},
            run_opts,
            **kwargs,
        )

    @property
    def sample_rate(self):
        """Rate of the model and of all that it returns, in Hz."""
        return self.interpreter.frontend.sample_rate

    @property
    def labels(self):
        """The classes by index; empty for a zero-shot interpreter."""
        return [] if self.zero_shot else list(self.hparams.names)

    def interpret_file(
        self, path, top_k=1, classes=None, prompts=None, heard=False
    ):
        """Explain a file of any format, rate, channels and length.

        Arguments
        ---------
        path : str or pathlib.Path
            The file. Its channels are averaged whatever its rate.
        top_k : int
            How many of the most probable classes to explain.
        classes : str or sequence of str or int, or None
            Classes to explain in their place, by name or index.
        prompts : str or sequence of str, or None
            Texts to explain, of a zero-shot interpreter, which needs them.
            They are all explained, and probabilities are a softmax over them.
        heard : bool
            Whether to classify the explanation as a sound of its own, too.

        Returns
        -------
        Explanation or list of Explanation
            A list if more than one is asked for.

        Raises
        ------
        UserError
            If the file is missing, empty or no audio, or a class or prompt is
            none.
        """
        explainer, request = self._asked(top_k, classes, prompts, heard)
        wav = self._read(path)
        return self._explain(explainer, request, [wav], [os.fspath(path)])[0]

    def interpret_batch(
        self,
        wavs,
        wav_lens=None,
        top_k=1,
        classes=None,
        prompts=None,
        heard=False,
    ):
        """Explain waveforms; each as if it were given alone.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, time) or (time,), mono, at :attr:`sample_rate`, of
            any level.
        wav_lens : torch.Tensor or None
            Relative lengths, shape (batch,): what is behind them is padding
            and plays no part.
        top_k, classes, prompts, heard : object
            As for :meth:`interpret_file`.

        Returns
        -------
        list
            For each clip what :meth:`interpret_file` returns.

        Raises
        ------
        UserError
            If the waveforms or lengths are none, or as above.
        """
        explainer, request = self._asked(top_k, classes, prompts, heard)
        clips = crop_clips(wavs, wav_lens)
        return self._explain(explainer, request, clips, [None] * len(clips))

    def interpret_files(
        self,
        paths,
        top_k=1,
        classes=None,
        prompts=None,
        heard=False,
        batch_size=4,
    ):
        """Explain many files one after the other; nothing of them is kept.

        Arguments
        ---------
        paths : iterable of str or pathlib.Path
            The files.
        top_k, classes, prompts, heard : object
            As for :meth:`interpret_file`.
        batch_size : int
            Files that are read before they are explained together.

        Returns
        -------
        iterator of FileResult
            In the order of the files. A file that cannot be explained does
            not stop the others.
        """
        asked = self._asked(top_k, classes, prompts, heard)
        explain = functools.partial(self._explain, *asked)
        return stream_files(self._read, explain, paths, batch_size)

    def forward(self, wavs, wav_lens=None):
        """As :meth:`interpret_batch`, of the decisions."""
        return self.interpret_batch(wavs, wav_lens)

    def _asked(self, top_k, classes, prompts, heard):
        """Who explains, and what is to be explained."""
        check_kind(self.zero_shot, classes, prompts)
        if not self.zero_shot:
            explainer = self._explainer_for(None)
            return explainer, make_request(
                explainer.names, top_k, classes, heard
            )
        if top_k != 1:
            raise UserError(
                "`top_k`: all prompts are explained; leave it out, and give "
                "the prompts that you want explained."
            )
        prompts = [prompts] if isinstance(prompts, str) else prompts
        explainer = self._explainer_for(prompts)
        every = range(len(explainer.names))
        return explainer, make_request(
            explainer.names, classes=every, heard=heard
        )

    def _explainer_for(self, prompts):
        """The explainer of the classes or of some prompts."""
        device = self.interpreter.frontend.mel_matrix.device
        if hasattr(prompts, "__iter__"):
            prompts = list(prompts)
        key = (prompts, device)
        if self._explainer[0] != key:
            interpreter, names = self.interpreter, self.hparams.names
            if prompts is not None:
                interpreter = for_prompts(interpreter, prompts)
                names = interpreter.classifier.prompts
            self._explainer = (key, ClipExplainer(interpreter, names))
        return self._explainer[1]

    def _read(self, path):
        """A file as a mono waveform."""
        return read_audio(path, self.sample_rate)

    def _explain(self, explainer, request, clips, sources):
        rate = self.sample_rate
        return explain_each(
            explainer,
            request,
            clips,
            sources,
            round(self.window_s * rate),
            round(self.overlap_s * rate),
        )
