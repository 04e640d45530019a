"""AudioInterpreter: explanations of any sound by a trained interpreter."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelHubMixin
from speechbrain.inference.interfaces import Pretrained

from speechbrain_lmac.data.audio import load_audio
from speechbrain_lmac.inference.clips import ClipExplainer
from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.inference.package.fetching import collect_package
from speechbrain_lmac.inference.package.loading import load_package
from speechbrain_lmac.inference.package.writing import fill_package
from speechbrain_lmac.inference.request import (
    Clip,
    Progress,
    crop_clips,
    for_prompts,
    make_request,
)
from speechbrain_lmac.inference.windows import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    Plan,
    explain_each,
    plan_windows,
)
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError

Classes = str | int | Sequence[str | int] | None
Prompts = str | Sequence[str] | None
Explained = Explanation | list[Explanation]


class FileResult(NamedTuple):
    """What became of a file of many.

    Attributes
    ----------
    path : str
        The file.
    explanation : Explanation or list of Explanation or None
        As of :meth:`AudioInterpreter.interpret_file`; None if it failed.
    error : UserError or None
        Why it failed.
    """

    path: str
    explanation: Explained | None
    error: UserError | None


class AudioInterpreter(ModelHubMixin, Pretrained):
    """A ready-to-use interpreter of a sound classifier.

    Each clip is scaled to a peak of 1 before it is classified, as in
    training; a model of :func:`speechbrain_lmac.load_model` that takes
    waveforms hears it as it is. Sounds longer than ``window_s``, or than the
    model hears, are explained in overlapping windows; see
    :mod:`speechbrain_lmac.inference.windows`.

    Any class can be explained, not only the decision. Whether that changes
    the *mask* depends on the method, and ``mask_depends_on_class`` of an
    explanation says it. The masks of L2I and LMAC-ZS are made for the class
    or prompt. L-MAC's decoder sees the classifier's hidden maps alone: its
    one mask explains the decision, so that explanations of other classes have
    the same sound; what differs is the probabilities, those of the asked
    class on the input, under the mask and on the rest.

    ``save_pretrained(folder)`` and ``push_to_hub("owner/name")``, of
    ``huggingface_hub``, write it as a package.

    Arguments
    ---------
    interpreter : Interpreter
        The models and their labels.
    run_opts : dict or None
        Such as ``{"device": "cuda:0"}``.
    window_s, overlap_s : float
        Seconds of a window of long sounds, and of the fade between two; CLAP
        models that take less have shorter windows.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.interpreters.decoders import build_decoder
    >>> from speechbrain_lmac.features import FrontEnd
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=2).freeze()
    >>> decoder = build_decoder(classifier, frontend)
    >>> interpreter = AudioInterpreter(
    ...     Interpreter(frontend, classifier, decoder, ["dog", "rain"]),
    ...     run_opts={"device": "cpu"})
    >>> found, = interpreter.interpret_batch(torch.randn(1, 9000))
    >>> found.label in ("dog", "rain"), found.waveform.shape, found.mask.shape
    (True, torch.Size([9000]), torch.Size([49, 513]))
    """

    MODULES_NEEDED = ["frontend", "classifier", "decoder"]

    def __init__(
        self,
        interpreter: Interpreter,
        run_opts: dict[str, Any] | None = None,
        window_s: float = WINDOW_SECONDS,
        overlap_s: float = OVERLAP_SECONDS,
    ):
        modules = {n: getattr(interpreter, n) for n in self.MODULES_NEEDED}
        super().__init__(modules, {}, run_opts)
        if not 0 < 3 * overlap_s <= window_s:
            raise UserError(
                "`overlap_s`: expected more than 0 and at most a third of "
                f"`window_s`, {window_s}, found {overlap_s}."
            )
        self.interpreter = interpreter._replace(**self.mods)
        self.window_s, self.overlap_s = window_s, overlap_s
        # The last explainer, and the prompts that it was made for.
        self._explainer: tuple = (None, None)

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        savedir: str | Path | None = None,
        download_only: bool = False,
        **options: Any,
    ) -> AudioInterpreter | None:
        """Load a package, as SpeechBrain's interfaces do.

        Arguments
        ---------
        source : str or pathlib.Path
            Folder of a package, or a repository such as ``owner/name``. Once
            it has been fetched no network is needed (``HF_HUB_OFFLINE=1``).
        savedir : str or pathlib.Path or None
            The cache for what is fetched; None for the hub's own. A folder is
            used where it is.
        download_only : bool
            Whether to fetch the files and build nothing.
        **options
            As for :meth:`from_pretrained`, such as ``run_opts``.

        Returns
        -------
        AudioInterpreter or None (``download_only``)

        Raises
        ------
        UserError
            If the package cannot be found, fetched, trusted or loaded.
        """
        if download_only:
            collect_package(source, cache_dir=savedir, **options)
            return None
        return cls.from_pretrained(source, cache_dir=savedir, **options)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | Path,
        run_opts: dict[str, Any] | None = None,
        trust_source: bool = False,
        window_s: float = WINDOW_SECONDS,
        overlap_s: float = OVERLAP_SECONDS,
        **options: Any,
    ) -> AudioInterpreter:
        """Load a package, as ``huggingface_hub``'s models are loaded.

        Arguments
        ---------
        source : str or pathlib.Path
            Folder of a package, or a repository such as ``owner/name``.
        run_opts, window_s, overlap_s : object
            As for the class.
        trust_source : bool
            Whether the package may name classes that are none of ours, such
            as its author's own network: they are imported and run.
        **options
            Of the hub: ``cache_dir``, ``revision``, ``token``,
            ``force_download``, ``local_files_only``.

        Returns
        -------
        AudioInterpreter

        Raises
        ------
        UserError
            If the package cannot be found, fetched, trusted or loaded.
        """
        folder = collect_package(source, **options)
        interpreter = load_package(folder, trust_source)
        return cls(interpreter, run_opts, window_s, overlap_s)

    @classmethod
    def from_run(
        cls, folder: str | Path, run_opts: dict[str, Any] | None = None
    ) -> AudioInterpreter:
        """Load what a training left in its output folder.

        The run is trusted: its YAML builds what it names.

        Arguments
        ---------
        folder : str or pathlib.Path
            Such as ``results/lmac_small/1234``, closed-set or zero-shot.
        run_opts : dict or None
            Such as ``{"device": "cuda:0"}``.

        Returns
        -------
        AudioInterpreter

        Raises
        ------
        UserError
            If the folder is no interpreter's.
        """
        return cls(Interpreter.load(folder, "folder"), run_opts)

    def _save_pretrained(self, save_directory: Path) -> None:
        fill_package(self.interpreter, Path(save_directory))

    @property
    def sample_rate(self) -> int:
        """Rate of the model and of all that it returns, in Hz."""
        return self.interpreter.frontend.sample_rate

    @property
    def zero_shot(self) -> bool:
        """Whether it explains prompts in place of a fixed set of classes."""
        return self.interpreter.zero_shot

    @property
    def labels(self) -> list[str]:
        """The classes by index; empty for a zero-shot interpreter."""
        return list(self.interpreter.labels or [])

    def interpret_file(
        self,
        path: str | Path,
        top_k: int = 1,
        classes: Classes = None,
        prompts: Prompts = None,
        heard: bool = False,
        events: bool = False,
        against: str | int | None = None,
        progress: Progress = None,
    ) -> Explained:
        """Explain a file of any format, rate, channels and length.

        Arguments
        ---------
        path : str or pathlib.Path
            The file. Its channels are averaged whatever its rate.
        top_k : int
            How many of the most probable classes to explain.
        classes : str or int or sequence of them, or None
            Classes to explain in their place, by name or index.
        prompts : str or sequence of str, or None
            Texts to explain, of a zero-shot interpreter, which needs them.
            They are all explained, and probabilities are a softmax over them.
        heard : bool
            Whether to classify the explanation as a sound of its own, too.
        events : bool
            Whether to find when it is heard, and to classify each event alone
            and the input without it: two forwards an event.
        against : str or int or None
            Of "why dog and not rain" the rain, by name or index: what raises
            a class and lowers this one. Without ``classes`` the most probable
            others are explained.
        progress : callable or None
            Gets the share, from 0 to 1, of a long recording that is done,
            window by window; what it raises ends the work.

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
        asked = {"heard": heard, "events": events, "progress": progress}
        explain = self._explain(top_k, classes, prompts, against, **asked)
        return explain([self._read(path)])[0]

    def interpret_batch(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor | None = None,
        **asked: Any,
    ) -> list[Explained]:
        """Explain waveforms; each as if it were given alone.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, time) or (time,), mono, at :attr:`sample_rate`, of
            any level.
        wav_lens : torch.Tensor or None
            Relative lengths, shape (batch,): what is behind them is padding
            and plays no part.
        **asked
            ``top_k``, ``classes``, ``prompts``, ``heard``, ``events``,
            ``against``, ``progress``, as for :meth:`interpret_file`.

        Returns
        -------
        list
            For each clip what :meth:`interpret_file` returns.

        Raises
        ------
        UserError
            If the waveforms or lengths are none, or as above.
        """
        explain = self._explain(**asked)
        return explain(crop_clips(wavs, wav_lens, self.sample_rate))

    def interpret_files(
        self, paths: Iterable[str | Path], batch_size: int = 4, **asked: Any
    ) -> Iterator[FileResult]:
        """Explain many files one after the other; nothing of them is kept.

        Arguments
        ---------
        paths : iterable of str or pathlib.Path
            The files.
        batch_size : int
            Files that are read before they are explained together.
        **asked
            ``top_k``, ``classes``, ``prompts``, ``heard``, ``events``,
            ``against``, ``progress``, as for :meth:`interpret_file`.

        Returns
        -------
        iterator of FileResult
            In the order of the files. A file that cannot be explained does
            not stop the others.
        """
        explain = self._explain(**asked)
        return self._stream(explain, iter(paths), batch_size)

    def forward(self, *args: Any, **asked: Any) -> list[Explained]:
        """As :meth:`interpret_batch`."""
        return self.interpret_batch(*args, **asked)

    def _explain(
        self, top_k=1, classes=None, prompts=None, against=None, **asked
    ):
        """What explains clips as asked for; wrong requests are refused."""
        explainer = self.explainer(prompts, classes)
        names = explainer.names
        if self.zero_shot:
            classes = [k for k, n in enumerate(names) if against not in (k, n)]
        request = make_request(names, top_k, classes, against, **asked)
        if against is not None and not explainer.depends:
            raise UserError(
                "`against`: this interpreter's mask does not depend on the "
                "class; give a `method`, such as mask, or train one that is "
                "told the class (lmac_small.yaml)."
            )
        size, fade = self._window()
        return lambda clips: explain_each(explainer, request, clips, size, fade)

    def _window(self):
        """Samples of a window and of the fade between two."""
        frontend = self.interpreter.frontend
        size = round(self.window_s * self.sample_rate)
        size = min(size, frontend.n_samples or size)
        fade = round(self.overlap_s * self.sample_rate)
        return size, max(1, min(fade, size // 3))

    def windows(self, num_samples: int) -> Plan:
        """Where the windows of a sound lie; one of a short sound."""
        size, fade = self._window()
        if num_samples <= size:
            return Plan([0], num_samples, fade)
        return plan_windows(num_samples, size, fade)

    def explainer(
        self, prompts: Prompts = None, classes: Classes = None
    ) -> ClipExplainer:
        """What explains clips of one length, between classes or prompts."""
        if self.zero_shot and (prompts is None or classes is not None):
            raise UserError(
                "`prompts`: expected texts, such as ['a dog barks', 'rain'], "
                f"and no `classes`, found {prompts!r:.60}, {classes!r:.60}."
            )
        if not self.zero_shot and prompts is not None:
            raise UserError(
                f"`prompts`: found {prompts!r:.60}; give `classes` instead."
            )
        if isinstance(prompts, str):
            prompts = [prompts]
        key = (repr(prompts), next(self.mods.frontend.buffers()).device)
        if self._explainer[0] != key:
            interpreter = self.interpreter
            if prompts is not None:
                interpreter = for_prompts(interpreter, prompts)
            self._explainer = (key, ClipExplainer(interpreter))
        return self._explainer[1]

    def _read(self, path):
        sound = load_audio(path, self.sample_rate, self.interpreter.at_peak)
        return Clip(*sound, os.fspath(path))

    def _stream(self, explain, paths, batch_size):
        """Yield the result of each file; a failure does not stop the others."""
        while some := [*map(os.fspath, itertools.islice(paths, batch_size))]:
            clips, errors = {}, {}
            for k, path in enumerate(some):
                try:
                    clips[k] = self._read(path)
                except UserError as error:
                    errors[k] = error
            made = dict(zip(clips, explain([*clips.values()]), strict=True))
            for k, path in enumerate(some):
                yield FileResult(path, made.pop(k, None), errors.get(k))
