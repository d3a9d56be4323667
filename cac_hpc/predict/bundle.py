"""The bundle: all that takes a study from DICOM to a category, in one folder or one file that can be handed over.

Members are bundle.json, which names the others with their sizes and digests, the weights of each fold, the training
range, the run's own figures, the model card and, where asked for, ONNX files. As one file it is a ZIP archive without
compression, dates and owners, whose comment is the SHA-256 of all bytes before it. The same bundle gives the same
bytes. Whatever is read may come from anywhere: nothing in it is run, and nothing is believed before it was compared.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from cac_hpc.calcium import candidates
from cac_hpc.predict import training_range
from cac_hpc.predict.training_range import TrainingRange
from cac_hpc.results.serialization import Damaged, Json, from_json, to_json
from cac_hpc.run import composition, config, digests, paths, slurm_notation
from cac_hpc.run.config import InputError, LabelsConfig, ModelConfig, PackConfig, ReportConfig, TrainConfig
from cac_hpc.run.paths import RunPaths
from cac_hpc.statistics.prediction_sets import Calibration
from cac_hpc.train import checkpoint
from cac_hpc.train.models import MODELS
from cac_hpc.train.ordinal import Errors

FORMAT, FORMAT_VERSION, WITH_OWN = "cac_hpc bundle", 1, 2  # the latter where folds have settings of their own
MANIFEST, RANGE, INTERNAL, CARD = "bundle.json", "training_range.json", "internal.json", "README.md"
MEMBER = re.compile(r"training_range\.json|internal\.json|README\.md|fold-(0|[1-9]\d{0,2})\.(pt|onnx)")
MAX_TEXT_BYTES = 1 << 26  # of a member that is text
MAX_FOLDS = 1000
MAX_BYTES = 1 << 34  # of all members; the study's network of 512 pixels takes 270 MB a fold
MAX_PARAMETERS = 1 << 31  # of a fold
SUM_TOLERANCE = 1e-3  # of probabilities
DIGEST_LENGTH = 64  # of the comment at the end of the archive
DATE = (1980, 1, 1, 0, 0, 0)  # of members, the earliest that ZIP knows
WANTED = "wanted a bundle as jobs/export.py writes it"
FAULTS = (  # what zipfile, json and torch raise of what was made to break them
    zipfile.BadZipFile, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    NotImplementedError, RecursionError, RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class FoldSettings:
    """What the network of a fold is, and what it sees."""

    model: ModelConfig
    window_hu: tuple[float, float]


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that belongs to it; digest: of its bundle.json, where it was read from one."""

    kind: str  # model.kind: slices or lesions
    version: str  # of cac_hpc that made it
    pack: PackConfig  # how studies are read: series, frame, size, crop, candidates, checks
    model: ModelConfig
    window_hu: tuple[float, float]
    names: tuple[str, ...]  # of the categories
    edges: tuple[float, ...]
    patient_rule: str  # from slices to a patient, of a slice network
    top_k: int
    weights: Sequence[Mapping[str, Tensor]]  # of each fold
    errors: Sequence[Errors] | None  # of each fold's scores, of a lesion model
    internal: Json  # the run's own figures, see `export.internal`
    training: TrainingRange
    salt: str  # of the digests in known
    known: frozenset[str]  # see `slice_digest`
    licence: str
    digest: str = ""
    own: tuple[FoldSettings, ...] = ()  # of each fold, where folds chose settings among trials
    sets: Calibration | None = None  # of prediction sets; None of a bundle that was made before there were any

    @property
    def widest_hu(self) -> tuple[float, float]:
        """The window that shows what any of its networks sees."""
        windows = [self.of_fold(fold).window_hu for fold in range(len(self.weights))]
        return min(low for low, _ in windows), max(high for _, high in windows)

    def of_fold(self, fold: int) -> FoldSettings:
        """What the network of a fold was trained with."""
        return self.own[fold] if self.own else FoldSettings(self.model, self.window_hu)


class _Refused(ValueError):
    """Something that no bundle has."""


Read = Callable[[int], bytes]  # at most so many bytes of a member


def slice_digest(hu_SS: np.ndarray, salt: str) -> str:
    """What stands in `Bundle.known` for a slice; "" for one that shows nothing, as outside of the field of view.

    Args:
        hu_SS: int16 HU as `intake.read_study` hands it on with the bundle's own settings.
    """
    if np.ptp(hu_SS) == 0:
        return ""
    return salted(digests.of_bytes(np.ascontiguousarray(hu_SS, "<i2").data), salt)


