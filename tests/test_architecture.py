"""The order of the packages, in which imports point one way, and each outside library's one owner."""

import ast
import graphlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cac_hpc"
MODULES = {f"{path.parent.name}.{path.stem}": path for path in PACKAGE.rglob("*.py") if path.stem != "__init__"}
PACKAGES = (  # a module imports from its own package and from those before it
    "results", "machine", "settings", "run", "volumes", "masks", "calcium", "labels", "dataset", "inspection",
    "phantom", "train", "statistics", "trials", "evaluation", "cluster", "plots", "sections", "appendix", "report",
    "transfer", "predict", "benchmark",
)  # fmt: skip
OWNERS = {
    "SimpleITK": {"benchmark.peers"},
    "dcm2niix": {"benchmark.peers"},
    "PIL": {"plots.panels"},
    "h5py": {
        "benchmark.large_runs",
        "benchmark.loaders",
        "benchmark.peers",
        "dataset.shards",
    },  # benchmark: beside ours
    "highdicom": {"predict.dicom_out"},
    "imagecodecs": {"volumes.decoders"},
    "jinja2": {"report.templates"},
    "markupsafe": {"report.templates"},
    "matplotlib": {"plots.canvas"},
    "monai": {"benchmark.loaders", "benchmark.peers"},
    "nibabel": {"volumes.nifti"},
    "nrrd": {"volumes.nrrd"},
    "omegaconf": {"settings.composition"},
    "openpyxl": {"labels.sheets"},
    "optuna": {"trials.sampling"},
    "pydantic": {"results.validation"},
    "pydicom": {"volumes.dicom", "benchmark.peers"},
    "rich": {"run.logs"},
    "sklearn": {"statistics.metrics"},
    "submitit": {"cluster.sbatch_scripts"},
    "torch.distributed": {"train.distributed"},
    "torch.nn.parallel": {"train.distributed"},
    "xxhash": {"run.digests"},
    "yaml": {"settings.yaml_documents"},
}


@cache
def imports_of(path: Path, at_run_time: bool = True) -> set[str]:
    """Full names of all that a module imports; what only the type checker sees is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if at_run_time and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(module: str) -> set[str]:
    found = {
        ".".join(name.split(".")[1:3]) for name in imports_of(MODULES[module], False) if name.startswith("cac_hpc.")
    }
    return found & set(MODULES)


def test_every_module_is_in_a_package_of_the_list():
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    assert {module.partition(".")[0] for module in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_for_and_nothing_else(package):
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_its_own_package_and_those_before_it(module):
    def place(name):
        return PACKAGES.index(name.partition(".")[0])

    later = {other for other in own_imports(module) if place(other) > place(module)}
    assert not later, f"{module} imports {later}"


def test_no_imports_go_in_a_circle():
    order = graphlib.TopologicalSorter({module: own_imports(module) for module in MODULES})
    order.prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_has_one_owner(library):
    prefix = re.compile(rf"{re.escape(library)}(\.|$)")
    users = {module for module, path in MODULES.items() if any(map(prefix.match, imports_of(path)))}
    assert users == OWNERS[library]


def test_no_test_imports_a_test():
    """What several need is in tests/support: a module that moves takes no other along."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert not [name for name in imports_of(path) if re.search(r"^tests\..*\btest_", name)], path


def test_a_job_only_parses_and_calls_the_library():
    for path in (ROOT / "jobs").glob("*.py"):
        assert all(name.split(".")[0] in ("cac_hpc", "pathlib", "sys") for name in imports_of(path)), path
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path


def test_the_supervisor_of_a_job_imports_nothing_large():
    """It takes its part of the job's memory for as long as the ranks run."""
    large = "{'pandas', 'pydantic', 'scipy', 'torch'}"
    code = f"import sys, cac_hpc.cluster.supervisor; print(sorted({large} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("dataset.packing", ["h5py", "numpy", "rich", "scipy"]),  # what workers need is not for who waits for them
        ("dataset.excerpts", []), ("dataset.sealing", []), ("dataset.shard_writing", ["rich"]),
        ("transfer.retrieval", []), ("cluster.launch", []),
    ],
)  # fmt: skip
def test_what_starts_often_imports_nothing_large_that_it_does_not_need(module, more):
    """Each task of an array, and whoever looks at a report, waits for it: scipy's parts load where they are used."""
    large = {"openpyxl", "pandas", "pydicom", "scipy.ndimage", "scipy.sparse", "scipy.special", "sklearn", "torch"}
    code = f"import sys, cac_hpc.{module}; print(sorted({large | {*more}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["cluster.monitor", "transfer.retrieval"])
def test_what_shows_a_run_imports_nothing_that_only_some_answers_need(module):
    """Settings are for what changes them, pydantic for a damaged report, archives for a report that travels."""
    unneeded = (
        "concurrent.futures", "email", "importlib.metadata", "jsonargparse", "numpy", "omegaconf", "pydantic",
        "secrets", "socket", "statistics", "tarfile", "webbrowser", "yaml", "cac_hpc.cluster.remedies",
        "cac_hpc.settings.config", "cac_hpc.settings.yaml_documents", "cac_hpc.results.validation",
    )  # fmt: skip
    code = f"import sys, cac_hpc.{module}; print(sorted({{*{unneeded}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_scans_are_drawn_before_what_figures_are_counted_with_is_there():
    """A report loads it while a fork draws."""
    code = "import sys, cac_hpc.report.aggregation; print(sorted({'scipy.stats', 'sklearn'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["cluster.launch", "cluster.monitor", "dataset.scoring", "report.aggregation", "trials.worker"]
)
def test_what_computes_no_network_imports_no_torch(module):
    """It takes seconds, and is not there on every login node."""
    code = f"import sys, cac_hpc.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
