"""Which encoder makes a modality, from which columns: what a configuration says, and the encoder it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from graphrec.config import Config, ConfigError, resolve, unknown_name
from graphrec.features.encoder import KINDS, Encoder, Kind, Precision
from graphrec.runtime import resolve_device

ENCODERS = {
    "light-text": "graphrec.features.text:LightTextEncoder",
    "light-image": "graphrec.features.image:LightImageEncoder",
    "place": "graphrec.features.columns:PlaceEncoder",
    "categorical": "graphrec.features.columns:CategoricalEncoder",
    "numeric": "graphrec.features.columns:NumericEncoder",
}
BY_ROW = frozenset(("place", "categorical", "numeric"))  # they take the values of several columns side by side
LIGHT = {"text": "light-text", "image": "light-image"}  # what "light" means, by kind


class EncodingConfig(Config):
    """How towers are run; nothing here changes what a vector is, beyond rounding.

    Args:
        store: The folder of the feature store; ``features`` under GRAPHREC_CACHE, else under the user's cache folder.
        device: Where towers run; ``"auto"`` is the GPU where there is one.
        batch_size: Values per batch; what suits the device by default.
        workers: Threads that read and preprocess; as many as there are cores by default.
    """

    store: Path | None = None
    device: str = "auto"
    batch_size: int | None = Field(default=None, ge=1)
    workers: int | None = Field(default=None, ge=1)


class EncoderConfig(Config):
    """How one modality is made; a bare string is its encoder.

    Args:
        encoder: ``light``, a name from ``ENCODERS``, a tower such as ``hf:sentence-transformers/all-MiniLM-L6-v2``, or
            ``package.module:Class``.
        columns: The catalogue columns it reads; the one named like the modality by default. Texts of several columns
            are joined line by line; numbers stay side by side.
        template: How texts of several columns are put together, e.g. ``"{title}[ by {brand}]"``.
        kind: What a tower reads, where the name of the modality does not say it.
        options: Settings of the encoder, e.g. ``{"windows": true}``.
        precision: Of a tower's products: ``auto`` is mixed on a GPU and fp32 on a CPU.
        dtype: How a tower's vectors are kept; ``float16`` halves the store.
    """

    encoder: str
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    template: str | None = None
    kind: Kind | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    precision: Precision = "auto"
    dtype: Literal["float32", "float16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        return {"encoder": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _columns_of_template(self) -> Self:
        if self.template is not None and self.columns is not None:
            raise ValueError("expected a template, which names its columns, or columns, got both")
        return self

    def build(self, modality: str, *, dim: int = 64, encoding: EncodingConfig | None = None) -> Encoder:
        """Returns the encoder.

        Raises:
            ConfigError: If there is no such encoder, or an option is wrong.
        """
        prefix = self.encoder.partition(":")[0]
        if ":" in self.encoder and prefix in _prefixes():
            return self._tower(modality, encoding or EncodingConfig())
        spec = _light(self.kind or kind_of(modality), modality) if self.encoder == "light" else self.encoder
        if ":" not in spec and spec not in ENCODERS:
            known = ("light", *ENCODERS, *(f"{name}:" for name in _prefixes()))
            raise ConfigError(unknown_name(spec, known, kind="encoder") + "; or 'package.module:Class' from outside")
        return self._instance(_imported(spec), dim)

    def _tower(self, modality: str, encoding: EncodingConfig) -> Encoder:
        from graphrec.features.engine import StoredEncoder
        from graphrec.features.store.store import Store
        from graphrec.features.towers.checkpoint import get_tower

        kind = self.kind or kind_of(modality)
        if kind is None:
            raise ConfigError(
                f"expected kind: {', '.join(KINDS)} beside the encoder of {modality!r}, got none; write kind: text "
                f"under it, or {modality}.kind=text after it on the command line"
            )
        if encoding.device not in ("auto", "cpu"):  # these need no torch to be checked
            check_device(encoding.device, where="encoding")
        tower = get_tower(self.encoder, kind, options=self.options, device=encoding.device, precision=self.precision)
        return StoredEncoder(
            tower,
            Store(encoding.store),
            batch_size=encoding.batch_size,
            workers=encoding.workers,
            dtype=self.dtype,
        )

    def _instance(self, cls: Any, dim: int) -> Encoder:
        if isinstance(cls, type) and issubclass(cls, Config):
            return cls.parse({"dim": dim, **self.options}, where=self.encoder)  # type: ignore[return-value]
        try:
            return cls(dim=dim, **self.options)
        except TypeError as error:
            raise ConfigError(f"{self.encoder}: expected a class that takes dim and these options: {error}") from error


def kind_of(modality: str) -> Kind | None:
    """Returns the kind that the name of a modality says: ``title_text`` and ``text`` are texts; None if none does.

    >>> kind_of("image"), kind_of("poster_image"), kind_of("price")
    ('image', 'image', None)
    """
    named = [
        kind for kind in KINDS if modality == kind or modality.endswith(f"_{kind}") or modality.startswith(f"{kind}_")
    ]
    return named[0] if len(named) == 1 else None


def get_encoder(
    spec: str | EncoderConfig | Mapping[str, Any],
    *,
    modality: str,
    dim: int = 64,
    encoding: EncodingConfig | None = None,
) -> Encoder:
    """Returns the encoder that a specification names.

    Args:
        spec: ``"light"`` for the built-in encoder of the modality; a name from ``ENCODERS``; a tower, as in
            ``"open_clip:ViT-B-32/laion2b_s34b_b79k"``, ``"hf:…"`` or ``"path:/my/checkpoint"``;
            ``"package.module:Class"`` for an encoder from outside; or an ``EncoderConfig`` or the mapping of one.
        modality: The modality to be made; its name says what a tower reads.
        dim: The length of the vectors asked for; an encoder of fixed length disregards it.
        encoding: How a tower is run.

    Raises:
        ConfigError: If there is no such encoder, or a setting is wrong.
    """
    if not isinstance(spec, EncoderConfig):
        spec = EncoderConfig.parse({"encoder": spec} if isinstance(spec, str) else spec, where=modality)
    return spec.build(modality, dim=dim, encoding=encoding)


def _prefixes() -> tuple[str, ...]:
    from graphrec.features.towers.checkpoint import TOWERS

    return tuple(TOWERS)


def _imported(spec: str) -> Any:
    try:
        return resolve(spec, ENCODERS, kind="encoder")
    except ConfigError as error:
        towers = ", ".join(f"{name}:" for name in _prefixes())
        raise ConfigError(f"{error}; a tower begins with one of {towers}") from error


def check_device(name: str, *, where: str) -> None:
    """Checks that a device is known and there.

    Raises:
        ConfigError: If it is not; names the section of the settings.
    """
    try:
        resolve_device(name)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{where}.device: expected 'auto', 'cpu' or a device like 'cuda:0': {reason}") from None


def _light(kind: Kind | None, modality: str) -> str:
    if kind not in LIGHT:
        raise ConfigError(
            f"expected a modality with a light encoder ({', '.join(sorted(LIGHT))}), got {modality!r}; "
            f"name one: {', '.join(sorted(ENCODERS))}"
        )
    return LIGHT[kind]
