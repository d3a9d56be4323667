"""Install cac_hpc: ``pip install -e .`` (add ``-c constraints.txt`` for the tested versions)."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

setup(
    name="cac_hpc",
    version=VERSION,
    description="Cross-validated coronary calcium classification from cardiac CT, on any SLURM cluster",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["cac_hpc", "cac_hpc.*"]),
    package_data={
        "cac_hpc": ["py.typed"],
        "cac_hpc.machine": ["environment.txt"],
        "cac_hpc.predict": ["study.html", "index.html", "predict.css"],
        "cac_hpc.report": ["page/*"],
        "cac_hpc.results": ["report.schema.json"],
    },
    python_requires=">=3.10,<3.15",
    install_requires=[
        "torch>=2.6,<3",
        "submitit>=1.5.2,<2",
        "pydicom>=3.0.1,<4",
        "pyjpegls>=1.5.1,<2; python_version < '3.14'",  # JPEG-LS, five times as fast as pylibjpeg; no wheel of 3.14
        "imagecodecs>=2025.3.30",  # JPEG Lossless and RLE, four and five times as fast as pylibjpeg and pydicom
        "pylibjpeg>=2.0,<3",
        "pylibjpeg-libjpeg>=2.3,<3",
        "pylibjpeg-openjpeg>=2.4,<3",
        "nibabel>=5.3,<6",
        "pynrrd>=1.1,<2",
        "h5py>=3.15,<4",
        "xxhash>=3.4,<5",
        "numpy>=2.0,<3",
        "scipy>=1.13,<2",
        "scikit-learn>=1.5,<2",
        "pandas>=2.2.2,<4",
        "openpyxl>=3.1.3,<4",
        "matplotlib>=3.9,<4",
        "pillow>=10.3",
        "Jinja2>=3.1.2,<4",
        "rich>=13.7",
        "omegaconf>=2.3,<3",
        "PyYAML>=6.0",
        "pydantic>=2.12,<3",
        "optuna>=4.0,<6",
    ],
    extras_require={
        "test": [
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.8",
            "hypothesis>=6.100",
            "jsonschema>=4.21",
        ],
        "check": ["ruff", "mypy", "pandas-stubs", "types-PyYAML", "types-jsonschema"],  # as constraints.txt pins them
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2"],
        "onnx": ["onnx>=1.19", "onnxruntime>=1.23", "onnxscript>=0.5.4"],  # for jobs/export.py --onnx
        "dicom": ["highdicom>=0.28,<1"],  # for jobs/predict.py --dicom
        "converters": ["SimpleITK>=2.4", "dcm2niix>=1.0.20240202"],  # with which tests make volumes of DICOM files
        "viewers": ["SimpleITK>=2.4", "dcmqi>=1.5.7"],  # by which tests read what highdicom wrote, and write masks
        "peers": ["SimpleITK>=2.4", "dcm2niix>=1.0.20240202", "monai>=1.6"],  # for jobs/benchmark.py
    },
)
