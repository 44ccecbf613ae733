#!/bin/sh
# apt-install.sh POLICY_FILE PACKAGE...: installs Debian packages; no service of theirs is started or enabled.
# The package lists are brought up to date only when an installation without that fails.
set -u
policy=$1
shift
mark='# Written by the local Flick stack for the time of an installation.'

# One of ours that is still there was left by a run that was killed.
if [ -e "$policy" ] && grep -qxF "$mark" "$policy"; then rm -f "$policy"; fi
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '%s\n' '#!/bin/sh' "$mark" 'exit 101' >"$policy"
  chmod 755 "$policy"
fi

install() {
  apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}
install "$@" || { apt-get -q update && install "$@"; } || exit 1

# policy-rc.d keeps a service from starting now, but not at the next boot.
if [ -d /run/systemd/system ]; then
  for package in "$@"; do
    case $package in
      redis-server) systemctl disable --quiet redis-server ;;
      mariadb-server) systemctl disable --quiet mariadb ;;
    esac
  done
fi
exit 0
