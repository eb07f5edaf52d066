"""Pictures, sounds and videos of a prepared data set whose items come with addresses: fetched, and put on record."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from graphrec.config import ConfigError, dump_yaml, load_yaml, unknown_name
from graphrec.data.cards import CARD_FILE, DatasetCard, file_hash, find_card, load_card
from graphrec.data.files import reading, require_file, write_json, write_text
from graphrec.data.media_download import MEDIA, MediaError, Medium, Patience, fetch_medium, name_for
from graphrec.data.prepare import LOCK, MANIFEST
from graphrec.data.prepared import ITEMS
from graphrec.runtime import logger, progress

if TYPE_CHECKING:
    import pyarrow as pa
    import requests

log = logger(__name__)
FAILED = "failed.json"
FETCHED = "fetched"  # in the manifest
UNREACHED = 50  # addresses in a row without any server that answers, after which none is asked any more


@dataclass(frozen=True)
class Fetched:
    """What came of the addresses of a data set.

    Args:
        folder: The folder of the data set.
        column: The modality.
        addressed: The items with an address.
        present: Those of them whose file is there now.
        new: Those of them whose file was not there before.
        known: The items that were not asked for again, since their file was found gone before.
        failures: By reason, the ids of the items whose file could not be had in this call.
    """

    folder: Path
    column: str
    addressed: int
    present: int
    new: int
    known: int
    failures: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """One address, the items that lack its file, and where it lies already, if another item has it."""

    url: str
    ids: tuple[Any, ...]
    source: Path | None


@dataclass(frozen=True)
class _Outcome:
    job: _Job
    error: MediaError | None = None


def fetch_addresses(
    name: str,
    root: str | Path | None = None,
    *,
    column: str = "image",
    workers: int = 8,
    limit: int | None = None,
    retry: bool = False,
    patience: Patience | None = None,
) -> Fetched:
    """Downloads what the addresses of a prepared data set lead to, and enters the files in its table of items.

    ``images/<id><suffix>`` (``audio/``, ``video/``) are the files, ids being percent-encoded where they are no file
    names. Files that are there are kept, so a call that was stopped is continued by the next one; an address that
    several items share is fetched once. A file that cannot be had stays absent; what the server says is gone (404, 410)
    is noted in ``images/failed.json`` and not asked for again. The column ``image`` of ``items.parquet`` then names the
    files; ids, interactions, splits and all other columns stay as they are, and the card and the manifest are those of
    the new table. Where ``prepare`` made the folder anew, another call finds the files and enters them again.

    Args:
        name: The name of a prepared data set, perhaps ``NAME:VARIANT``, or its folder.
        root: The folder that holds the named data sets.
        column: ``image``, ``audio`` or ``video``; the addresses are in ``<column>_url``.
        workers: How many files are fetched at the same time.
        limit: The most addresses that are asked for in this call.
        retry: Whether what was found gone before is asked for again.
        patience: How long servers are waited for.

    Raises:
        ConfigError: If the data set or the column is unknown.
        FileNotFoundError: If the data set is not there.
        ValueError: If it was not made by ``prepare``, has no addresses, or its table of items is not that of its card.
        OSError: If a file cannot be written, or no server is reached; what has come is kept.
    """
    if column not in MEDIA:
        raise ConfigError(unknown_name(column, MEDIA, kind="column"))
    if workers < 1 or (limit is not None and limit < 0):
        raise ValueError(f"expected workers of 1 or more and a limit of 0 or more, got {workers} and {limit}")
    card, folder = _prepared(name, root)
    with FileLock(folder / LOCK):
        table = _read_items(folder)
        work = _Work(folder, column, MEDIA[column], _addresses(table, column, card.name))
        summary = work.run(workers, limit, retry, replace(patience or Patience(), stop=Event()))
        _enter(folder, column, _with_files(table, column, work), summary)
    return summary


def _prepared(name: str, root: str | Path | None) -> tuple[DatasetCard, Path]:
    own = Path(name) / CARD_FILE
    card, folder = (load_card(own), own.parent) if own.is_file() else find_card(name, root)
    if card.reader is None or card.reader.kind != "prepared" or not (folder / MANIFEST).is_file():
        raise ValueError(
            f"expected a folder that 'graphrec data prepare' made, got {str(folder)!r}, which came as it is and names "
            "no addresses of files"
        )
    return card, folder


def _read_items(folder: Path) -> pa.Table:
    """Returns the table of items if it is that of the card, or the one that the manifest says comes next."""
    from pyarrow import parquet

    card = load_card(folder / CARD_FILE)
    known = {card.files.get(ITEMS), _manifest(folder).get(FETCHED, {}).get(ITEMS)}
    path = require_file(folder / ITEMS)
    if file_hash(path) not in known:
        raise ValueError(
            f"expected {str(path)!r} as in its card, got another one; make the folder anew with --force: graphrec data "
            "prepare"
        )
    with reading(path):
        return parquet.ParquetFile(path).read()


def _manifest(folder: Path) -> dict[str, Any]:
    with reading(folder / MANIFEST):
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def _addresses(table: pa.Table, column: str, name: str) -> dict[Any, str]:
    if f"{column}_url" not in table.column_names:
        raise ValueError(
            f"expected a column '{column}_url' in the items of {name!r}, got {', '.join(table.column_names)}; "
            "this data set gives no addresses"
        )
    pairs = zip(table.column("item").to_pylist(), table.column(f"{column}_url").to_pylist(), strict=True)
    return {item: url for item, url in pairs if url}


class _Work:
    """The files of one modality of one data set."""

    def __init__(self, folder: Path, column: str, medium: Medium, addresses: Mapping[Any, str]) -> None:
        self.column, self.medium, self.addresses = column, medium, addresses
        self.data, self.folder = folder, folder / medium.folder
        self.folder.mkdir(exist_ok=True)
        for left in self.folder.glob(".*.part"):
            left.unlink()
        self.gone = _read_gone(self.folder / FAILED)

    def files(self) -> dict[str, Path]:
        """Returns the files by name without suffix."""
        entries = sorted(os.scandir(self.folder), key=lambda entry: entry.name, reverse=True)
        paths = [Path(entry.path) for entry in entries if not entry.name.startswith(".")]
        return {path.stem: path for path in paths if path.suffix.lower() in self.medium.suffixes}

    def run(self, workers: int, limit: int | None, retry: bool, patience: Patience) -> Fetched:
        """Fetches what is missing."""
        jobs = self._jobs()
        asked = [job for job in jobs if retry or job.source or job.url not in self.gone]
        known = sum(len(job.ids) for job in jobs) - sum(len(job.ids) for job in asked)
        asked = asked[:limit]
        failures: dict[str, list[Any]] = {}
        try:
            self._fetch(asked, workers, patience, failures)
        finally:
            self._save()
        files = self.files()
        present = sum(name_for(item) in files for item in self.addresses)
        new = sum(len(job.ids) for job in asked) - sum(map(len, failures.values()))
        return Fetched(self.data, self.column, len(self.addresses), present, new, known, failures)

    def _save(self) -> None:
        if self.gone:
            write_json(self.folder / FAILED, self.gone)
        else:
            (self.folder / FAILED).unlink(missing_ok=True)

    def _jobs(self) -> list[_Job]:
        files, missing, sources = self.files(), dict[str, list[Any]](), dict[str, Path]()
        for item, url in self.addresses.items():
            path = files.get(name_for(item))
            if path is None:
                missing.setdefault(url, []).append(item)
            else:
                sources.setdefault(url, path)
        return [_Job(url, tuple(ids), sources.get(url)) for url, ids in missing.items()]

    def _fetch(self, jobs: list[_Job], workers: int, patience: Patience, failures: dict[str, list[Any]]) -> None:
        unreached = 0
        with (
            _session(workers) as session,
            progress(f"fetching {self.column} files", len(jobs)) as advance,
            closing(_in_parallel(jobs, lambda job: self._one(session, job, patience), workers, patience)) as outcomes,
        ):
            for outcome in outcomes:
                advance(1)
                unreached = unreached + 1 if outcome.error is not None and outcome.error.unreached else 0
                self._note(outcome, failures)
                if unreached >= UNREACHED:
                    raise OSError(
                        f"no server was reached for {unreached} addresses in a row, such as {outcome.job.url}; the "
                        "files that came are kept: call again when there is a connection"
                    )

    def _one(self, session: requests.Session, job: _Job, patience: Patience) -> _Outcome:
        first, *others = (self.folder / name_for(item) for item in job.ids)
        try:
            path = job.source
            if path is None:
                path = fetch_medium(session, job.url, first, self.medium, patience)
            else:
                others.insert(0, first)
        except MediaError as error:
            return _Outcome(job, error)
        for stem in others:
            _copy_whole(path, stem.with_name(stem.name + path.suffix))
        return _Outcome(job)

    def _note(self, outcome: _Outcome, failures: dict[str, list[Any]]) -> None:
        job, error = outcome.job, outcome.error
        if error is None or not error.gone:
            self.gone.pop(job.url, None)
        else:
            self.gone[job.url] = {"items": list(job.ids), "reason": str(error)}
        if error is not None:
            log.debug("%s: %s", job.url, error)
            failures.setdefault(str(error), []).extend(job.ids)


def _session(workers: int) -> requests.Session:
    """Returns a session whose connections are as many as those who ask."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=workers, pool_maxsize=workers))
    return session


