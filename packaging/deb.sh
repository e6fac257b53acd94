#!/bin/sh
# deb.sh BIN VERSION: makes BIN/kmsfs_VERSION_ARCH.deb of BIN/kmsfs. The same
# input gives the same bytes: every time in it is SOURCE_DATE_EPOCH.
set -eu
umask 022
bin=$1 version=$2
cd "$(dirname "$0")/.."

# Debian's versions begin with a digit. Without one it is before any release.
version=${version#v}
case $version in
[0-9]*.*) version=$(printf %s "$version" | tr - +) ;;
*) version=0~$(printf %s "$version" | tr - .) ;;
esac
architecture=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
make --no-print-directory --silent install BIN="$bin" DESTDIR="$root" PREFIX=/usr
doc=$root/usr/share/doc/kmsfs
install -D -m 644 packaging/debian/copyright "$doc/copyright"
install -m 644 README.md "$doc/README.md"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
gzip -9n "$root"/usr/share/man/man?/*
install -d "$root/etc/kmsfs"

install -d "$root/DEBIAN"
for script in postinst prerm postrm; do
	install -m 755 packaging/debian/$script "$root/DEBIAN/$script"
done
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<END
Package: kmsfs
Version: $version
Architecture: $architecture
Maintainer: The kmsfs authors <kmsfs@localhost>
Installed-Size: $(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Depends: ca-certificates, mount
Recommends: fuse3
Section: admin
Priority: optional
Homepage: https://github.com/kmsfs/kmsfs
Description: serve secrets from ciphertext, decrypted through Alibaba Cloud KMS
 kmsfs mounts a directory of *.cipher files and serves their plaintext. Each
 file is decrypted through Alibaba Cloud KMS when a program opens it, and kept
 in locked memory for a short time. The plaintext is never a file.
 .
 fuse3 is needed for mounts by other users than root.
END
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zgzip --build "$root" "$bin/kmsfs_${version}_$architecture.deb" >&2
echo "$bin/kmsfs_${version}_$architecture.deb"
