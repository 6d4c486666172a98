#!/bin/sh
# Builds sdist and wheel of a tagged version into dist/, and tries both. It uploads nothing.
#
#   tools/build_release.sh            the tag on HEAD
#   tools/build_release.sh v0.1.0     this tag
#
# Files come from the tag, not from the working tree. Checked are: the tag is v<version>, CHANGELOG.md and CITATION.cff name
# that version, the wheel built from the sdist has the same files, and a fresh environment can install and run the wheel.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf 'release: %s\n' "$*"; }
fail() { printf 'release: %s\n' "$*" >&2; exit 1; }

tag=${1:-$(git describe --exact-match --tags HEAD 2>/dev/null || true)}
[ -n "$tag" ] || fail "HEAD has no tag; expected v<version> (git tag v$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' espnet_vivit/version.py))"
git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || fail "there is no tag $tag (git tag $tag)"
mkdir "$work/source" "$work/dist" "$work/again"
git archive "$tag" | tar -x -C "$work/source"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$work/source/espnet_vivit/version.py")
[ "$tag" = "v$version" ] || fail "the tag is $tag, and espnet_vivit/version.py says $version; expected v$version"
grep -q "^## \[$version\]" "$work/source/CHANGELOG.md" || fail "CHANGELOG.md has no heading '## [$version]'"
grep -q "^version: $version\$" "$work/source/CITATION.cff" || fail "CITATION.cff does not say 'version: $version'"

# `builder`: a Python that has what [build-system] requires: the environment's, or else a fresh one with just that.
builder=$python
requires=$("$python" -c '
import re, sys
listed = re.search(r"^requires = \[(.*?)\]", open(sys.argv[1]).read(), re.S | re.M)[1]
print("\n".join(re.findall(r"\"(.+?)\"", listed)))' "$work/source/pyproject.toml")
if ! printf '%s\n' "$requires" | "$python" -c '
import sys
from importlib.metadata import version
from packaging.requirements import Requirement
for line in sys.stdin:
    need = Requirement(line.strip())
    if version(need.name) not in need.specifier:
        sys.exit(1)' 2>/dev/null; then
    "$python" -m venv "$work/builder"
    builder=$work/builder/bin/python
    printf '%s\n' "$requires" >"$work/requires"
    "$builder" -m pip install --quiet -r "$work/requires"
fi

build() { # build FOLDER KIND OUT: KIND is sdist or wheel
    (cd "$1" && "$builder" -c "from setuptools import build_meta; build_meta.build_$2('$3')" >"$work/$2.log" 2>&1) ||
        { tail -n 20 "$work/$2.log" >&2; fail "building the $2 failed"; }
}
members() { "$python" -m zipfile -l "$1" | awk 'NR > 1 { print $1 }' | sort; }

build "$work/source" sdist "$work/dist"
tar -xzf "$work"/dist/*.tar.gz -C "$work/again"
build "$(echo "$work"/again/*)" wheel "$work/again"
build "$work/source" wheel "$work/dist"
members "$work"/dist/*.whl >"$work/members"
members "$work"/again/*.whl | cmp -s - "$work/members" || fail "the wheel built from the sdist has other files than that of the tag"
grep -qx espnet_vivit/py.typed "$work/members" || fail "the wheel lacks espnet_vivit/py.typed"

"$python" -m venv "$work/fresh"
"$work/fresh/bin/python" -m pip install --quiet --no-deps --no-index "$work"/dist/*.whl
said=$(cd "$work" && "$work/fresh/bin/espnet-vivit" --version)
[ "$said" = "espnet-vivit $version" ] || fail "the installed command says '$said'; expected 'espnet-vivit $version'"

mkdir -p dist
cp "$work"/dist/* dist/
say "$tag: $(cd "$work/dist" && echo *) in dist/; nothing was uploaded"
