#!/bin/sh
# Starts workerd so that it dies with the program that started it, even when that program is killed with SIGKILL and can stop
# nothing any more. Only Linux can do this; elsewhere workerd starts as it is.
if command -v setpriv >/dev/null 2>&1; then
  exec setpriv --pdeathsig KILL -- "$WORKERD_BINARY" "$@"
fi
exec "$WORKERD_BINARY" "$@"
