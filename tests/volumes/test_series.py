"""Which series of a study is taken, and which of its slices: positions count, one acquisition, the plain one first."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cac_hpc.settings.pack import Checks, SeriesRule
from tests.support import slices
from tests.support.slices import choose, ends, run

B = {"SeriesInstanceUID": "1.2.4", "SeriesNumber": "3"}


def detail(choice, index):
    return str(choice.others[index])


# positions count


def test_a_series_exported_twice_does_not_have_twice_the_slices():
    assert ends(run(20), run(12, **B), run(12, **B)) == [20, 0, 0]


def test_phases_do_not_count_as_slices():
    phases = [run(15, **B, NominalPercentageOfCardiacPhase=str(percent)) for percent in (40, 50, 60)]
    assert ends(run(20), *phases) == [20, 0, 0, 0]


@given(st.integers(10, 30), st.integers(10, 30), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_the_series_of_more_positions_is_taken_whatever_is_there_several_times(one, other, copies, phases, first):
    assume(one != other)
    copied = [run(one) for _ in range(copies)]
    phased = [run(other, **B, NominalPercentageOfCardiacPhase=str(40 + number)) for number in range(phases)]
    listed = copied + phased if first else phased + copied
    taken = choose(*listed).slices
    assert len({candidate.own.position for candidate in taken}) == max(one, other)
    assert len({candidate.header.phase_percent for candidate in taken} - {40.0}) <= 1


def test_slices_too_few_to_be_a_series_are_not_made_enough_by_copies():
    assert ends(run(6), run(6)) == "study_refused"


# thickness


@pytest.mark.parametrize("thickness", ["", "0", "0,6", "0.6 mm", "-1", "nan", "3\\3"])
def test_where_the_thickness_is_no_number_the_distance_of_the_slices_is_asked(thickness):
    thin = run(70, step_mm=0.6, **B, SliceThickness=thickness)
    assert ends(run(14), thin) == [14, 0]
    assert ends(run(14, SliceThickness=thickness)) == [14]
    assert "slices are apart by 0.6 mm, pack.series.thickness_mm wants 2 to 5" in detail(choose(run(14), thin), 20)


@given(st.floats(0.3, 8.0), st.sampled_from(["", "0"]))
def test_without_a_thickness_a_series_is_taken_where_its_step_is_a_thickness_that_is_asked_for(step_mm, thickness):
    step_mm = round(step_mm, 2)
    wanted = [14] if 2 <= step_mm <= 5 else "study_refused"
    assert ends(run(14, step_mm=step_mm, SliceThickness=thickness)) == wanted


def test_one_odd_thickness_neither_spoils_the_choice_nor_makes_it():
    good = run(20, each=lambda index: {"SliceThickness": "0.6" if index == 4 else "3"})
    assert ends(good, run(14, **B, ConvolutionKernel="B70f")) == "mixed_thickness"
    thin = run(70, step_mm=0.6, **B, each=lambda index: {"SliceThickness": "3" if index == 4 else ""})
    assert ends(run(14), thin) == [14, 0]


@pytest.mark.parametrize("keyword", ["SliceThickness", "ReconstructionDiameter", "KVP"])
def test_a_number_that_is_printed_otherwise_is_the_same(keyword):
    assert ends(run(14, each=lambda index: {keyword: "120.004" if index % 2 else "120.006"}),
                series=SeriesRule(thickness_mm=(2, 200))) == [14]  # fmt: skip


# one acquisition

TELL = [
    ("AcquisitionNumber", "1", "2"),
    ("TriggerTime", "560", "610"),
    ("IrradiationEventUID", "1.2.1", "1.2.2"),
    ("AcquisitionTime", "101010", "101025"),
    ("TemporalPositionIdentifier", "1", "2"),
    ("NominalPercentageOfCardiacPhase", "40", "70"),
    ("NominalCardiacTriggerDelayTime", "300", "400"),
    ("FrameOfReferenceUID", "1.2.1", "1.2.2"),
    ("ScanOptions", "TP40PC", "TP70PC"),
    ("ScanOptions", "TP300MS", "TP400MS"),
]


@pytest.mark.parametrize(("keyword", "one", "other"), TELL)
@pytest.mark.parametrize("offset_mm", [1.5, 1.0, -1.5, 0.2])
def test_of_two_acquisitions_between_each_other_one_is_taken(keyword, one, other, offset_mm):
    assert ends(run(14, **{keyword: one}), run(14, offset_mm, **{keyword: other})) == [14, 0]


@pytest.mark.parametrize(("keyword", "one", "other"), TELL)
def test_of_two_phases_at_the_same_positions_the_lower_is_taken(keyword, one, other):
    assert ends(run(14, **{keyword: other}), run(14, **{keyword: one})) == [0, 14]


def test_of_two_acquisitions_the_one_with_more_slices_is_taken_if_it_is_as_long_as_both():
    assert ends(run(10, 4.5, AcquisitionNumber="1"), run(14, AcquisitionNumber="2")) == [0, 14]
    assert ends(run(14, AcquisitionNumber="1"), run(14, 16.5, AcquisitionNumber="2")) == "mixed_acquisition"


def renumbered(numbers):
    return lambda index: {"InstanceNumber": numbers[index]}


@pytest.mark.parametrize("numbers", [range(1, 15), range(15, 29), range(28, 14, -1), range(14, 0, -1)])
def test_where_nothing_but_the_order_of_numbers_tells_acquisitions_apart_the_study_is_refused(numbers):
    assert ends(run(14), run(14, 1.5, each=renumbered(numbers))) == "mixed_acquisition"
    assert ends(run(14), run(14, 1.5, each=renumbered(numbers)), checks=Checks(mixed_acquisition="warn")) == [14, 14]


RISING = {
    "InstanceNumber": lambda run_, index: 1 + index + 14 * run_,
    "AcquisitionTime": lambda run_, index: f"10{run_:02d}{index:02d}.5",
    "AcquisitionNumber": lambda run_, index: str(1 + index // 2 + 7 * run_),
    "TriggerTime": lambda run_, index: str(500 + 3 * index + 61 * run_),
}


@pytest.mark.parametrize("keyword", RISING)
@pytest.mark.parametrize("thickness", ["2", "3", ""])
def test_acquisitions_whose_slices_are_told_one_by_one_are_not_taken_for_one_volume(keyword, thickness):
    """As archives do, slices are numbered anew by their position."""
    runs = [
        run(14, 1.5 * number, SliceThickness=thickness, each=lambda index, number=number: {
            "InstanceNumber": 1 + 2 * index + number, keyword: RISING[keyword](number, index)})
        for number in range(2)
    ]  # fmt: skip
    rule = SeriesRule(thickness_mm=(1, 5))
    assert ends(*runs, series=rule) == "mixed_acquisition"
    one = run(28, step_mm=1.5, SliceThickness=thickness, each=lambda index: {keyword: RISING[keyword](0, index)})
    assert ends(one, series=rule) == [28]


@given(st.sampled_from([2, 3, 4]), st.integers(8, 14), st.randoms(use_true_random=False), st.booleans())
def test_interleaved_acquisitions_never_become_one_volume(count, num_slices, rng, told):
    runs = [
        run(num_slices, number * 3 / count, AcquisitionNumber=str(number if told else 1), each=renumbered(range(1, 99)))
        for number in range(count)
    ]
    rng.shuffle(runs)
    found = ends(*runs, min_slices=8)
    assert sorted(found) == [0] * (count - 1) + [num_slices] if told else found == "mixed_acquisition"


@given(st.integers(1, 6), st.integers(4, 9), st.sampled_from([1.5, 3.0]), st.booleans(), st.booleans())
def test_slabs_that_follow_one_another_stay_one_series(num_slabs, per_slab, step_mm, numbered_anew, downwards):
    def each(index):
        slab = index // per_slab
        number = 1 + index % per_slab if numbered_anew else 1 + index
        tells = {"AcquisitionNumber": str(slab), "TriggerTime": str(560 + slab), "AcquisitionTime": f"10101{slab}"}
        return {**tells, "InstanceNumber": -number if downwards else number}

    num_slices = num_slabs * per_slab
    assert ends(run(num_slices, step_mm=step_mm, each=each), min_slices=4) == [num_slices]


@given(st.lists(st.integers(560, 563), min_size=28, max_size=28), st.sampled_from([1.5, 3.0]))
def test_trigger_times_that_differ_from_slice_to_slice_tear_no_series_apart(times, step_mm):
    assume(step_mm == 3.0 or len(set(times[::2]) | set(times[1::2])) > 2)
    found = choose(run(28, step_mm=step_mm, each=lambda index: {"TriggerTime": str(times[index])})).slices
    steps = np.diff([candidate.own.position[2] for candidate in found])
    assert len(found) == 28 or steps.max() == steps.min() <= 4.5


def test_overlapping_slices_of_one_acquisition_are_all_taken():
    assert ends(run(28, step_mm=1.5)) == [28]
    assert ends(run(28, step_mm=1.5, each=renumbered(range(28, 0, -1)))) == [28]
    assert ends(run(28, step_mm=1.5, each=renumbered([1] * 28))) == [28]


def test_fewer_slices_than_the_acquisition_had_are_a_warning():
    assert choose(run(12, ImagesInAcquisition="18")).warnings == ["incomplete_acquisition"]
    assert choose(run(12, ImagesInAcquisition="12")).warnings == []
    assert choose(run(12, ImagesInAcquisition="18"), run(12, ImagesInAcquisition="18")).warnings == [
        "incomplete_acquisition"
    ], "copies do not count"
    phased = [run(12, ImagesInAcquisition="24", TriggerTime=str(time)) for time in (560, 600)]
    assert choose(*phased).warnings == []
    assert ends(run(12, ImagesInAcquisition="18"), checks=Checks(incomplete_acquisition="refuse")) == (
        "incomplete_acquisition"
    )


# the plain one, of about 120 kVp, of a soft to medium kernel


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"KVP": "80"}, "KVP is 80, the other is of about 120 kVp"),
        ({"KVP": ""}, "KVP is not said, the other is of about 120 kVp"),
        ({"SeriesDescription": "Mono+ 40 keV"}, "it is an image of 40 keV, the other is of about 120 kVp"),
        ({"ImageType": "ORIGINAL\\PRIMARY\\AXIAL\\VMI\\190KEV"}, "it is an image of 190 keV"),
        ({"ConvolutionKernel": "Bl64f"}, "ConvolutionKernel is sharp, that of the other soft to medium"),
        ({"ConvolutionKernel": "LUNG"}, "ConvolutionKernel is sharp"),
        ({"ImageType": "DERIVED\\SECONDARY"}, "ImageType does not say ORIGINAL"),
    ],
)
def test_what_is_less_like_a_calcium_scan_is_left_out_though_it_has_more_slices_and_a_lower_number(values, why):
    other = run(20, SeriesInstanceUID="1.2.4", SeriesNumber="1", **values)
    found = choose(run(14), other)
    assert len(found.slices) == 14
    assert why in detail(found, 14)
    assert len(choose(other).slices) == 20, "where there is no other it is taken"


def test_what_decided_between_two_series_is_said():
    found = choose(run(12), run(20, **B), run(20, SeriesInstanceUID="1.2.5", SeriesNumber="4"))
    assert detail(found, 0) == "other_series: it has 12 positions, the other 20"
    assert detail(found, 35) == "other_series: SeriesNumber is higher"


AGENTS = [
    {"ContrastBolusAgent": "Iodine"},
    {"ContrastBolusAgent": "ULTRAVIST 370"},
    {"ContrastBolusAgent": "NON IONIC"},
    {"ContrastBolusAgent": "NONE", "ContrastBolusVolume": "70"},
    {"ContrastBolusVolume": "70"},
    {"ContrastBolusTotalDose": "60"},
    {"ContrastFlowRate": "5\\5"},
    {"ContrastBolusIngredient": "IODINE"},
    {"ContrastBolusRoute": "IV"},
    {"ContrastBolusStartTime": "101010"},
    {"ContrastBolusAgentSequence": "ITEMS"},
    {"ContrastBolusAgentAdministered": "NO\\YES"},
    {"ContrastBolusAgent": "NO ORAL; IV OMNIPAQUE"},
    {"ContrastBolusAgent": "None oral, IV Ultravist 80 ml"},
    {"ContrastBolusAgent": "NATIVE + KM"},
    {"ContrastBolusAgent": "NON-DILUTED IOMERON"},
    {"ContrastFlowRate": "0\\5"},
    {"ContrastBolusVolume": "70 ml"},
    {"ContrastBolusVolume": "70,0"},
    {"ContrastBolusAgent": "ANONYMIZED", "ContrastBolusVolume": "80.0"},
    {"ContrastBolusAgent": "ANONYMIZED", "ContrastBolusRoute": "IV"},
]
NO_AGENTS = [
    {"ContrastBolusAgent": text}
    for text in ("", "NONE", "No contrast", "without", "W/O", "0", "0 ml", "-", "n/a", "Nativ", "None given", "NEIN",
                 "(none)", "KM nein", "IV: NO", "NONCONTRAST", "N.A.", "false", "aucun", "C-")
] + [
    {"ContrastBolusVolume": "0"},
    {"ContrastBolusAgent": "NONE", "ContrastBolusRoute": "IV"},
    {"ContrastBolusAgentSequence": "ITEMS", "ContrastBolusAgentAdministered": "NO"},
    {"ContrastBolusAgentSequence": ""},
]  # fmt: skip


@pytest.mark.parametrize("said", AGENTS, ids=str)
def test_a_series_with_contrast_agent_is_left_out(said):
    other = run(15, SeriesInstanceUID="1.2.4", SeriesNumber="1", **said)
    assert detail(choose(run(14), other), 20).removeprefix("contrast_agent: ").removesuffix(" says so") in said
    assert ends(run(14), other) == [14, 0]
    assert ends(run(15, **said)) == "study_refused"
    forgiven = choose(run(15, **said), checks=Checks(contrast_agent="warn"))
    assert (len(forgiven.slices), forgiven.warnings) == (15, ["contrast_agent"])


@pytest.mark.parametrize("said", NO_AGENTS, ids=str)
def test_a_header_that_says_there_was_no_contrast_agent_is_believed(said):
    assert ends(run(14, **said)) == [14]


@pytest.mark.parametrize("dummy", ["ANONYMIZED", "Anonymised", "REMOVED"])
def test_a_dummy_of_de_identification_is_no_name_of_a_contrast_agent(dummy):
    """dicom-anonymizer writes one where the name was empty, too: findings/dicom_anonymizer_contrast.sh."""
    assert ends(run(14, ContrastBolusAgent=dummy)) == [14]


def test_a_series_with_contrast_agent_is_the_last_that_is_taken_where_it_is_forgiven():
    checks = Checks(contrast_agent="warn")
    assert ends(run(14), run(20, **B, ContrastBolusAgent="Iodine"), checks=checks) == [14, 0]


# tolerance


@given(
    st.lists(
        st.tuples(st.floats(-4e-4, 4e-4), st.floats(-4e-4, 4e-4), st.floats(-4e-4, 4e-4)), min_size=14, max_size=14
    )
)
def test_digits_that_jitter_from_slice_to_slice_take_none_of_them_away(jitter):
    def each(index):
        a, b, spacing = jitter[index]
        return {
            "ImageOrientationPatient": f"1\\{a:.6f}\\0\\{-a:.6f}\\1\\{b:.6f}",
            "PixelSpacing": f"{0.5 + spacing:.6f}\\0.5",
        }

    found = choose(run(14, each=each))
    assert len(found.slices) == 14
    assert found.spacing_mm == pytest.approx((0.5, 0.5), abs=1e-3)


def test_digits_that_drift_over_the_whole_series_are_no_jitter():
    each = lambda index: {"PixelSpacing": f"{0.5 + 0.0009 * index:.4f}\\0.5"}  # noqa: E731
    assert ends(run(14, each=each)) == "mixed_acquisition"


@given(st.floats(2e-3, 0.02), st.integers(1, 12))
def test_a_slice_that_is_turned_is_the_reason_that_is_given_not_the_gap_that_it_leaves(angle, index):
    turned = f"{np.cos(angle):.6f}\\{np.sin(angle):.6f}\\0\\{-np.sin(angle):.6f}\\{np.cos(angle):.6f}\\0"
    each = lambda number: {"ImageOrientationPatient": turned} if number == index else {}  # noqa: E731
    assert ends(run(14, each=each)) == "mixed_acquisition"


@given(st.lists(st.integers(0, 40), min_size=14, max_size=14))
def test_a_rescale_of_its_own_in_each_slice_is_named_as_such(offsets):
    assume(len(set(offsets)) > 1)
    each = lambda index: {"RescaleIntercept": str(-1024 - offsets[index])}  # noqa: E731
    assert ends(run(14, each=each)) == "mixed_rescale"
    assert ends(run(14, each=each), checks=Checks(mixed_rescale="warn")) == [14]


def test_a_few_slices_of_something_else_behind_the_end_do_not_spoil_a_series():
    few = run(3, 42, **B, PixelSpacing="0.9\\0.9")  # as for the timing of a bolus: another field of view
    assert ends(run(14), few) == [14, 0]
    assert ends(run(14), run(3, 42, **B)) == "mixed_acquisition"


# turned in the plane


@given(st.integers(0, 359))
def test_slices_are_taken_where_rows_and_columns_are_near_the_patients_axes(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    slices_ = run(14, ImageOrientationPatient=f"{c:.8f}\\{s:.8f}\\0\\{-s:.8f}\\{c:.8f}\\0")
    off = min(degrees % 90, 90 - degrees % 90)
    assert ends(slices_) == ([14] if off <= 5 else "study_refused")
    assert ends(slices_, series=SeriesRule(max_lean_degrees=45)) == [14]


def test_headers_of_tests_are_read_like_those_of_files():
    assert slices.parsed().kvp == 120
