"""Which elements of a DICOM file are read, by tag, and the keyword of each."""

from __future__ import annotations

TEXT = {
    0x00020002: "MediaStorageSOPClassUID", 0x00020010: "TransferSyntaxUID", 0x00080008: "ImageType",
    0x00080016: "SOPClassUID", 0x00080070: "Manufacturer", 0x0008103E: "SeriesDescription",
    0x00081090: "ManufacturerModelName", 0x00083010: "IrradiationEventUID",
    0x00100040: "PatientSex", 0x00101010: "PatientAge", 0x00180010: "ContrastBolusAgent", 0x00180022: "ScanOptions",
    0x00180050: "SliceThickness", 0x00180060: "KVP", 0x00181040: "ContrastBolusRoute",
    0x00181041: "ContrastBolusVolume", 0x00181042: "ContrastBolusStartTime",
    0x00181043: "ContrastBolusStopTime", 0x00181047: "ContrastFlowDuration",
    0x00181049: "ContrastBolusIngredientConcentration", 0x00181044: "ContrastBolusTotalDose",
    0x00181046: "ContrastFlowRate", 0x00181048: "ContrastBolusIngredient", 0x00181060: "TriggerTime",
    0x00181100: "ReconstructionDiameter", 0x00181210: "ConvolutionKernel",
    0x00189037: "CardiacSynchronizationTechnique", 0x00189361: "MultienergyCTAcquisition",
    0x0020000D: "StudyInstanceUID", 0x0020000E: "SeriesInstanceUID", 0x00200011: "SeriesNumber",
    0x00200012: "AcquisitionNumber", 0x00200037: "ImageOrientationPatient", 0x00200052: "FrameOfReferenceUID",
    0x00200100: "TemporalPositionIdentifier",
    0x00201002: "ImagesInAcquisition", 0x00280004: "PhotometricInterpretation", 0x00280008: "NumberOfFrames",
    0x00280030: "PixelSpacing", 0x00280301: "BurnedInAnnotation",
    0x00280303: "LongitudinalTemporalInformationModified", 0x00281052: "RescaleIntercept", 0x00281053: "RescaleSlope",
    0x00281054: "RescaleType", 0x00282110: "LossyImageCompression",
}  # fmt: skip
OWN = {  # what every slice of a series has for itself
    0x0008002A: "AcquisitionDateTime", 0x00080032: "AcquisitionTime", 0x00080033: "ContentTime",
    0x00200013: "InstanceNumber", 0x00200032: "ImagePositionPatient",
}  # fmt: skip
SEQUENCES = {0x00180012: "ContrastBolusAgentSequence"}  # of which matters whether they have items
NUMBERS = {
    0x00280002: "SamplesPerPixel", 0x00280010: "Rows", 0x00280011: "Columns", 0x00280100: "BitsAllocated",
    0x00280101: "BitsStored", 0x00280102: "HighBit", 0x00280103: "PixelRepresentation",
    0x00280120: "PixelPaddingValue", 0x00280121: "PixelPaddingRangeLimit",
}  # fmt: skip
FLOATS = {0x00209153: "NominalCardiacTriggerDelayTime", 0x00209241: "NominalPercentageOfCardiacPhase"}
IN_GROUPS = {  # of enhanced CT, or deep in other objects
    "ActualCardiacTriggerDelayTime", "ContrastBolusAgentAdministered", "ContrastBolusAgentDetected",
    "MonoenergeticEnergyEquivalent", "TemporalPositionIndex",
}  # fmt: skip
# what may identify a patient; read only to keep it out of everything that is written
IDENTITY = {
    0x00080020: "StudyDate", 0x00080021: "SeriesDate", 0x00080022: "AcquisitionDate", 0x00080023: "ContentDate",
    0x00080050: "AccessionNumber", 0x00080080: "InstitutionName", 0x00080081: "InstitutionAddress",
    0x00080090: "ReferringPhysicianName", 0x00081050: "PerformingPhysicianName", 0x00081070: "OperatorsName",
    0x00100010: "PatientName", 0x00100020: "PatientID", 0x00100030: "PatientBirthDate",
    0x00101000: "OtherPatientIDs", 0x00101001: "OtherPatientNames", 0x00101040: "PatientAddress",
    0x00102154: "PatientTelephoneNumbers", 0x00104000: "PatientComments", 0x00200010: "StudyID",
}  # fmt: skip
TAGS = TEXT | NUMBERS | FLOATS | IDENTITY | OWN | SEQUENCES
WANTED = set(TAGS)
KEYWORDS = {*TAGS.values(), *IN_GROUPS}