def salted(digest: bytes, salt: str) -> str:
    """The digest of a packed slice, 16 hexadecimal digits that differ from those in other bundles."""
    return digests.bytes_sha256(salt.encode() + digest)[:16]


def write(bundle: Bundle, out: Path, files: Mapping[str, bytes] | None = None) -> None:
    """Write a bundle under its final name when it is whole: one file if that ends with .zip, else a folder.

    Args:
        files: further members, README.md and fold-K.onnx.
    Raises: InputError if something else is there already.
    """
    content = {**_members(bundle), **(files or {})}
    content = {MANIFEST: paths.json_text(_manifest(bundle, content)).encode(), **dict(sorted(content.items()))}
    if out.suffix == ".zip":
        _write_archive(out, content)
    else:
        _write_folder(out, content)


def read(path: Path) -> Bundle:
    """Read a bundle, a folder or one file, and check all of it.

    Raises: InputError in one line, naming what is wrong with it.
    """
    try:
        with _opened(path) as members:
            return _read(members)
    except _Refused as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}, {WANTED}") from None
    except (*FAULTS, Damaged, InputError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: found something damaged, or no bundle ({said}), {WANTED}") from None


def network(bundle: Bundle, fold: int) -> nn.Module:
    """The network of a fold on the CPU, ready to predict."""
    model = MODELS[bundle.kind].build(bundle.of_fold(fold).model, bundle.pack.size, len(bundle.names))
    model.load_state_dict(bundle.weights[fold])
    return model.eval()


def _members(bundle: Bundle) -> dict[str, bytes]:
    """What a bundle consists of beside its manifest, by name."""
    found = {RANGE: to_json(bundle.training), INTERNAL: bundle.internal}
    content = {name: paths.json_text(value).encode() for name, value in found.items()}
    return content | {f"fold-{fold}.pt": weights_file(weights) for fold, weights in enumerate(bundle.weights)}


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """What a bundle holds of a fold; the same weights give the same bytes."""
    file = io.BytesIO()
    checkpoint.write(file, {"weights": {name: tensor.cpu() for name, tensor in weights.items()}})
    return file.getvalue()


def _manifest(bundle: Bundle, content: Mapping[str, bytes]) -> Json:
    """bundle.json: the settings, and size and digest of each other member."""
    plain = {
        "format": FORMAT,
        "format_version": WITH_OWN if bundle.own else FORMAT_VERSION,
        "version": bundle.version,
        "kind": bundle.kind,
        "pack": config.plain(bundle.pack),
        "model": config.plain(bundle.model),
        "window_hu": list(bundle.window_hu),
        "names": list(bundle.names),
        "edges": list(bundle.edges),
        "patient_rule": bundle.patient_rule,
        "top_k": bundle.top_k,
        "folds": len(bundle.weights),
        "errors": None if bundle.errors is None else [asdict(one) for one in bundle.errors],
        "candidates": candidates.VERSION,
        "features": list(candidates.NAMES),
        "licence": bundle.licence,
        **({"own": [_own(one) for one in bundle.own]} if bundle.own else {}),
        **({"prediction_sets": asdict(bundle.sets)} if bundle.sets else {}),
        "salt": bundle.salt,
        "known": sorted(bundle.known),
        "members": {
            name: {"bytes": len(data), "sha256": digests.bytes_sha256(data)} for name, data in sorted(content.items())
        },
    }
    return plain | {"content_sha256": digests.content_sha256(plain)}


def _own(one: FoldSettings) -> Json:
    return {"model": config.plain(one.model), "window_hu": list(one.window_hu)}


def _write_archive(out: Path, content: Mapping[str, bytes]) -> None:
    if out.exists():
        raise InputError(f"--out {out}: is there already, wanted the name of a new file")
    with paths.atomic(out) as scratch:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for name, data in content.items():
                member = zipfile.ZipInfo(name, DATE)
                member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                archive.writestr(member, data)
            archive.comment = bytes(DIGEST_LENGTH)
        with scratch.open("r+b") as file:
            digest = _digest(file, scratch.stat().st_size - DIGEST_LENGTH)
            file.write(digest.encode())


def _digest(file: IO[bytes], count: int) -> str:
    """SHA-256 of the first bytes of a file, which is left behind them."""
    file.seek(0)
    digest, left = hashlib.sha256(), count
    while left and (block := file.read(min(left, digests.BLOCK))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def _write_folder(out: Path, content: Mapping[str, bytes]) -> None:
    if out.exists():
        raise InputError(f"--out {out}: is there already, wanted the name of a new folder or .zip file")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        for name, data in content.items():
            paths.write_bytes(scratch / name, data)
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Read]]:
    """What lies in a bundle, by name: plain files only.

    Raises: _Refused.
    """
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise _Refused(f"found {_what(path)}, {WANTED}")
        yield _of_folder(path)
    elif path.is_file():
        with path.open("rb") as file:
            _check_whole(file)
            with zipfile.ZipFile(file) as archive:
                yield _of_archive(archive, path.stat().st_size)
    else:
        raise _Refused(f"not there, {WANTED}{paths.did_you_mean(path)}")


