"""Beyond pyproject.toml: the wheel holds conf/, egs/ and egs3/ as espnet_vivit/recipes, the sdist as they are."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build does not look for modules where it builds

from espnet_vivit.base.installation import shipped_files  # noqa: E402


class BuildWithRecipes(build_py):
    """setuptools' build_py, which also copies the recipes. An editable installation finds them in the clone."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._recipes().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self._recipes()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._recipes().values()]

    def _recipes(self) -> dict[str, str]:
        """File in this folder -> file in the folder that becomes the wheel."""
        target = Path(self.build_lib, "espnet_vivit", "recipes")
        return {str(file): str(target / file) for file in shipped_files(ROOT)}


setup(cmdclass={"build_py": BuildWithRecipes})
