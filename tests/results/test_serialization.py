"""report.json as types: it comes back as it was, and its JSON Schema is the one that is shipped."""

import copy
import json
from importlib import resources

import jsonschema
import pytest

from cac_hpc.report import aggregation
from cac_hpc.results import serialization, validation
from cac_hpc.results.cohort import CategoryRange, Cohort
from cac_hpc.results.figures import Figure
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import CategoryFigures, Damaged, from_json, schema, to_json
from cac_hpc.run import disk
from tests.support.reports import make_run

pytestmark = pytest.mark.usefixtures("no_pictures")
SHIPPED = resources.files("cac_hpc.results") / "report.schema.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """report.json of a run, read-only."""
    predicted = {(f"{number:02d}", number % 6): [(number + (number % 4 == 0)) % 6] * 2 for number in range(24)}
    run = make_run(tmp_path_factory.mktemp("made"), predicted, report={"draws": 200})
    assert aggregation.aggregate(run.root)
    return run.report_json


def undescribed(part):
    """A JSON Schema without its descriptions, which older versions of pydantic do not write."""
    if isinstance(part, dict):
        return {key: undescribed(value) for key, value in part.items() if key != "description"}
    return [undescribed(value) for value in part] if isinstance(part, list) else part


def test_the_schema_that_is_shipped_is_that_of_the_types():
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert undescribed(shipped) == undescribed(schema(Report)), "python docs/site/tables.py writes it anew"


def test_a_report_is_valid_by_the_schema_and_comes_back_byte_for_byte(made):
    content = disk.read_json(made)
    jsonschema.validate(content, schema(Report), jsonschema.Draft202012Validator)
    report = from_json(content, Report)
    assert report.levels["slice"].pooled.figures["accuracy"].n == 48
    assert disk.json_text(to_json(report)) == made.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("levels"), "levels: Field required"),
        (lambda content: content["levels"]["slice"]["pooled"].update(errors="many"), "levels.slice.pooled.errors: "),
        (lambda content: content["levels"]["slice"]["pooled"]["categories"][2]["f1"].pop("n"), "f1.n: Field required"),
        (lambda content: content.update(readers={}), "readers"),
    ],
)
def test_what_is_no_report_is_neither_read_nor_valid(made, change, said):
    content = copy.deepcopy(disk.read_json(made))
    change(content)
    with pytest.raises(Damaged, match=said):
        from_json(content, Report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema(Report), jsonschema.Draft202012Validator)


def test_what_a_report_has_written_is_read_without_pydantic_and_as_pydantic_reads_it(made, monkeypatch):
    content = disk.read_json(made)
    wanted = validation.validated(content, Report)
    monkeypatch.setattr(validation, "validated", lambda plain, kind: pytest.fail(f"{kind} was left to pydantic"))
    assert from_json(content, Report) == wanted


def outcome(read, content, kind):
    """What is read, or why not."""
    try:
        return repr(read(content, kind))
    except (Damaged, validation.Invalid) as error:
        return str(error).removeprefix("is not as a report is (").removesuffix(")")


FIGURE = {"value": 1.5, "n": 3, "low": None, "high": None, "interval": None, "note": None}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Figure, FIGURE | {"value": 2}),
        (Figure, FIGURE | {"value": 2**60 + 1}),
        (Figure, FIGURE | {"value": "2.5"}),
        (Figure, FIGURE | {"value": True}),
        (Figure, FIGURE | {"n": 3.0}),
        (Figure, FIGURE | {"n": "3"}),
        (Figure, FIGURE | {"note": "\u00e9"}),
        (Figure, FIGURE | {"of a later version": 1}),
        (CategoryFigures, {"category": 2, "f1": FIGURE, "recall": FIGURE}),
        (CategoryFigures, {"category": 2}),
        (dict[str, Figure], {"f1": FIGURE}),
        (CategoryRange, {"category": 1, "name": "", "score_above": None, "score_up_to": 10**400}),
        (CategoryRange, {"category": 10**400, "name": "", "score_above": None, "score_up_to": 0}),
        (Figure, {key: FIGURE[key] for key in FIGURE if key != "n"}),
        (Figure, FIGURE | {"n": 3.5}),
        (Figure, FIGURE | {"n": None}),
        (Figure, FIGURE | {"note": "\ud800"}),
        (Figure, [FIGURE]),
        (Figure, None),
        (CategoryFigures, {"f1": FIGURE}),
        (CategoryFigures, {"category": 2, "f1": 3}),
        (CategoryFigures, "f1"),
        (Cohort, {"intake": {"\ud800": 1}}),
    ],
)
def test_what_is_written_otherwise_is_read_or_refused_as_by_pydantic(kind, content):
    assert outcome(from_json, content, kind) == outcome(validation.validated, content, kind)


def test_every_type_of_a_report_can_be_read_without_pydantic():
    """None of them is in a form that is always left to pydantic, as a union of which two parts look alike."""
    seen = set()

    def look(kind):
        if kind in seen:
            return
        seen.add(kind)
        _, fields, needed = serialization._fields(kind)
        assert needed <= set(fields)
        for read in fields.values():
            inside(read)

    def inside(read):
        if getattr(read, "func", None) is serialization._read_part:
            look(read.args[0])
        elif getattr(read, "func", None) is serialization._read_one_of:
            for one in read.args[0]:
                inside(one)
        elif getattr(read, "func", None) in (serialization._read_list, serialization._read_dict):
            inside(read.args[0])
        elif getattr(read, "func", None) is serialization._read_scalar:
            assert read.args[0] in (str, int, bool, type(None))

    look(Report)
    assert len(seen) > 60
