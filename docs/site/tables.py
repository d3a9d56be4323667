"""Write the generated parts of docs/ from the code, and the API pages when MkDocs builds the site.

python docs/site/tables.py      rewrites the parts between <!-- generated: NAME --> and <!-- end -->
"""

import ast
import dataclasses
import importlib
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SCHEMA = ROOT / "cac_hpc" / "results" / "report.schema.json"
ORDER = ROOT / "tests" / "test_architecture.py"


def outputs() -> dict[Path, str]:
    """Each file with generated parts, as it should be."""
    from cac_hpc.results.report import Report
    from cac_hpc.results.serialization import schema

    found = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    pages = {path: PART.sub(_part, text) for path, text in found.items() if PART.search(text)}
    return pages | {SCHEMA: json.dumps(schema(Report), indent=1) + "\n"}


def _part(match: re.Match[str]) -> str:
    return f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[3]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    assert not any("|" in cell for row in rows for cell in row), "programs differ in how they read | in a cell"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reasons() -> str:
    """Every reason code of rejected.csv."""
    from cac_hpc.run.rejections import REASONS

    rows = [(f"`{code}`", meaning, advice) for code, (meaning, advice) in REASONS.items()]
    return table(("reason", "meaning", "what to do"), rows)


def volume_warnings() -> str:
    """Every warning that a study in a NIfTI or NRRD file may have."""
    from cac_hpc.volumes.volume_study import WARNINGS

    return table(("warning", "meaning"), [(f"`{code}`", meaning) for code, meaning in WARNINGS.items()])


def attributes() -> str:
    """DICOM attributes that separate phases and acquisitions, and that indicate a contrast agent."""
    from cac_hpc.volumes import acquisition, stacks

    groups: dict[str, Iterable[str]] = {
        "phase and acquisition, in this order": stacks.TELLING,
        "interleaved acquisitions: values that rise or fall along the patient": stacks.RISING,
        "contrast agent: name or denial": acquisition.AGENTS,
        "contrast agent: present if above zero": acquisition.AMOUNTS,
        "contrast agent: present if given": acquisition.SIGNS,
        "contrast agent of a frame (enhanced CT)": acquisition.OF_FRAME,
    }
    return table(("what", "DICOM attributes"), [(name, ", ".join(group)) for name, group in groups.items()])


def literal(name: str) -> Any:
    """A constant of tests/test_architecture.py, where the order of packages and the owners of libraries are data."""
    for node in ast.parse(ORDER.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{ORDER} has no {name}")


def summary(path: Path) -> str:
    """The first sentence or paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def modules_of(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / "cac_hpc" / package).glob("*.py") if path.stem != "__init__")


def packages() -> str:
    """Packages in the order in which they are built on each other."""
    rows = [
        (f"[`{name}`](#{name})", summary(ROOT / "cac_hpc" / name / "__init__.py"), str(len(modules_of(name))))
        for name in literal("PACKAGES")
    ]
    return table(("package", "what", "modules"), rows)


def modules() -> str:
    """Every module by package, with the first paragraph of its docstring."""
    parts = [
        f"### {name}\n\n" + table(("module", "what"), [(f"`{path.stem}`", summary(path)) for path in modules_of(name)])
        for name in literal("PACKAGES")
    ]
    return "\n\n".join(parts)


def owners() -> str:
    """Which module imports which library."""
    rows = [(f"`{name}`", ", ".join(f"`{one}`" for one in sorted(of))) for name, of in literal("OWNERS").items()]
    return table(("library", "imported by"), rows)


def settings() -> str:
    """Every setting of every section, with its default and the comment or docstring at its field."""
    from cac_hpc.settings import config

    parts = [
        f"### {key}\n\n" + table(("setting", "type", "default", "meaning"), list(_settings(key, kind)))
        for key, kind in typing.get_type_hints(config.Config).items()
        if dataclasses.is_dataclass(kind)
    ]
    return "\n\n".join(parts)


def _settings(key: str, kind: Any, base: Any = None) -> Iterator[tuple[str, ...]]:
    from cac_hpc.run.rejections import REASONS
    from cac_hpc.settings.setting_meanings import meanings, type_text

    hints, notes = typing.get_type_hints(kind), meanings(kind)
    for spec in dataclasses.fields(kind):
        name, hint = f"{key}.{spec.name}", hints[spec.name]
        if dataclasses.is_dataclass(hint):
            yield from _settings(name, hint, spec.default)
            continue
        of_check = REASONS[spec.name][0] if key == "pack.checks" else ""
        default = spec.default if base is None else getattr(base, spec.name)
        yield f"`{name}`", type_text(hint), _shown(default), "; ".join(filter(None, (of_check, notes[spec.name])))


def _shown(default: Any) -> str:
    from cac_hpc.settings.config import plain

    return "" if default is dataclasses.MISSING else f"`{json.dumps(plain(default))}`"


def report() -> str:
    """The top level of report.json, and the types below it by module."""
    from cac_hpc.results.report import Report

    rows = [(f"`{spec.name}`", f"`{_alternatives(spec)}`") for spec in dataclasses.fields(Report)]
    parts = [table(("key", "type"), rows)]
    for path in sorted(SCHEMA.parent.glob("*.py")):
        module = importlib.import_module(f"cac_hpc.results.{path.stem}")
        own = [kind for kind in vars(module).values() if _is_defined_in(module, kind) and kind is not Report]
        defined = [(f"`{kind.__name__}`", _first_line(kind), _keys(kind)) for kind in own]
        if defined:
            parts += [f"### {path.stem}", _first_line(module), table(("type", "what", "keys"), defined)]
    return "\n\n".join(parts)


def _is_defined_in(module: types.ModuleType, kind: Any) -> bool:
    is_own = dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    return is_own and not kind.__name__.startswith("_")


def _alternatives(spec: "dataclasses.Field[Any]") -> str:
    return str(spec.type).replace(" | ", " or ")


def _first_line(kind: Any) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _keys(kind: Any) -> str:
    return ", ".join(f"`{spec.name}`" for spec in dataclasses.fields(kind))


PARTS = {
    part.__name__: part for part in (reasons, volume_warnings, attributes, packages, modules, owners, settings, report)
}


def on_config(config: Any) -> None:
    """MkDocs: an API page for each package, at the end of the navigation."""
    config.nav.append({"API": [{name: f"api/{name}.md"} for name in literal("PACKAGES")]})


def on_files(files: Any, config: Any) -> None:
    """MkDocs: the API pages themselves, which mkdocstrings fills in."""
    from mkdocs.structure.files import File  # type: ignore[import-not-found]

    for name in literal("PACKAGES"):
        text = f"# cac_hpc.{name}\n\n::: cac_hpc.{name}\n"
        files.append(File.generated(config, f"api/{name}.md", content=text))


def main() -> None:
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
