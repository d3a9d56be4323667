"""What headers tell of how a slice was made, in codes of fixed lists."""

import math

import pytest

from cac_hpc.volumes import acquisition
from cac_hpc.volumes.acquisition import LIKE_120, OTHER, SHARP, SOFT, UNKNOWN


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        (
            "B35f B30s I30f\\3 Qr36d Br40 Bv36 Sa36f Hr38 STANDARD SOFT CHST DETAIL FC12 FC03 FC43 A B CB XCB YB",
            SOFT,
        ),
        ("B60f B70s I70f Bl64 Br59 LUNG BONE BONEPLUS EDGE FC51 FC81 FC30 D E L XCD YD", SHARP),
        ("X John? 1 FC QR", UNKNOWN),
    ],
)
def test_kernels_are_told_apart(kernels, expected):
    found = {kernel: acquisition.kernel_class(kernel) for kernel in kernels.split()}
    assert found == dict.fromkeys(kernels.split(), expected)


@pytest.mark.parametrize(
    ("kvp", "kev", "expected"),
    [(120, math.nan, LIKE_120), (110, math.nan, LIKE_120), (130, math.nan, LIKE_120), (100, math.nan, OTHER),
     (140, math.nan, OTHER), (math.nan, math.nan, UNKNOWN), (120, 40, OTHER), (80, 70, LIKE_120), (120, 190, OTHER)],
)  # fmt: skip
def test_energies_are_told_apart(kvp, kev, expected):
    assert acquisition.energy_class(kvp, kev) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"SeriesDescription": "CaSc 3.0 MonoPlus 40 keV"}, 40),
        ({"SeriesDescription": "MonoE 70keV[HU]"}, 70),
        ({"ImageType": "DERIVED\\PRIMARY\\AXIAL\\VMI\\50KEV"}, 50),
        ({"MonoenergeticEnergyEquivalent": "65.0", "SeriesDescription": "40 keV"}, 65),
        ({"SeriesDescription": "MonoE 40"}, 40),
        ({"ImageType": "ORIGINAL\\PRIMARY\\AXIAL\\MONO_40"}, 40),
        ({"SeriesDescription": "CaSc 3.0 120 kV"}, math.nan),
        ({}, math.nan),
    ],
)
def test_the_energy_of_a_monoenergetic_image_is_read(values, expected):
    assert acquisition.energy_kev(values) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"CardiacSynchronizationTechnique": "PROSPECTIVE", "ScanOptions": "TP70PC"}, "PROSPECTIVE"),
        ({"ScanOptions": "TP70PC"}, "GATED"),
        ({"ScanOptions": "HFS\\TP350MS"}, "GATED"),
        ({"ScanOptions": "DS_BPM65"}, "GATED"),
        ({"ScanOptions": "72 BPM"}, "GATED"),
        ({"ScanOptions": "CARDIAC_GATED"}, "GATED"),
        ({"ScanOptions": "RETROSPECTIVE ECG"}, "RETROSPECTIVE"),
        ({"ScanOptions": "PROSPECTIVE"}, "PROSPECTIVE"),
        ({"ScanOptions": "SNAPSHOT PULSE"}, "GATED"),
        ({"ScanOptions": "UNGATED"}, "NONE"),
        ({"ScanOptions": "NON_ECG"}, "NONE"),
        ({"ScanOptions": "ECG OFF"}, "NONE"),
        ({"ScanOptions": "AXIAL MODE"}, ""),
        ({"ScanOptions": "HELICAL MODE"}, ""),
        ({"CardiacSynchronizationTechnique": "JANE DOE"}, ""),
        ({}, ""),
    ],
)
def test_gating_is_read_where_vendors_say_it(values, expected):
    assert acquisition.gating(values) == expected


def test_phases_are_read_from_either_place():
    assert acquisition.phase({"ScanOptions": "TP70PC"})[0] == 70
    assert acquisition.phase({"ScanOptions": "TP350MS"})[1] == 350
    assert acquisition.phase({"NominalPercentageOfCardiacPhase": "40.0", "ScanOptions": "TP70PC"})[0] == 40
    assert all(map(math.isnan, acquisition.phase({"ScanOptions": "AXIAL MODE"})))
