"""What the members of a bundle hold: bundle.json, which names the others with their sizes and digests, and these.

They are the weights of each fold, the training range, the run's own figures, the model card and, where asked for, ONNX
files. Nothing that is read is believed before it was compared.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from cac_hpc.calcium import candidates
from cac_hpc.predict import training_range
from cac_hpc.predict.bundle import Bundle, FoldSettings
from cac_hpc.predict.training_range import TrainingRange
from cac_hpc.results.serialization import Json, from_json, to_json
from cac_hpc.run import digests, disk, escaping
from cac_hpc.settings import config, typed_values
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.report import ReportConfig
from cac_hpc.settings.train import TrainConfig
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
WANTED = "wanted a bundle as jobs/export.py writes it"
FAULTS = (  # what zipfile, json and torch raise of what was made to break them
    zipfile.BadZipFile, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    NotImplementedError, RecursionError, RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip

Read = Callable[[int], bytes]  # at most so many bytes of a member


class Refused(ValueError):
    """Something that no bundle has."""


def of_bundle(bundle: Bundle, more: Mapping[str, bytes]) -> dict[str, bytes]:
    """The members of a bundle by their names, the manifest first.

    Args:
        more: further members, README.md and fold-K.onnx.
    """
    found = {RANGE: to_json(bundle.training), INTERNAL: bundle.internal}
    content = {name: disk.json_text(value).encode() for name, value in found.items()}
    content |= {f"fold-{fold}.pt": weights_file(weights) for fold, weights in enumerate(bundle.weights)}
    content |= more
    return {MANIFEST: disk.json_text(_manifest(bundle, content)).encode(), **dict(sorted(content.items()))}


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
        **({"own": config.plain(bundle.own)} if bundle.own else {}),
        **({"prediction_sets": asdict(bundle.sets)} if bundle.sets else {}),
        "salt": bundle.salt,
        "known": sorted(bundle.known),
        "members": {
            name: {"bytes": len(data), "sha256": digests.bytes_sha256(data)} for name, data in sorted(content.items())
        },
    }
    return plain | {"content_sha256": digests.content_sha256(plain)}


def read(members: Mapping[str, Read]) -> Bundle:
    """The bundle that consists of these members.

    Raises: Refused, or one of FAULTS, if they are not those of a bundle.
    """
    if MANIFEST not in members:
        raise Refused(f"found no {MANIFEST} in it, {WANTED}")
    text = members[MANIFEST](MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise Refused(f"{MANIFEST} has more than {MAX_TEXT_BYTES} bytes")
    plain = _checked(text)
    content = {name: _member(name, listed, members) for name, listed in _listed(plain, members).items()}
    bundle = _bundle(plain, content)
    _check_weights(bundle)
    return bundle


def _checked(text: bytes) -> Json:
    """The manifest, of this format version and as it was written.

    Raises: Refused.
    """
    try:
        plain: Json = json.loads(text)
        made, version = plain["format"], plain["format_version"]
    except FAULTS:
        raise Refused(f"{MANIFEST} is damaged, or of something else; {WANTED}") from None
    if made != FORMAT:
        raise Refused(f"{MANIFEST} is of something else; {WANTED}")
    if version != (WITH_OWN if "own" in plain else FORMAT_VERSION):
        by = escaping.short(plain.get("version", "another version"))
        raise Refused(
            f"found format version {escaping.short(version)}, made by cac_hpc {by}, wanted {FORMAT_VERSION}; "
            "use that cac_hpc, or export the run again with this one"
        )
    digest = plain.pop("content_sha256", None)
    if digest != digests.content_sha256(plain) or disk.json_text(plain | {"content_sha256": digest}).encode() != text:
        raise Refused(f"{MANIFEST} is not as it was written, so it is damaged")
    return plain | {"content_sha256": digests.bytes_sha256(text)}


def _listed(plain: Json, members: Mapping[str, Read]) -> dict[str, Json]:
    """The other members as the manifest lists them.

    Raises: Refused if there are others, or not all of them.
    """
    listed: dict[str, Json] = plain["members"]
    if not 1 <= plain["folds"] <= MAX_FOLDS:
        raise Refused(f"{MANIFEST} names {escaping.short(plain['folds'])} folds, wanted 1 to {MAX_FOLDS}")
    wanted = {RANGE, INTERNAL, *(f"fold-{fold}.pt" for fold in range(plain["folds"]))}
    for name in [*members, *listed]:
        if name != MANIFEST and (name not in listed or not MEMBER.fullmatch(name)):
            raise Refused(f"found {named(name)} in it, wanted nothing but what {MANIFEST} lists of a bundle's members")
    if missing := sorted({*listed, *wanted} - ({*members} & {*listed})):
        raise Refused(f"{', '.join(missing[:5])} missing of what a bundle has")
    texts = [one["bytes"] for name, one in listed.items() if name.endswith((".json", ".md"))]
    if max(texts) > MAX_TEXT_BYTES or sum(one["bytes"] for one in listed.values()) > MAX_BYTES:
        raise Refused(f"its members are too large: {MAX_TEXT_BYTES} bytes of text, {MAX_BYTES} in all at most")
    return listed


def _member(name: str, listed: Json, members: Mapping[str, Read]) -> bytes:
    """The content of a member, never more than was listed.

    Raises: Refused.
    """
    data = members[name](listed["bytes"] + 1)
    if len(data) != listed["bytes"] or digests.bytes_sha256(data) != listed["sha256"]:
        raise Refused(f"{name} is not as {MANIFEST} says, so it is damaged")
    return data


def _bundle(plain: Json, content: Mapping[str, bytes]) -> Bundle:
    kind, errors = str(plain["kind"]), plain["errors"]
    if kind not in MODELS:
        raise Refused(f"holds a model of kind {named(kind)}, wanted {' or '.join(sorted(MODELS))}")
    features = (candidates.VERSION, list(candidates.NAMES))
    if MODELS[kind].row == "candidate" and (plain["candidates"], plain["features"]) != features:
        made = f"made by cac_hpc {escaping.short(plain['version'])}"
        raise Refused(f"takes candidates of another version, {made}, wanted {candidates.VERSION} of this cac_hpc")
    labels = {"sheet": MANIFEST, "edges": plain["edges"], "names": plain["names"]}
    of_labels = typed_values.build(LabelsConfig, labels, "labels")
    of_report = typed_values.build(ReportConfig, {name: plain[name] for name in ("patient_rule", "top_k")}, "report")
    return Bundle(
        kind=kind,
        version=str(plain["version"]),
        pack=typed_values.build(PackConfig, plain["pack"], "pack"),
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
    of_train = typed_values.build(TrainConfig, {"epochs": 1, "window_hu": plain["window_hu"]}, "train")
    return FoldSettings(typed_values.build(ModelConfig, plain["model"], "model"), of_train.window_hu)


def _errors(plain: Json) -> Errors:
    """Errors of a fold's scores, of which probabilities can be made.

    Raises: Refused.
    """
    found = Errors(float(plain["scale"]), float(plain["gross"]))
    if not (0 < found.scale < math.inf and 0 <= found.gross <= 1):
        raise Refused(f"{MANIFEST} describes errors of scores with scale {found.scale:g} and gross {found.gross:g}, "
                       "wanted a scale above 0 and a share from 0 to 1")  # fmt: skip
    return found


def _sets(plain: Json, folds: int) -> Calibration:
    """What prediction sets follow from: rising scores of each fold's patients, parts of a whole.

    Raises: Refused.
    """
    found = Calibration(float(plain["coverage"]), tuple(tuple(map(float, of_fold)) for of_fold in plain["scores"]))
    if not 0 < found.coverage < 1 or len(found.scores) != folds:
        raise Refused(
            f"{MANIFEST} has prediction sets of {found.coverage:g} by {len(found.scores)} folds, wanted a share "
            f"between 0 and 1 by {folds}"
        )
    for scores in found.scores:
        between = [0.0, *scores, 1.0 + SUM_TOLERANCE]
        if not all(low <= high for low, high in itertools.pairwise(between)):
            raise Refused(f"{MANIFEST} has scores of prediction sets that do not rise from 0 to 1")
    return found


def _training(content: bytes) -> TrainingRange:
    """The training range, of attributes that are known here, none of which ends before it begins.

    Raises: Refused.
    """
    found = from_json(json.loads(content), TrainingRange)
    if unknown := sorted({*found.numbers} - {*training_range.NUMBERS} | {*found.codes} - {*training_range.CODES}):
        raise Refused(f"{RANGE} has the attribute {named(unknown[0])}, wanted those of this cac_hpc only")
    for name, of in found.numbers.items():
        if (of.low, of.high) != (None, None) and not -math.inf < (of.low or 0) <= (of.high or 0) < math.inf:
            raise Refused(f"{RANGE} has {name} from {of.low} to {of.high}, wanted numbers from low to high")
    return found


def _weights(content: bytes, fold: int) -> dict[str, Tensor]:
    """The tensors of a fold, none of which is larger than the file.

    Raises: Refused.
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
        raise Refused(f"fold-{fold}.pt {' '.join(str(error).split())[:200]}, wanted the weights of a fold") from None


