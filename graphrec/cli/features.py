"""``graphrec encode`` and ``graphrec features``: raw content to vectors, and the store that keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphrec.cli.common import OUT, DataRoot, plain, readable
from graphrec.config import ConfigError, apply_overrides, load_yaml, merge

if TYPE_CHECKING:
    from graphrec.features.finetuning.finetune import FinetuneResult
    from graphrec.features.store.store import Store
    from graphrec.pipeline.encode import EncodedModality

USER = "user_"
SHOWN = 20  # unreadable values of a modality that are listed
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="The feature store; by default in GRAPHREC_CACHE or the user's cache."),
]
features_app = typer.Typer(no_args_is_help=True, help="The feature store.")


def encode(
    target: Annotated[str, typer.Argument(metavar="DATASET|CONFIG", help="A data set, or a YAML file that names one.")],
    encoders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODALITY=ENCODER]...", help="text=light, image=open_clip:ViT-B-32/openai, user_age=…"),
    ] = None,
    data_root: DataRoot = None,
    store: StoreFolder = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:0 …")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Values per batch.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read and preprocess.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep float16 vectors.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a value that cannot be read.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write <modality>.npy and <modality>.ids.csv there.")] = None,
) -> None:
    """Turns the texts, pictures and sounds of a data set into vectors, kept by content; stopped, it goes on.

    Without encoders, those of the CONFIG, else the light ones, are used for whatever they can read.
    """
    from graphrec.features.tables import FeatureConfig
    from graphrec.pipeline.encode import encode as run_encode
    from graphrec.pipeline.prepare import load_data

    data, given = _target(target, data_root)
    encoding = {"store": store, "device": device, "batch_size": batch_size, "workers": workers}
    values = merge(given, {"encoding": {key: value for key, value in encoding.items() if value is not None}})
    values = _only(merge(values, _encoders(encoders or [], given)), encoders or [])
    values |= _halved(values) if half else {}
    config = FeatureConfig.parse(values | ({"strict": True} if strict else {}), where="features")
    done = []
    for found in run_encode(load_data(data), config):
        done.append(found)
        for path in [] if out is None else found.write(out):
            plain(f"wrote {path}")
    _present(done)


def finetune(
    dataset: Annotated[str, typer.Argument(help="A data set with both columns.")],
    spec: Annotated[str, typer.Argument(help="The checkpoint to adapt, such as open_clip:ViT-B-32/openai.")],
    out: Annotated[Path, typer.Argument(help="The folder of the adapted checkpoint.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Such as epochs=3 lora_rank=8 lock=[image].")] = None,
    columns: Annotated[str, typer.Option(help="The two columns of the items, which must match.")] = "image,text",
    kinds: Annotated[str, typer.Option(help="What they are; text,text adapts one text tower.")] = "image,text",
    data_root: DataRoot = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there.")] = False,
) -> None:
    """Adapts a tower to a catalogue's own pairs, and measures retrieval of held-out items before and after."""
    from graphrec.data.sources import load_dataset
    from graphrec.features.finetuning.finetune import FinetuneConfig
    from graphrec.features.finetuning.finetune import finetune as run_finetune

    config = FinetuneConfig.parse(apply_overrides({}, settings or []), where="finetune")
    items = load_dataset(dataset, root=data_root).items
    names, what = _pair(columns, "columns"), _pair(kinds, "kinds")
    found = run_finetune(spec, items, out, config, kinds=what, columns=names, overwrite=overwrite)  # type: ignore[arg-type]
    _present_retrieval(found, dict(zip(("forward", "backward"), (names, names[::-1]), strict=True)))
    plain(f"wrote {out}; encode with {names[0]}={found.spec} and {names[1]}={found.spec}")


@features_app.command("ls")
def list_features(store: StoreFolder = None) -> None:
    """Shows the encoders whose vectors are kept, with their sizes."""
    from rich.table import Column, Table

    place = _open(store)
    table = Table(
        Column("encoder", overflow="fold"), "kind", "dim", "dtype", "vectors", "failed", "shards", "MiB", "used"
    )
    for entry in place.entries():
        about, used = entry.manifest, time.strftime("%Y-%m-%d", time.localtime(entry.used))
        numbers = (entry.values, entry.failures, entry.shards, entry.size / 2**20)
        table.add_row(about.name, about.kind, str(about.dim), about.dtype, *map(readable, numbers), used)
    OUT.print(table)
    plain(f"store {place.root}")


@features_app.command("verify")
def verify_features(store: StoreFolder = None) -> None:
    """Reads every shard whole; lists what is broken, and leaves with status 1 if something is."""
    problems = _open(store).verify()
    for problem in problems:
        plain(f"{problem.path}: {problem.reason}")
    plain(f"{len(problems)} problem(s)" + ("; graphrec features gc removes them" if problems else ""))
    if problems:
        raise typer.Exit(1)


