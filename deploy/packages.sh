#!/bin/sh
# Builds the Debian packages from this checkout into a folder: PIP=PROGRAM deploy/packages.sh FOLDER [VERSION]
set -eu
cd "$(dirname "$0")/.."
out=$(realpath -m "$1")
version=${2:-$(sed -n 's/^__version__ = "\(.*\)"/\1/p' core/migd_core/__init__.py)}

missing=$(for each in dpkg-buildpackage:dpkg-dev dh:debhelper help2man:help2man; do
    command -v "${each%%:*}" >/dev/null || printf '%s ' "${each#*:}"; done)
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "packages are missing here; as root: apt-get install $missing" >&2; exit 1; }
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/migd-$version
mkdir -p "$tree" "$out"
cp -r pyproject.toml constraints.txt LICENSE README.md core agent policies controller sim xapi cli docs "$tree"
cp -r deploy/debian "$tree/debian"
for each in agent controller; do
    cp systemd/migd-$each.service "$tree/debian/"
    cp systemd/tmpfiles.d/migd-$each.conf "$tree/debian/migd-$each.tmpfiles"
done
cp systemd/sysusers.d/migd-controller.conf "$tree/debian/migd-controller.sysusers"
date=$(git log -1 --format=%cD 2>/dev/null || date -R)
printf 'migd (%s) stable; urgency=medium\n\n  * CHANGELOG.md says what is new.\n\n -- migd maintainers <maintainers@users.noreply.example.org>  %s\n' \
    "$version" "$date" > "$tree/debian/changelog"
"$PIP" --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir "$tree/wheel" "$tree"
(cd "$tree" && PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --build=binary --no-sign) >"$work/log" 2>&1 \
    || { cat "$work/log" >&2; exit 1; }
mv "$work"/*.deb "$out"
