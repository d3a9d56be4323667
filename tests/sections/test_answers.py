"""The first screen of a report: what a clinician asks is answered there, in numbers as people read them."""

import json
import re

import pytest

from cac_hpc.report import aggregation
from cac_hpc.report.page_values import FOLD_COLUMNS, FOLD_ROWS
from cac_hpc.results.figures import Difference, Figure
from cac_hpc.sections import formatting, parts, reader_parts, wording
from cac_hpc.sections.answer_parts import QUESTIONS
from tests.support.page_reader import Reader, Tables
from tests.support.reports import check_report, make_judged_run, make_run, printed_predictions, typed_report_of

SHARE = r"(\d\.\d{2,3}) \((\d\.\d{2,3}) to (\d\.\d{2,3})\)"  # a figure with its interval


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make_judged_run(tmp_path_factory.mktemp("answers"))
    assert aggregation.aggregate(run.root)
    return run


def first_screen(page):
    """Text of the first section, a cell or a sentence a line, without what is only drawn."""
    section = page[page.index('<section id="verdict"') :]
    return "\n".join(text.strip() for text in Reader(section[: section.index("</section>")]).text if text.strip())


def read(figure):
    return tuple(formatting.number(one, 2) for one in (figure.value, figure.low, figure.high))


def test_the_five_questions_of_a_clinician_are_answered_on_the_first_screen(reported):
    report, page = typed_report_of(reported), (reported.report / "report.html").read_text(encoding="utf-8")
    text = first_screen(page)
    places = [text.index(question) for question in QUESTIONS.values()]
    assert places == sorted(places)
    good, at_cuts, against, sure, not_for = (
        text[begin:end] for begin, end in zip(places, [*places[1:], None], strict=True)
    )
    pooled = report.levels["patient"].pooled
    found = re.search(r"(\d+) of 60 patients .*: accuracy (\S+) \(95 % interval (\S+) to (\S+)\)", good)
    assert int(found[1]) == pooled.n - pooled.errors
    assert found.groups()[1:] == read(pooled.figures["accuracy"])
    lines = at_cuts.splitlines()
    for at in report.cuts.at:
        row = lines.index(at.event)
        assert lines[row + 1] == f"{at.positives} of 60"
        for cell, name in zip(lines[row + 2 :], ("sensitivity", "specificity", "auroc"), strict=False):
            assert re.fullmatch(SHARE, cell).groups() == read(at.figures[name]), (at.event, name)
    assert reader_parts.trust(report.readers) in against
    for reader in report.readers.readers:
        assert f"{reader.name}\n{reader_parts.right(reader)} of 60" in against
    widths = next(one for one in report.how_many.widths if one.figure == "accuracy")
    assert f"is {formatting.number(widths.now, 2)} wide with 60 patients; with 120, 300 or 600 like these" in sure
    for at in report.cuts.at:
        assert f"{max(one.patients for one in at.needed if one.patients):,} patients for a score {at.event}" in sure
    recalls = [one.figures["recall"] for one in pooled.categories]
    worst = min((one for one in recalls if one.n >= 10), key=lambda one: one.value)
    right = round(worst.value * worst.n)
    assert re.search(rf"Least often right is the category .*: {right} of {worst.n}, recall {SHARE}", not_for)
    for name, one in zip(wording.category_names(report), recalls, strict=True):
        assert (f"{name} ({one.n})" in not_for) == (one.n < 10)
    assert "Nothing here speaks for scanners, sites, protocols or populations" in not_for


def test_the_same_answers_stand_in_the_text(reported):
    check_report(reported)
    text = (reported.report / "report.md").read_text(encoding="utf-8")
    for answer in parts.answers(typed_report_of(reported)):
        assert f"## {answer.heading}\n" in text
        for line in answer.lines:
            assert line.replace("<", r"\<") in text or line in text


def test_who_is_left_out_and_what_is_too_few_is_said(tmp_path, no_pictures):
    run = make_run(tmp_path, {(f"s{index:02d}", index % 6): [index % 6, 0] for index in range(12)}, num_folds=3)
    aggregation.aggregate(run.root)
    report = typed_report_of(run)
    report.cohort.intake["studies"] |= {"found": 15, "without_label": 1, "refused": {"no_heart": 2}}
    said = {answer.id: " ".join(answer.lines) for answer in parts.answers(report)}
    assert "Left out: 3 of 15 studies that were found (without a label 1, no heart 2)." in said["not-for"]
    assert "fewer than 10 patients with the event, or without: counted, not judged" in said["at-cuts"]
    assert "Too few to judge, fewer than 10: Very Low (2), Low (2)" in said["not-for"]
    assert "Least often right" not in said["not-for"]
    for answer in parts.answers(report):
        assert answer.lines or answer.tables


