"""Codes of what DICOM objects say. Source: DICOM PS3.16, Annex D (scheme DCM) and the context groups (CID) named here.

SNOMED CT (SCT) as PS3.16 uses it; units of UCUM. A test compares the meanings with pydicom's dictionary, which lists
all but mg.
"""

SCHEME = "99CACHPC"  # of our own: the categories
CODES = {  # name: value, scheme, meaning
    "procedure": ("426005005", "SCT", "Cardiac CT for calcium scoring"),  # CID 3757; procedure reported
    "coronary": ("41801008", "SCT", "Coronary artery"),  # finding site, anatomic region
    "calcification": ("237897009", "SCT", "Vascular Calcification"),  # CID 3491; finding, type of the segments
    "abnormal": ("49755003", "SCT", "Morphologically Abnormal Structure"),  # CID 7150; category of the segments
    "score": ("450360000", "SCT", "Coronary artery calcium score"),  # CID 6142; Agatston score of the study
    "lesion_score": ("112058", "DCM", "Calcium score"),  # Agatston score of a lesion
    "volume": ("122660", "DCM", "Calcium Volume"),  # of the study, of a lesion; mm3
    "mass": ("122661", "DCM", "Calcium Mass"),  # the same, where a calibration factor is given; mg
    "by_agatston": ("112055", "DCM", "Agatston scoring method"),  # CID 6140
    "by_volume": ("112056", "DCM", "Volume scoring method"),
    "by_mass": ("112057", "DCM", "Mass scoring method"),
    "max_hu": ("112180", "DCM", "Maximum Attenuation Coefficient"),  # CID 6141; of a lesion; HU
    "lesions": ("111038", "DCM", "Number of calcifications"),  # lesions that counted
    "severity": ("122132", "DCM", "Severity of Calcification"),  # the category, whose value is of our own scheme
    "family": ("123110", "DCM", "Artificial Intelligence"),  # CID 7162; algorithm family
    "device": ("121007", "DCM", "Device"),  # CID 270; the observer, which is this program
    "comment": ("121106", "DCM", "Comment"),  # warnings, and that the software is for research
    "1": ("1", "UCUM", "no units"),
    "mm3": ("mm3", "UCUM", "cubic millimeter"),
    "mg": ("mg", "UCUM", "milligram"),
    "hu": ("[hnsf'U]", "UCUM", "Hounsfield unit"),
}