def _check_weights(bundle: Bundle) -> None:
    """Every fold's weights are those of the model that the settings describe.

    Raises: Refused.
    """
    spec, num_categories = MODELS[bundle.kind], len(bundle.names)
    if len(bundle.own) not in (0, len(bundle.weights)):
        raise Refused(f"{MANIFEST} has settings of {len(bundle.own)} folds, wanted {len(bundle.weights)}")
    for fold, weights in enumerate(bundle.weights):
        model = bundle.of_fold(fold).model
        if spec.num_parameters(model, bundle.pack.size, num_categories) > MAX_PARAMETERS:
            raise Refused(f"describes a model of more than {MAX_PARAMETERS} parameters")
        with torch.device("meta"):  # shapes alone
            wanted = spec.build(model, bundle.pack.size, num_categories).state_dict()
        shapes = {name: (tuple(one.shape), one.dtype) for name, one in wanted.items()}
        if {name: (tuple(one.shape), one.dtype) for name, one in weights.items()} != shapes:
            raise Refused(f"fold-{fold}.pt does not fit the model that {MANIFEST} describes")
    num_errors = 0 if bundle.errors is None else len(bundle.errors)
    if num_errors != (len(bundle.weights) if spec.row == "candidate" else 0):
        raise Refused(f"{MANIFEST} does not describe the errors of the scores of each fold")


def named(name: str) -> str:
    """A name as messages show it."""
    return typed_values.shown(name[:200])