@pytest.mark.parametrize(
    ("value", "table", "sentence"),
    [
        (0.0998, "0.100", "0.10"),
        (0.00996, "0.010", "0.01"),
        (0.9668, "0.967", "0.97"),
        (1.0, "1.000", "1.00"),
        (0.0, "0.000", "0.00"),
        (0.9971, "0.997", "0.997"),
        (0.99996, "1.000", "1.00"),
        (0.08765, "0.088", "0.088"),
        (0.00421, "0.0042", "0.0042"),
        (0.000042, "0.000", "0.00"),
        (-0.21849, "-0.218", "-0.22"),
        (1.9843, "1.98", "2.0"),
        (12.345, "12.3", "12"),
        (1234.5, "1234", "1234"),
        (68, "68", "68"),
        (None, "undefined", "undefined"),
    ],
)
def test_a_number_has_the_digits_that_people_read(value, table, sentence):
    assert (formatting.number(value), formatting.number(value, 2)) == (table, sentence)


def test_intervals_differences_and_chances_are_rounded_alike():
    figure, less = (
        Figure(0.96681, 68, 0.94, 1.0, "wilson", None),
        Difference(0.5, 0.75123, 0.25123, 0.1, 0.4, "x", None),
    )
    assert formatting.with_interval(figure) == "0.967 [0.940, 1.000]"
    assert formatting.in_sentence(figure) == "0.97 (0.94 to 1.00)"
    assert formatting.difference(less) == "+0.251 [+0.100, +0.400]"
    assert formatting.in_sentence(less) == "+0.25 (+0.10 to +0.40)"
    assert [formatting.chance(one) for one in (1.0, 0.0123, 0.001, 0.00099)] == [
        "p = 1.00",
        "p = 0.012",
        "p = 0.001",
        "p < 0.001",
    ]


def test_no_number_on_page_or_in_text_has_more_than_three_digits_and_files_have_all(reported):
    page, text = ((reported.report / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    shown = "\n".join(Reader(page[: page.index('<section id="resources"')]).text)
    for told in (shown, text):
        assert not re.findall(
            r"(?<![\d.])(?:[1-9]\d*\.\d{3,}|0\.[1-9]\d{3,}|0\.0\d{4,})(?!\d)", told.replace("1.000", "")
        )
    accuracy = typed_report_of(reported).levels["slice"].pooled.figures["accuracy"].value
    assert repr(accuracy) in (reported.report / "tables" / "figures.csv").read_text(encoding="utf-8")


def test_long_and_wide_tables_are_folded_away_and_others_are_not(tmp_path, no_pictures):
    run = make_run(tmp_path, printed_predictions(), num_folds=10, report={"draws": 200})
    aggregation.aggregate(run.root)
    page = (run.report / "report.html").read_text(encoding="utf-8")
    found = Tables(page).found
    for caption, num_rows, num_columns, summary in found:
        many = num_rows > FOLD_ROWS or num_columns > FOLD_COLUMNS
        assert (summary is not None) == many, caption
        assert not many or f"({num_rows} rows, {num_columns} columns)" in summary
    assert {summary is None for *_, summary in found} == {True, False}


def test_what_can_be_chosen_on_the_page_is_what_report_json_says(reported):
    page, report = (reported.report / "report.html").read_text(encoding="utf-8"), typed_report_of(reported)
    written = re.search(r'<script type="application/json" id="explored">(.*?)</script>', page, re.S)[1]
    assert len(written) < 200_000
    found = json.loads(written)
    assert [one["event"] for one in found["decisions"]] == [at.event for at in report.cuts.at]
    for one, at in zip(found["decisions"], report.cuts.at, strict=True):
        model = next(way for way in at.decisions.ways if way.key == "model")
        for place, shown in enumerate(one["shown"]):
            true, false = model.true_positives[place], model.false_positives[place]
            assert shown["counts"] == [str(n) for n in (true, at.positives - true, false, at.negatives - false)]
            assert [row[0] for row in shown["rows"]] == [way.name for way in at.decisions.ways]
            cells = next(row for row in shown["rows"] if row[0] == model.name)[1:]
            assert cells[0].startswith(formatting.number(model.values[place], 2))
            assert cells[1:] == [
                formatting.number(true / at.positives, 2),
                formatting.number(1 - false / at.negatives, 2),
            ]
    for level, results in report.levels.items():
        scheme = next(one for one in results.collapsed if one.key == "at_100")
        (below, missed), (false, true) = zip(*scheme.pooled.confusion_matrix, strict=True)
        edge = next(one for one in found["edges"][level] if one["text"] == "above 100")["shown"]
        assert edge["counts"] == [str(n) for n in (true, missed, false, below)]
        recalls = [formatting.number(one.figures["recall"].value, 2) for one in scheme.pooled.categories]
        assert f"sensitivity {recalls[1]}, specificity {recalls[0]}," in edge["said"]
