"""report.json as types: it comes back as it was, and its JSON Schema is the one that is shipped."""

import copy
import json
from importlib import resources

import jsonschema
import pytest

from cac_hpc.report import aggregation
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Damaged, from_json, schema, to_json
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
