"""Audio towers of transformers: CLAP, Whisper's encoder, wav2vec 2.0 and its kin, the Audio Spectrogram Transformer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from graphrec.config import ConfigError
from graphrec.features.encoder import Kind, Precision
from graphrec.features.towers import hf_text
from graphrec.features.towers.base import ModelTower, TowerOptions, unit_length
from graphrec.features.towers.hf import features_of, load_model, model_config
from graphrec.features.towers.loading import Loaded, checkpoint_errors, plain_settings, quiet
from graphrec.features.towers.sound import VERSION, Samples, read_windows
from graphrec.features.towers.windows import average_windows

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 10.0  # a window, where the model takes any length
CLAP_TOKENS = 77  # to which the authors of CLAP cut texts, though its text model takes more


class AudioOptions(TowerOptions):
    """What may be set of an audio tower.

    Args:
        seconds: The length of a window; by default the most that the model takes, and ten seconds where that is any.
        max_windows: The most windows that are read of a track, evenly spaced; their vectors are averaged.
    """

    seconds: float | None = Field(default=None, gt=0)
    max_windows: int = Field(default=8, ge=1)


def load(
    checkpoint: str, kind: Kind, options: Mapping[str, Any] | None, device: str, precision: Precision
) -> ModelTower:
    """Returns the audio tower of a checkpoint of transformers, or the text tower of a CLAP, in the same space.

    Args:
        checkpoint: A name on the hub, or a local folder.
        kind: ``"audio"``, or ``"text"`` for CLAP.
        options: See ``AudioOptions``; for texts ``HfTextOptions``.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such checkpoint, or it reads no sounds.
    """
    from transformers import AutoFeatureExtractor

    config = model_config(checkpoint)
    if kind == "text" and config.model_type == "clap":
        given = {"max_length": _clap_tokens(config), **(options or {})}
        return hf_text.load(checkpoint, kind, given, device, precision)
    spec = f"hf:{checkpoint}"
    if kind != "audio" or config.model_type not in TOWERS:
        raise ConfigError(f"expected a model of sounds ({', '.join(TOWERS)}) for {spec!r}, got {config.model_type!r}")
    parsed = AudioOptions.parse(options, where="options")
    with checkpoint_errors(checkpoint, spec), quiet():
        extractor = AutoFeatureExtractor.from_pretrained(checkpoint, trust_remote_code=False)
    return TOWERS[config.model_type](spec, load_model(checkpoint, device), extractor, parsed, precision)


class AudioTower(ModelTower):
    """Encodes a sound as the mean over its windows, each prepared by the checkpoint's own feature extractor.

    Silence has a vector, like any sound. Windows are batched so that no window's vector depends on the others.

    Raises:
        ConfigError: If windows are longer than the model takes.
    """

    kind: Kind = "audio"
    batch_sizes = (8, 64)

    def __init__(self, spec: str, loaded: Loaded, extractor: Any, options: AudioOptions, precision: Precision) -> None:
        super().__init__(spec, loaded, options, precision)
        self.options, self.extractor = options, extractor
        self.rate = int(extractor.sampling_rate)
        self.seconds = options.seconds or self.longest or SECONDS
        if self.longest and self.seconds > self.longest:
            raise ConfigError(
                f"expected windows of at most {self.longest:g} seconds, which {spec!r} takes, got {self.seconds:g}; "
                f"a longer track is read in several"
            )

    @cached_property
    def dim(self) -> int:
        """The length of a vector, found by encoding a moment of silence."""
        return int(self.forward([[self.prepare(np.zeros(self.rate // 10, np.float32))]]).shape[1])

    @property
    @abstractmethod
    def longest(self) -> float | None:
        """The most seconds that the model takes, if there is a limit."""

    def read(self, value: str | Path) -> list[Any]:
        """Returns the windows of a sound as the model takes them; see ``read_windows`` for errors."""
        most = self.options.max_windows
        windows = read_windows(value, rate=self.rate, seconds=self.seconds, max_windows=most)
        return [self.prepare(window) for window in windows]

    @abstractmethod
    def prepare(self, window: Samples) -> Any:
        """Returns a window as the model takes it.

        Args:
            window: Samples at the model's rate ``(num_samples,)``, at least one and no more than ``seconds``.
        """

    @abstractmethod
    def encode_windows(self, windows: Sequence[Any]) -> Tensor:
        """Returns the vectors of windows that ``prepare`` returned ``(len(windows), dim)``."""

    def encode_batch(self, inputs: Sequence[list[Any]]) -> Tensor:
        """Returns the vectors of sounds ``(len(inputs), dim)``."""
        import torch

        windows = [window for sound in inputs for window in sound]
        step = self.batch_size
        parts = [self.encode_windows(windows[start : start + step]) for start in range(0, len(windows), step)]
        means = average_windows(torch.cat(parts), [[1] * len(sound) for sound in inputs])
        return unit_length(means) if self._normalized() else means

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns how sounds are read, and the settings of the feature extractor."""
        return {
            "sound": VERSION,
            "seconds": self.seconds,
            "max_windows": self.options.max_windows,
            "extractor": type(self.extractor).__name__,
            "settings": plain_settings(self.extractor.to_dict()),
        }

    def space_settings(self) -> Mapping[str, Any]:
        """Returns that vectors are those of sounds alone."""
        return {"audio": "mean"}

    def _normalized(self) -> bool:
        return bool(self.options.normalize)

    def _extracted(self, window: Samples, name: str) -> Samples:
        """Returns what the feature extractor makes of one window."""
        inputs = self.extractor(window, sampling_rate=self.rate, return_tensors="np")
        return np.asarray(inputs[name][0], dtype=np.float32)

    def _stacked(self, windows: Sequence[Samples]) -> Tensor:
        import torch

        return torch.from_numpy(np.stack(windows)).to(self.loaded.device)