@features_app.command("gc")
def collect_garbage(
    encoders: Annotated[list[str] | None, typer.Argument(help="Encoders to forget, as ls names them.")] = None,
    store: StoreFolder = None,
    unused_days: Annotated[float | None, typer.Option(help="Also forget encoders not used for so long.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Removes leftovers and broken shards, and by option the vectors of encoders; whatever is in use stays."""
    done = _open(store).gc(encoders=encoders or [], unused_days=unused_days, dry_run=dry_run)
    for path in done.paths:
        plain(f"{'would remove' if dry_run else 'removed'} {path}")
    plain(
        f"{len(done.paths)} file(s), {readable(done.size / 2**20)} MiB; forgot {done.forgotten} file(s) that are gone"
    )


def _target(target: str, root: Path | None) -> tuple[Any, dict[str, Any]]:
    """Returns which data set, and the features section of the file if the target is one."""
    from graphrec.cli.common import find_config
    from graphrec.pipeline.config import DataConfig

    values: dict[str, Any] = {"data": {"name": target}}
    if target.endswith((".yaml", ".yml")) and Path(target).is_file():
        found = load_yaml(find_config(target))
        values = found if "data" in found else values
    data = dict(values["data"]) | ({} if root is None else {"root": root})
    return DataConfig.parse(data, where="data"), dict(values.get("features") or {})


def _encoders(overrides: list[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of ``text=SPEC`` and ``text.template=…`` over those given, those of ``user_…`` apart."""
    full = [
        _literal(text) if "." in text.partition("=")[0] else text.replace("=", ".encoder=", 1) for text in overrides
    ]
    found: dict[str, dict[str, Any]] = {"encoders": {}, "user_encoders": {}}
    for name, entry in apply_overrides({}, full).items():
        part, own = ("user_encoders" if name.startswith(USER) else "encoders"), name.removeprefix(USER)
        base = (given.get(part) or {}).get(own) or {}
        settings = merge({"encoder": base} if isinstance(base, str) else base, entry)
        if "encoder" not in settings:
            raise ConfigError(f"expected an encoder for {name!r}, as in {name}=light, got {entry!r}")
        found[part][own] = settings
    return {part: entries for part, entries in found.items() if entries}


def _halved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the encoders, those of the command line and those of the file, with float16 vectors."""
    return {
        part: {
            name: {**({"encoder": entry} if isinstance(entry, str) else entry), "dtype": "float16"}
            for name, entry in values[part].items()
        }
        for part in ("encoders", "user_encoders")
        if values.get(part)
    }


def _literal(override: str) -> str:
    """Returns an override whose template is a text, which its braces and brackets would not be in YAML."""
    key, _, text = override.partition("=")
    if not key.endswith(".template") or (text[:1] in ("'", '"') and text[-1:] == text[:1]):
        return override
    return f"{key}={json.dumps(text, ensure_ascii=False)}"


def _only(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns the settings restricted to the modalities of items and users that were named, if any was."""
    names = {text.partition("=")[0].partition(".")[0] for text in overrides}
    if not names:
        return values
    people = {name: entry for name, entry in (values.get("user_encoders") or {}).items() if f"{USER}{name}" in names}
    items = sorted(name for name in names if not name.startswith(USER))
    return values | {"modalities": items, "user_encoders": people}


def _pair(text: str, option: str) -> tuple[str, str]:
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2 or not all(parts):
        raise ConfigError(f"expected two names for --{option}, as in image,text, got {text!r}")
    return parts[0], parts[1]


def _present_retrieval(found: FinetuneResult, ways: Mapping[str, tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table("held-out items", "metric", "before", "after", "p")
    for way, (query, answer) in ways.items():
        for metric, before in found.before[way].items():
            p = f"{found.change[way]['p_value']:.2g}" if metric == "mrr" else ""
            table.add_row(f"{query} → {answer}", metric, readable(before), readable(found.after[way][metric]), p)
    OUT.print(table)
    plain(f"epoch {found.best_epoch}; {', '.join(f'{count} {part}' for part, count in found.counts.items())}")


def _present(done: list[EncodedModality]) -> None:
    from rich.table import Table

    table = Table("modality", "encoder", "present", "unreadable", "dim", "seconds")
    for found in done:
        present = f"{len(found.table.rows):,} of {len(found.table.ids):,} {found.table.ids.name}s"
        numbers = (str(len(found.unreadable)), str(found.table.dim), f"{found.seconds:.1f}")
        table.add_row(found.name, found.table.source, present, *numbers)
    OUT.print(table)
    for found in done:
        for identity, reason in found.unreadable[:SHOWN]:
            plain(f"{found.name} of {identity!r}: {reason}")
        if len(found.unreadable) > SHOWN:
            plain(f"{found.name}: {len(found.unreadable) - SHOWN} more; --out FOLDER writes all of them")


def _open(store: Path | None) -> Store:
    from graphrec.features.store.store import Store

    return Store(store)
