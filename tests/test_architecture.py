"""The README's module table is the architecture: imports point down its levels, and a library has one owner."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {path.stem: path for path in (ROOT / "cac_hpc").glob("*.py") if path.stem != "__init__"}
LEVELS = {
    module: int(level)
    for level, module in re.findall(r"^\| (\d) \| `(\w+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
}
OWNERS = {
    "SimpleITK": {"peers"},
    "dcm2niix": {"peers"},
    "PIL": {"figures"},
    "h5py": {"loaders", "peers", "shards"},  # peers: programs that stand beside the product, to be measured against it
    "jinja2": {"pages"},
    "jsonargparse": {"settings"},
    "markupsafe": {"pages"},
    "matplotlib": {"figures"},
    "monai": {"loaders", "peers"},
    "omegaconf": {"settings"},
    "openpyxl": {"sheets"},
    "pydicom": {"dicom", "peers"},
    "rich": {"logs"},
    "sklearn": {"metrics"},
    "submitit": {"submission"},
    "torch.distributed": {"distributed"},
    "torch.nn.parallel": {"distributed"},
    "xxhash": {"digests"},
    "yaml": {"config"},
}


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
    found = {name.split(".")[1] for name in imports_of(MODULES[module], False) if name.startswith("cac_hpc.")}
    return found & set(MODULES)


def test_the_readme_lists_every_module_once():
    assert sorted(LEVELS) == sorted(MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_lower_levels(module):
    sideways = {other for other in own_imports(module) if LEVELS[other] >= LEVELS[module]}
    assert not sideways, f"{module} (level {LEVELS[module]}) imports {sideways}"


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_has_one_owner(library):
    prefix = re.compile(rf"{re.escape(library)}(\.|$)")
    users = {module for module, path in MODULES.items() if any(map(prefix.match, imports_of(path)))}
    assert users == OWNERS[library]


def test_a_job_only_parses_and_calls_the_library():
    for path in (ROOT / "jobs").glob("*.py"):
        assert all(name.split(".")[0] in ("cac_hpc", "pathlib") for name in imports_of(path)), path
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path
