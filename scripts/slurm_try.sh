#!/usr/bin/env bash
# Starts a Slurm of one node in a temporary directory and tries builds in tasks on it:
#   1 task and 4 tasks give the set of a plain build; a run whose job is cancelled goes on with what is missing;
#   each task starts, and ends, a server of its model.
# It needs slurm-wlm and munge, as Debian has them (`--install` gets them by apt-get), and installs nothing else. It
# touches no Slurm that is there, and ends all it started. Exit code 77: Slurm cannot be started here, and why.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$python" ] || python="$(command -v python3)"
if [ "${1:-}" = --install ]; then
    apt-get update -q && apt-get install -q -y --no-install-recommends slurm-wlm munge
fi
PATH="$PATH:/usr/sbin:/sbin"
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || { echo "no $program here: apt-get install slurm-wlm munge" >&2; exit 77; }
done

# ---- Slurm: this user's own, on free ports, with processes found by their parents: that needs no cgroups
dir="$(mktemp -d "${TMPDIR:-/tmp}/slurm-try.XXXXXX")"
chmod 755 "$dir"
started=()
stop() {
    code=$?
    trap - EXIT INT TERM
    scancel --user="$(id -un)" 2> /dev/null || true
    for _ in $(seq 50); do [ -n "$(squeue -h 2> /dev/null || true)" ] || break; sleep 0.2; done
    for ((at = ${#started[@]} - 1; at >= 0; at--)); do
        kill "${started[$at]}" 2> /dev/null || true
        wait "${started[$at]}" 2> /dev/null || true
    done
    if [ "$code" = 0 ]; then rm -rf "$dir"; else echo "logs: $dir" >&2; fi
    exit "$code"
}
trap stop EXIT INT TERM
cannot() { echo "Slurm cannot be started here: $1" >&2; tail -n 20 "$dir"/*.log >&2 || true; exit 77; }

host="$(hostname -s)"
read -r port_of_control port_of_node < <("$python" - <<'PYTHON'
import socket

both = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in both))
PYTHON
)
mkdir "$dir/state" "$dir/spool"
head -c 1024 /dev/urandom > "$dir/munge.key"
chmod 400 "$dir/munge.key"
cat > "$dir/slurm.conf" <<CONF
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
SlurmctldPort=$port_of_control
SlurmdPort=$port_of_node
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$dir/slurm.conf"
munged --foreground --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munge.pid" \
    --log-file="$dir/munge.log" --seed-file="$dir/munge.seed" > "$dir/munged.log" 2>&1 &
started+=($!)
for _ in $(seq 50); do [ -S "$dir/munge.socket" ] && break; sleep 0.1; done
[ -S "$dir/munge.socket" ] || cannot "munged makes no socket"
slurmctld -D > "$dir/slurmctld.out.log" 2>&1 &
started+=($!)
slurmd -D > "$dir/slurmd.out.log" 2>&1 &
started+=($!)
for _ in $(seq 60); do [ "$(sinfo -h -o %t 2> /dev/null)" = idle ] && break; sleep 0.5; done
[ "$(sinfo -h -o %t 2> /dev/null)" = idle ] || cannot "its node is not idle: $(sinfo -h -o '%t %E' 2>&1)"
[ "$(timeout 60 srun -n 1 echo ran 2>&1)" = ran ] || cannot "it runs no job"
echo "Slurm of one node: $(slurmd -V)"

# ---- builds
export PATH="$(dirname "$python"):$PATH"  # jobs find the programs of this Python there
export XDG_CACHE_HOME="$dir/cache" PYTHONUNBUFFERED=1
cd "$dir"
printf 'partition: main\ntime: "00:10:00"\nmem_per_cpu_gb: 1\n' > executor.yaml
build() { "$python" -m whoseboat build sample "$@"; }
in_tasks() { build --executor slurm --executor-config executor.yaml "$@"; }
digest() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1] + "/manifest.json"))["data_digest"])' "$1"; }
parts() { find "$1" -name '[0-9]*.json' -printf '%f %i %T@\n' 2> /dev/null | sort || true; }
until_idle() {
    for _ in $(seq 480); do [ -n "$(squeue -h)" ] || return 0; sleep 0.5; done
    squeue >&2
    fail "jobs do not end"
}
fail() { echo "failed: $1" >&2; exit 1; }
same() {
    [ -f "$1/manifest.json" ] || { cat ".$1.tasks"/logs/slurm_logs/*.out ".$1.tasks"/logs/join/slurm_logs/*.out >&2 || true; fail "no set $1"; }
    [ "$(digest "$1")" = "$(digest "$2")" ] || fail "$1 is another set than $2"
    echo "$1: the same set as $2"
}

build --out plain > plain.log
for tasks in 1 4; do
    in_tasks --tasks "$tasks" --out "by-$tasks"
    until_idle
    same "by-$tasks" plain
done

in_tasks --tasks 4 --workers 1 --shared halves --out cancelled --json > jobs.json
job="$("$python" -c 'import json; print(json.load(open("jobs.json"))["jobs"][0])')"
for _ in $(seq 600); do [ -z "$(parts halves/parts)" ] || break; sleep 0.2; done
scancel "$job"
until_idle
[ ! -e cancelled ] || fail "a set came of a run that was cancelled"
before="$(parts halves/parts)"
[ -n "$before" ] || fail "nothing was done before it was cancelled"
[ "$(wc -l <<< "$before")" -lt 4 ] || fail "all was done before it was cancelled"
in_tasks --tasks 4 --workers 1 --shared halves --out cancelled
until_idle
same cancelled plain
[ "$(parts halves/parts | grep -cxFf <(echo "$before"))" = "$(wc -l <<< "$before")" ] || fail "a part was built twice"
echo "cancelled after $(wc -l <<< "$before") of 4 tasks; the same command did the others"

serve="$(printf '%q ' "$python" "$root/tests/fake_server.py") toy-model --events $dir/events"
build --limit 40 --model toy-model --serve "$serve" --out served-plain > served-plain.log
in_tasks --limit 40 --model toy-model --serve "$serve" --cache-dir "$dir/other" --tasks 2 --out served
until_idle
same served served-plain
[ "$(grep -c ^start events)" = 3 ] || fail "not one server for each task"
echo "a server for each task"
echo "all is well"
