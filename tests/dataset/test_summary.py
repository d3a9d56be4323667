"""The intake summary: files and studies are counted to the last one, and what stands out is named."""

from types import SimpleNamespace

import pytest

from cac_hpc.dataset import summary, summary_view

FACTS = {
    "slices": 10, "slice_spacing_mm": 3.0, "slice_thickness_mm": 3.0, "row_spacing_mm": 0.4, "field_of_view_mm": 200.0,
    "kvp": 120.0, "phase_percent": None, "energy_kev": None, "energy_class": "about 120 kVp",
    "kernel_class": "soft to medium", "kernel": "Qr36d", "gating": None, "warnings": "",
}  # fmt: skip
CFG = SimpleNamespace(labels=SimpleNamespace(names=("none", "some")), pack=SimpleNamespace(crop="none"))


def row(study, file, reason, detail=""):
    return {"study": study, "file": file, "reason": reason, "detail": detail}


@pytest.fixture
def summed():
    """Nine studies that are used, one of them of 80 kV; one refused for one slice, one empty; one without a label."""
    used = [f"{number}" for number in range(9)]
    counts = {"files": 11, "used": 10, "identity": True, "private": False, "key_is_identity": False}
    shard = {
        "counts": dict.fromkeys(used, counts) | {
            "bad": counts | {"files": 3, "used": 0, "private": True},
            "empty": counts | {"files": 0, "used": 0, "identity": False},
        },
        "studies": [{**FACTS, "study": study} for study in used[:-1]]
        + [{**FACTS, "study": "8", "kvp": 80.0, "warnings": "gantry_tilt lossy_compression", "kernel": None,
            "aorta_found": False}],
    }  # fmt: skip
    planned = {
        "labels": {study: {"category": int(study == "0")} for study in (*used, "bad", "empty")},
        "stray": 1,
        "unlabelled": {"odd": 2},
        "rows_without_study": 4,
    }
    rejected = [row(study, 11, "duplicate") for study in used]
    rejected += [row("bad", 1, "study_refused", "file 2 of the series: impossible_values")]
    rejected += [
        row("bad", 2, "impossible_values"),
        row("bad", 3, "study_refused", "file 2 of the series: impossible_values"),
    ]
    rejected += [row("odd", 1, "no_label"), row("odd", 2, "no_label"), row("", 1, "outside_study")]
    return summary.summarise(planned, [shard], rejected, CFG)


def test_files_and_studies_add_up(summed):
    assert summed["files"]["found"] == summed["files"]["used"] + sum(summed["files"]["rejected"].values()) == 105
    studies = summed["studies"]
    assert studies["found"] == studies["used"] + sum(studies["refused"].values()) + studies["without_label"] == 12
    assert studies["refused"] == {"impossible_values": 1, "no_files": 1}
    assert summed["categories"] == {"labelled": [10, 1], "used": [8, 1]}


def test_studies_far_from_the_others_are_named(summed):
    found = summed["acquisition"]
    assert (found["kvp"]["min"], found["kvp"]["median"], found["kvp"]["max"]) == (80, 120, 120)
    assert found["kvp"]["outliers"] == {"8": 80.0}
    assert found["phase_percent"]["known"] == 0
    assert found["kernel"] == {"Qr36d": 8, "unknown": 1}
    assert summed["warnings"] == {"gantry_tilt": 1, "lossy_compression": 1}


def test_a_file_that_is_nowhere_is_noticed(summed):
    with pytest.raises(AssertionError):
        summary.summarise({"labels": {}, "stray": 1, "unlabelled": {}, "rows_without_study": 0}, [], [], CFG)


def test_a_dataset_that_was_packed_before_aortas_were_counted_is_shown(summed, capsys):
    summary_view.show({name: value for name, value in summed.items() if name != "no_aorta"})
    assert "aorta" not in capsys.readouterr().out


def test_people_see_it_all(summed, capsys):
    summary_view.show(summed)
    said = capsys.readouterr().out
    for words in (
        "files found",
        "rejected: duplicate",
        "refused: no_files",
        "8: 80",
        "1 gantry_tilt",
        "are in the headers of 10 studies",
        "aorta is not seen in 1 study",
    ):
        assert words in said


def test_labels_that_every_reader_contradicts_are_named_and_used_all_the_same(summed, capsys):
    counted = {
        "a": (0, 900.0, 700.0),
        "b": (0, 900.0, 20.0),
        "c": (2500, 0.0, 0.0),
        "d": (None, 0.0, 0.0),
        "e": (5, 900, 900),
    }
    counts = {"files": 1, "used": 1, "identity": False, "private": False, "key_is_identity": False}
    facts = [
        {**FACTS, "study": study, "agatston_score": rule, "agatston_control": control}
        for study, (_, rule, control) in counted.items()
    ]
    planned = {
        "labels": {study: {"score": score, "category": 0} for study, (score, *_) in counted.items()},
        "stray": 0, "unlabelled": {}, "rows_without_study": 0,
    }  # fmt: skip
    found = summary.summarise(planned, [{"counts": dict.fromkeys(counted, counts), "studies": facts}], [], CFG)
    assert [one["study"] for one in found["second_look"]] == ["a", "c", "d"]
    assert found["studies"]["used"] == 5
    assert summed["second_look"] == []
    summary_view.show(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "labels that the scan contradicts, for a second look: 3; none was changed" in said
    assert "study 'a': 0 is reported, the rule counts 900, the control counts 700" in said
    assert "study 'd': above the last edge is reported, the rule counts 0" in said