def _in_parallel(
    jobs: Iterable[_Job], work: Callable[[_Job], _Outcome], workers: int, patience: Patience
) -> Generator[_Outcome, None, None]:
    """Yields what comes of the jobs as they are done, few of them waiting at a time; whoever leaves stops the rest."""
    pending: set[Future[_Outcome]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
        try:
            for job in jobs:
                pending.add(pool.submit(work, job))
                if len(pending) >= 4 * workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            patience.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _read_gone(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError):
        log.warning("%s cannot be read, so all that is missing is asked for again", path)
        return {}


def _copy_whole(source: Path, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    shutil.copyfile(source, partial)
    partial.replace(path)


def _with_files(table: pa.Table, column: str, work: _Work) -> pa.Table:
    """Returns the table with the paths of the files that are there; other paths stay where they name a file."""
    import pyarrow as pa

    files, ids = work.files(), table.column("item").to_pylist()
    old = table.column(column).to_pylist() if column in table.column_names else [None] * len(ids)
    paths = [
        _path(files.get(name_for(item)) if item in work.addresses else None, before, work)
        for item, before in zip(ids, old, strict=True)
    ]
    if paths == old:
        return table
    values = pa.array(paths, pa.string())
    if column in table.column_names:
        return table.set_column(table.column_names.index(column), column, values)
    return table.add_column(table.column_names.index(f"{column}_url"), column, values)


def _path(found: Path | None, before: str | None, work: _Work) -> str | None:
    if found is not None:
        return f"{work.medium.folder}/{found.name}"
    ours = before is not None and Path(before).parent == Path(work.medium.folder)
    return None if ours and not (work.data / str(before)).is_file() else before


def _enter(folder: Path, column: str, table: pa.Table, summary: Fetched) -> None:
    """Puts the table, the manifest and the card in their place.

    The manifest comes first and says which table is next: stopped in between, the data set can still be read, and the
    next call ends the work.
    """
    from pyarrow import parquet

    partial = folder / f".{ITEMS}.part"
    parquet.write_table(table, partial, compression="zstd")
    manifest = _manifest(folder)
    about = {"addressed": summary.addressed, "present": summary.present}
    manifest[FETCHED] = manifest.get(FETCHED, {}) | {ITEMS: file_hash(partial), column: about}
    write_json(folder / MANIFEST, manifest)
    partial.replace(folder / ITEMS)
    card = load_yaml(folder / CARD_FILE)
    card["files"] |= {name: file_hash(folder / name) for name in (ITEMS, MANIFEST)}
    write_text(folder / CARD_FILE, dump_yaml(card))
