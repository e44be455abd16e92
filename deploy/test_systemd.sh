#!/usr/bin/env bash
# Is the unit file right, and does tuskd behave as it says? Without systemd running: systemd-analyze
# reads the file, and a script stands in for systemd at the other end of NOTIFY_SOCKET.
#
#   deploy/test_systemd.sh            with build/release/daemon/tuskd
#   TUSKD=/path/to/tuskd deploy/test_systemd.sh
set -euo pipefail
cd "$(dirname "$0")/.."
tuskd=$(realpath "${TUSKD:-build/release/daemon/tuskd}")
unit=deploy/systemd/tuskd.service

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# verify wants the executable to exist where the unit says.
sed "s|/usr/bin/tuskd|$tuskd|" "$unit" >"$folder/tuskd.service"
said=$(systemd-analyze verify --man=no "$folder/tuskd.service" 2>&1) && [ -z "$said" ] || {
  printf 'systemd-analyze verify: %s\n' "${said:-failed}" >&2
  exit 1
}
echo 'systemd-analyze verify: ok'

mkdir "$folder/etc"
systemd-sysusers --root="$folder" "$PWD/deploy/systemd/tuskd.sysusers"
grep -q '^tuskd:' "$folder/etc/passwd"
echo 'sysusers: ok'

python3 deploy/test_systemd.py "$unit" "$tuskd"
