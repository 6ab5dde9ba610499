# What the scripts beside it share: a bare machine made ready, steps with a heading, a time and a
# verdict, and the closing count. Sourced, not run.
#
# A step that fails does not stop the steps after it: one run tells everything that is wrong.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
logs=target/ci
mkdir -p "$logs"
# What `cargo` needs for a loom model. The release profile's LTO and single codegen unit buy a
# model nothing, and a model is rebuilt for each mutation.
loom_env=(
  RUSTFLAGS='--cfg loom -C debug_assertions'
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
)
# How many preemptions an execution of a model may have in .ci/run and .ci/mutate: nearly all bugs
# show within 3, and the models end in minutes. `.ci/deep loom` has no such cap.
loom_preemptions=3

# usage SCRIPT: prints the comment at its head, and ends.
usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$1" >&2
  exit 2
}

report=() notices=()
failed_steps=0 passed=0 failed=0
log=/dev/null status=0 child=

# A step runs in the background, where Ctrl-C does not reach it: an interrupted run takes it along.
kill_tree() {
  local pid
  for pid in $(cat "/proc/$1/task/"*/children 2>/dev/null); do kill_tree "$pid"; done
  kill "$1" 2>/dev/null || true
}
trap '[ -z "$child" ] || kill_tree "$child"; exit 130' INT TERM

notice() { printf '\n!! %s\n' "$*"; notices+=("$*"); }

# step TITLE COMMAND...: runs it, shows what it prints as it comes, keeps that in $log, and its exit
# status in $status.
# Not by a pipe: a server left behind by a test would hold the pipe open and hang the run.
step() {
  local title=$1 began=$SECONDS verdict=ok follower
  shift
  status=0 log=$logs/${title//[!a-zA-Z0-9]/-}.log
  printf '\n==== %s\n' "$title"
  : >"$log"
  (set -euo pipefail; "$@") >>"$log" 2>&1 &
  child=$!
  tail -n +1 -s 0.1 -f --pid="$child" "$log" &
  follower=$!
  wait "$child" || status=$?
  child=
  wait "$follower" || true
  if [ "$status" != 0 ]; then
    verdict="FAILED ($status)"
    [ "$status" != 124 ] || verdict='FAILED (out of time)'
    failed_steps=$((failed_steps + 1))
  fi
  printf -- '---- %s: %s, %d s\n' "$title" "$verdict" $((SECONDS - began))
  report+=("$(printf '%4d s  %-20s %s' $((SECONDS - began)) "$verdict" "$title")")
  count
}

# Adds the tests that the last step ran. One that failed without a failing test (it did not
# compile, it crashed) counts as one, so that a red run never closes on "0 failed".
count() {
  local p f
  read -r p f < <(awk '/^test result: /{ p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
  if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f))
}

# Within a step: fails it if no test ran. A filter that matches nothing is green, too.
some_test_ran() { grep -q '^test .* ok$' "$log" || { echo 'no test ran'; return 1; }; }

# The closing summary; its exit status is the run's.
close() {
  printf '\n==== summary\n'
  printf '%s\n' "${report[@]}"
  [ ${#notices[@]} = 0 ] || printf '!! %s\n' "${notices[@]}"
  printf '%4d s in all\n\n' "$SECONDS"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed_steps" = 0 ]
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# need COMMAND PACKAGE ...: installs the Debian packages whose command is missing. Within a step.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    if ! command -v "$1" >/dev/null; then missing+=("$2"); fi
    shift 2
  done
  if [ ${#missing[@]} = 0 ]; then echo 'nothing is missing'; return; fi
  echo "installing ${missing[*]}"
  # A package must not start its service: a redis on port 6379 that nobody asked for would be in
  # the tests' way, and on a machine without an init the start may block.
  local policy=/usr/sbin/policy-rc.d lock='-oDPkg::Lock::Timeout=120'
  if [ ! -e "$policy" ]; then
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root apt-get -qq "$lock" update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq "$lock" install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# As many open files as this machine allows: the servers under test hold thousands of sockets.
raise_file_limit() {
  ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)" || true
  echo "open files: $(ulimit -n)"
}