class ClapTower(AudioTower):
    """Encodes sounds as ``get_audio_features`` of CLAP does; compares with its text tower.

    From `"Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation"
    <https://arxiv.org/abs/2211.06687>`_. Differs from the paper: a track longer than ten seconds is read in windows,
    instead of cropped at random, or fused from random crops; so no window counts as longer than the model takes.
    """

    @property
    def longest(self) -> float | None:
        """The seconds to which CLAP crops or repeats a sound."""
        return float(self.extractor.nb_max_samples / self.rate)

    def prepare(self, window: Samples) -> Samples:
        """Returns the spectrogram of a window ``(1 or 4, num_frames, num_mel_bins)``, repeated to full length."""
        return self._extracted(window, "input_features")

    def encode_windows(self, windows: Sequence[Samples]) -> Tensor:
        """Returns the vectors of windows, of unit length ``(len(windows), dim)``."""
        import torch

        features = self._stacked(windows)
        longer = torch.zeros((len(windows), 1), dtype=torch.bool, device=features.device)
        model: Any = self.loaded.model
        return unit_length(features_of(model.get_audio_features(input_features=features, is_longer=longer)))

    def space_settings(self) -> Mapping[str, Any]:
        """Returns nothing: vectors compare with those of texts."""
        return {}

    def _normalized(self) -> bool:
        return self.options.normalize is not False