def _what(path: Path) -> str:
    """What a folder is that is no bundle."""
    if RunPaths(path).config.is_file():
        return "a run, of which jobs/export.py makes a bundle"
    return f"no {MANIFEST} in it"


def _of_folder(path: Path) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if not entry.is_file(follow_symlinks=False):
            raise _Refused(f"{_named(entry.name)} is a link, folder or device, wanted files only")

        def read(limit: int, name: str = entry.name) -> bytes:
            with (path / name).open("rb") as file:
                return file.read(limit)

        found[entry.name] = read
    return found


def _check_whole(file: IO[bytes]) -> None:
    """The archive ends with the digest of all that stands before.

    Raises: _Refused.
    """
    size = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    if not 0 < size <= MAX_BYTES:
        raise _Refused(f"has {size + DIGEST_LENGTH} bytes, {WANTED}")
    digest = _digest(file, size)
    if file.read(DIGEST_LENGTH) != digest.encode():
        raise _Refused(f"does not end with its own SHA-256, so it is damaged or no bundle; {WANTED}")


def _of_archive(archive: zipfile.ZipFile, size: int) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for member in archive.infolist():
        mode, name = member.external_attr >> 16, member.filename
        if not stat.S_ISREG(mode) or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise _Refused(f"{_named(name)} is a link, compressed or encrypted, wanted plain files only")
        if name in found:
            raise _Refused(f"{_named(name)} is in it twice")

        def read(limit: int, member: zipfile.ZipInfo = member) -> bytes:
            with archive.open(member) as file:
                return file.read(limit)

        found[name] = read
    if sum(member.file_size for member in archive.infolist()) > size:
        raise _Refused("its members claim more bytes than it has")
    return found


