#!/usr/bin/env bash
# Starts N processes of one run on this machine, as a cluster would start one on each of N machines:
#
#   scripts/launch_local.sh 2 train.py --config=configs/digits.py --workdir=runs/two
#
# Every line of output begins with the rank of its process. SIGTERM and Ctrl-C are handed on to all
# processes. When one process fails, the others get GRACE seconds (default 10) to end by themselves;
# the exit code is that of the first to fail. PYTHON names the interpreter (default: .venv's, else
# python3); PORT the coordinator's port (default: a free one).
set -u

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: $0 NUMBER_OF_PROCESSES PROGRAM [ARGUMENT ...]" >&2
  exit 2
fi
count=$1
shift

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z ${PYTHON:-} ]]; then
  PYTHON=python3
  [[ -x $root/.venv/bin/python ]] && PYTHON=$root/.venv/bin/python
fi
PORT=${PORT:-$("$PYTHON" -c '
import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])')} || exit 1

# Outlives a signal to the whole group, as the processes still have something to tell then.
say() {
  trap '' TERM INT
  exec sed -u "s/^/[$1] /"
}

trap '' PIPE  # nobody may listen any more

pids=()
for ((rank = 0; rank < count; rank++)); do
  "$PYTHON" -u "$@" --distributed --coordinator="127.0.0.1:$PORT" --num_processes="$count" \
    --process_id="$rank" > >(say "$rank") 2> >(say "$rank" >&2) &
  pids+=($!)
done

hand_on() {
  kill -TERM "${pids[@]}" 2> /dev/null
}
trap hand_on TERM INT

# Polled, as bash before 5.1 cannot tell which child it waited for.
code=0
left=$count
deadline=
finished=()
while ((left > 0)); do
  for ((rank = 0; rank < count; rank++)); do
    [[ -n ${finished[rank]:-} ]] && continue
    kill -0 "${pids[rank]}" 2> /dev/null && continue
    wait "${pids[rank]}"
    result=$?
    finished[rank]=1
    left=$((left - 1))
    if ((result != 0 && code == 0)); then
      code=$result
      deadline=$((SECONDS + ${GRACE:-10}))
      ((left > 0)) && echo "process $rank failed with exit code $code; ending the others" >&2
    fi
  done
  if [[ -n $deadline && $SECONDS -ge $deadline ]]; then
    kill -KILL "${pids[@]}" 2> /dev/null
  fi
  ((left > 0)) && sleep 0.1
done
exit "$code"