class WhisperTower(AudioTower):
    """Encodes sounds by the encoder of Whisper: the mean over the frames that hold sound, not padding.

    From `"Robust Speech Recognition via Large-Scale Weak Supervision" <https://arxiv.org/abs/2212.04356>`_.
    """

    @property
    def longest(self) -> float | None:
        """The seconds to which Whisper pads a sound."""
        return float(self.extractor.n_samples / self.rate)

    def prepare(self, window: Samples) -> tuple[Samples, int]:
        """Returns the spectrogram of a window ``(num_mel_bins, num_frames)``, and how many states hold sound."""
        frames = -(-len(window) // self.extractor.hop_length)
        return self._extracted(window, "input_features"), -(-frames // 2)  # a convolution halves the frames

    def encode_windows(self, windows: Sequence[tuple[Samples, int]]) -> Tensor:
        """Returns the vectors of windows ``(len(windows), dim)``."""
        encoder: Any = self.loaded.model.get_encoder()  # type: ignore[operator]
        states = encoder(self._stacked([features for features, _ in windows])).last_hidden_state
        return _mean_of_first(states, [count for _, count in windows])


class WaveTower(AudioTower):
    """Encodes sounds by wav2vec 2.0, HuBERT, WavLM and their like: the mean over the frames.

    From `"wav2vec 2.0" <https://arxiv.org/abs/2006.11477>`_, `"HuBERT" <https://arxiv.org/abs/2106.07447>`_ and
    `"WavLM" <https://arxiv.org/abs/2110.13900>`_. Models that normalise over time (``feat_extract_norm="group"``) see
    padding and were trained without a mask: only windows of one length share a batch. Others are padded, and masked.
    """

    @property
    def longest(self) -> float | None:
        """None: these models take any length."""
        return None

    def prepare(self, window: Samples) -> Samples:
        """Returns the samples of a window, at least a frame ``(num_samples,)``, normalised if the model wants it."""
        config: Any = self.loaded.model.config
        least = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            least = (least - 1) * stride + kernel
        return self._extracted(_padded(window, least), "input_values")

    def encode_windows(self, windows: Sequence[Samples]) -> Tensor:
        """Returns the vectors of windows ``(len(windows), dim)``."""
        import torch

        if self._masks():
            return self._encode_padded(windows)
        lengths = sorted({len(window) for window in windows})
        groups = [[at for at, window in enumerate(windows) if len(window) == length] for length in lengths]
        parts = [self._states(self._stacked([windows[at] for at in group])).mean(dim=1) for group in groups]
        order = torch.tensor([at for group in groups for at in group], device=self.loaded.device)
        return torch.cat(parts)[order.argsort()]

    def _encode_padded(self, windows: Sequence[Samples]) -> Tensor:
        import torch

        lengths = torch.tensor([len(window) for window in windows], device=self.loaded.device)
        longest = int(lengths.max())
        samples = self._stacked([_padded(window, longest) for window in windows])
        mask = torch.arange(longest, device=self.loaded.device) < lengths.unsqueeze(1)
        config: Any = self.loaded.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            lengths = (lengths - kernel) // stride + 1
        return _mean_of_first(self._states(samples, attention_mask=mask.long()), lengths.tolist())

    def _masks(self) -> bool:
        settings = self.loaded.settings
        plain = not (settings.get("add_adapter") or settings.get("conv_pos_batch_norm"))
        return plain and settings["model_type"] in MASKED and settings.get("feat_extract_norm") == "layer"

    def _states(self, samples: Tensor, **masks: Tensor) -> Tensor:
        states: Tensor = self.loaded.model(samples, **masks).last_hidden_state.float()
        return states


class SpectrogramTower(AudioTower):
    """Encodes sounds by the Audio Spectrogram Transformer: its pooled output, the mean of its two first tokens.

    From `"AST: Audio Spectrogram Transformer" <https://arxiv.org/abs/2104.01778>`_.
    """

    @property
    def longest(self) -> float | None:
        """The seconds to which AST cuts or pads a sound: a frame every ten milliseconds."""
        return float(self.extractor.max_length) / 100

    def prepare(self, window: Samples) -> Samples:
        """Returns the spectrogram of a window ``(num_frames, num_mel_bins)``."""
        return self._extracted(_padded(window, self.rate // 40), "input_values")  # the 25 milliseconds of a frame

    def encode_windows(self, windows: Sequence[Samples]) -> Tensor:
        """Returns the vectors of windows ``(len(windows), dim)``."""
        vectors: Tensor = self.loaded.model(self._stacked(windows)).pooler_output
        return vectors

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns how sounds are read, the settings of the feature extractor, and what computes its spectrograms."""
        from transformers.utils import is_speech_available

        return {**super().preprocessing(), "torchaudio": is_speech_available()}


TOWERS: dict[str, type[AudioTower]] = {  # by what transformers calls a type of model
    "clap": ClapTower,
    "whisper": WhisperTower,
    "wav2vec2": WaveTower,
    "wav2vec2-conformer": WaveTower,
    "hubert": WaveTower,
    "wavlm": WaveTower,
    "unispeech": WaveTower,
    "unispeech-sat": WaveTower,
    "data2vec-audio": WaveTower,
    "audio-spectrogram-transformer": SpectrogramTower,
}
MASKED = ("wav2vec2", "hubert", "wavlm")  # where a masked window has the same vector as one without padding


def _clap_tokens(config: Any) -> int:
    text = config.text_config
    return min(CLAP_TOKENS, int(text.max_position_embeddings) - int(text.pad_token_id) - 1)  # it counts from behind pad


def _padded(window: Samples, length: int) -> Samples:
    return np.pad(window, (0, max(0, length - len(window))))


def _mean_of_first(states: Tensor, counts: Sequence[int]) -> Tensor:
    """Returns the mean over the first states of each row, as many as are counted ``(len(states), dim)``."""
    import torch

    number = torch.tensor(counts, device=states.device).clamp(min=1, max=states.shape[1]).unsqueeze(1)
    mask = (torch.arange(states.shape[1], device=states.device) < number).unsqueeze(-1)
    return torch.where(mask, states.float(), 0).sum(dim=1) / number