def _read(members: Mapping[str, Read]) -> Bundle:
    if MANIFEST not in members:
        raise _Refused(f"found no {MANIFEST} in it, {WANTED}")
    text = members[MANIFEST](MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise _Refused(f"{MANIFEST} has more than {MAX_TEXT_BYTES} bytes")
    plain = _checked(text)
    content = {name: _member(name, listed, members) for name, listed in _listed(plain, members).items()}
    bundle = _bundle(plain, content)
    _check_weights(bundle)
    return bundle


def _checked(text: bytes) -> Json:
    """The manifest, of this format version and as it was written.

    Raises: _Refused.
    """
    try:
        plain: Json = json.loads(text)
        made, version = plain["format"], plain["format_version"]
    except (*FAULTS,):
        raise _Refused(f"{MANIFEST} is damaged, or of something else; {WANTED}") from None
    if made != FORMAT:
        raise _Refused(f"{MANIFEST} is of something else; {WANTED}")
    if version != (WITH_OWN if "own" in plain else FORMAT_VERSION):
        by = slurm_notation.short(plain.get("version", "another version"))
        raise _Refused(
            f"found format version {slurm_notation.short(version)}, made by cac_hpc {by}, wanted {FORMAT_VERSION}; "
            "use that cac_hpc, or export the run again with this one"
        )
    digest = plain.pop("content_sha256", None)
    if digest != digests.content_sha256(plain) or paths.json_text(plain | {"content_sha256": digest}).encode() != text:
        raise _Refused(f"{MANIFEST} is not as it was written, so it is damaged")
    return plain | {"content_sha256": digests.bytes_sha256(text)}


def _listed(plain: Json, members: Mapping[str, Read]) -> dict[str, Json]:
    """The other members as the manifest lists them.

    Raises: _Refused if there are others, or not all of them.
    """
    listed: dict[str, Json] = plain["members"]
    if not 1 <= plain["folds"] <= MAX_FOLDS:
        raise _Refused(f"{MANIFEST} names {slurm_notation.short(plain['folds'])} folds, wanted 1 to {MAX_FOLDS}")
    wanted = {RANGE, INTERNAL, *(f"fold-{fold}.pt" for fold in range(plain["folds"]))}
    for name in [*members, *listed]:
        if name != MANIFEST and (name not in listed or not MEMBER.fullmatch(name)):
            raise _Refused(
                f"found {_named(name)} in it, wanted nothing but what {MANIFEST} lists of a bundle's members"
            )
    if missing := sorted({*listed, *wanted} - ({*members} & {*listed})):
        raise _Refused(f"{', '.join(missing[:5])} missing of what a bundle has")
    texts = [one["bytes"] for name, one in listed.items() if name.endswith((".json", ".md"))]
    if max(texts) > MAX_TEXT_BYTES or sum(one["bytes"] for one in listed.values()) > MAX_BYTES:
        raise _Refused(f"its members are too large: {MAX_TEXT_BYTES} bytes of text, {MAX_BYTES} in all at most")
    return listed


def _member(name: str, listed: Json, members: Mapping[str, Read]) -> bytes:
    """The content of a member, never more than was listed.

    Raises: _Refused.
    """
    data = members[name](listed["bytes"] + 1)
    if len(data) != listed["bytes"] or digests.bytes_sha256(data) != listed["sha256"]:
        raise _Refused(f"{name} is not as {MANIFEST} says, so it is damaged")
    return data


def _bundle(plain: Json, content: Mapping[str, bytes]) -> Bundle:
    kind, errors = str(plain["kind"]), plain["errors"]
    if kind not in MODELS:
        raise _Refused(f"holds a model of kind {_named(kind)}, wanted {' or '.join(sorted(MODELS))}")
    if MODELS[kind].row == "candidate" and (plain["candidates"], plain["features"]) != (
        candidates.VERSION,
        list(candidates.NAMES),
    ):
        made = f"made by cac_hpc {slurm_notation.short(plain['version'])}"
        raise _Refused(f"takes candidates of another version, {made}, wanted {candidates.VERSION} of this cac_hpc")
    labels = {"sheet": MANIFEST, "edges": plain["edges"], "names": plain["names"]}
    of_labels = composition.build(LabelsConfig, labels, "labels")
    of_report = composition.build(ReportConfig, {name: plain[name] for name in ("patient_rule", "top_k")}, "report")
    return Bundle(
        kind=kind,
        version=str(plain["version"]),
        pack=composition.build(PackConfig, plain["pack"], "pack"),
        model=(of_run := _fold_settings(plain)).model,
        window_hu=of_run.window_hu,
        names=of_labels.names,
        edges=of_labels.edges,
        patient_rule=of_report.patient_rule,
        top_k=of_report.top_k,
        weights=[_weights(content[f"fold-{fold}.pt"], fold) for fold in range(plain["folds"])],
        errors=None if errors is None else [_errors(one) for one in errors],
        internal=json.loads(content[INTERNAL]),
        training=_training(content[RANGE]),
        salt=str(plain["salt"]),
        known=frozenset(map(str, plain["known"])),
        licence=str(plain["licence"]),
        digest=str(plain["content_sha256"]),
        own=tuple(map(_fold_settings, plain.get("own", ()))),
        sets=_sets(plain["prediction_sets"], plain["folds"]) if "prediction_sets" in plain else None,
    )


def _fold_settings(plain: Json) -> FoldSettings:
    of_train = composition.build(TrainConfig, {"epochs": 1, "window_hu": plain["window_hu"]}, "train")
    return FoldSettings(composition.build(ModelConfig, plain["model"], "model"), of_train.window_hu)


def _errors(plain: Json) -> Errors:
    """Errors of a fold's scores, of which probabilities can be made.

    Raises: _Refused.
    """
    found = Errors(float(plain["scale"]), float(plain["gross"]))
    if not (0 < found.scale < math.inf and 0 <= found.gross <= 1):
        raise _Refused(f"{MANIFEST} describes errors of scores with scale {found.scale:g} and gross {found.gross:g}, "
                       "wanted a scale above 0 and a share from 0 to 1")  # fmt: skip
    return found


def _sets(plain: Json, folds: int) -> Calibration:
    """What prediction sets follow from: rising scores of each fold's patients, parts of a whole.

    Raises: _Refused.
    """
    found = Calibration(float(plain["coverage"]), tuple(tuple(map(float, of_fold)) for of_fold in plain["scores"]))
    if not 0 < found.coverage < 1 or len(found.scores) != folds:
        raise _Refused(
            f"{MANIFEST} has prediction sets of {found.coverage:g} by {len(found.scores)} folds, wanted a share "
            f"between 0 and 1 by {folds}"
        )
    for scores in found.scores:
        between = [0.0, *scores, 1.0 + SUM_TOLERANCE]
        if not all(low <= high for low, high in itertools.pairwise(between)):
            raise _Refused(f"{MANIFEST} has scores of prediction sets that do not rise from 0 to 1")
    return found


def _training(content: bytes) -> TrainingRange:
    """The training range, of attributes that are known here, none of which ends before it begins.

    Raises: _Refused.
    """
    found = from_json(json.loads(content), TrainingRange)
    if unknown := sorted({*found.numbers} - {*training_range.NUMBERS} | {*found.codes} - {*training_range.CODES}):
        raise _Refused(f"{RANGE} has the attribute {_named(unknown[0])}, wanted those of this cac_hpc only")
    for name, of in found.numbers.items():
        if (of.low, of.high) != (None, None) and not -math.inf < (of.low or 0) <= (of.high or 0) < math.inf:
            raise _Refused(f"{RANGE} has {name} from {of.low} to {of.high}, wanted numbers from low to high")
    return found


def _weights(content: bytes, fold: int) -> dict[str, Tensor]:
    """The tensors of a fold, none of which is larger than the file.

    Raises: _Refused.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inside:
            if sum(member.file_size for member in inside.infolist()) > len(content):
                raise ValueError("claims more bytes than it has")
        weights = checkpoint.parse(content)["weights"]
        if not all(isinstance(name, str) and isinstance(one, Tensor) for name, one in weights.items()):
            raise ValueError("holds something else than tensors")
        if sum(one.numel() * one.element_size() for one in weights.values()) > len(content):
            raise ValueError("holds tensors that are larger than it")
        if not all(one.layout == torch.strided and bool(one.isfinite().all()) for one in weights.values()):
            raise ValueError("holds weights that are no finite numbers")
        return dict(weights)
    except FAULTS as error:
        raise _Refused(f"fold-{fold}.pt {' '.join(str(error).split())[:200]}, wanted the weights of a fold") from None


def _check_weights(bundle: Bundle) -> None:
    """Every fold's weights are those of the model that the settings describe.

    Raises: _Refused.
    """
    spec, num_categories = MODELS[bundle.kind], len(bundle.names)
    if len(bundle.own) not in (0, len(bundle.weights)):
        raise _Refused(f"{MANIFEST} has settings of {len(bundle.own)} folds, wanted {len(bundle.weights)}")
    for fold, weights in enumerate(bundle.weights):
        model = bundle.of_fold(fold).model
        if spec.num_parameters(model, bundle.pack.size, num_categories) > MAX_PARAMETERS:
            raise _Refused(f"describes a model of more than {MAX_PARAMETERS} parameters")
        with torch.device("meta"):  # shapes alone
            wanted = spec.build(model, bundle.pack.size, num_categories).state_dict()
        shapes = {name: (tuple(one.shape), one.dtype) for name, one in wanted.items()}
        if {name: (tuple(one.shape), one.dtype) for name, one in weights.items()} != shapes:
            raise _Refused(f"fold-{fold}.pt does not fit the model that {MANIFEST} describes")
    num_errors = 0 if bundle.errors is None else len(bundle.errors)
    if num_errors != (len(bundle.weights) if spec.row == "candidate" else 0):
        raise _Refused(f"{MANIFEST} does not describe the errors of the scores of each fold")


def _named(name: str) -> str:
    return composition.shown(name[:200])
