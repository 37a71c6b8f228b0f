#!/bin/sh
# Tries slurm.sh for real: a Slurm of one node on loopback (munged, slurmctld, slurmd in a temporary folder),
# an array of four shards, a task that is cancelled and goes on, and one report that must equal a sweep of the
# whole. Stops what it started, by process id. Takes about half a minute. Debian: apt-get install slurm-wlm
#
#   deploy/sweep/test-slurm.sh [PATH TO coalmine]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
COALMINE=$(realpath -m "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/coalmine}")
export COALMINE
PATH=$PATH:/usr/sbin:/sbin
for tool in sbatch srun slurmctld slurmd munged; do
    command -v "$tool" > /dev/null || { echo "skipped: slurm-wlm is not installed ($tool is missing)"; exit 0; }
done
test -x "$COALMINE" || { echo "$COALMINE is missing: cargo build --release -p coalmine" >&2; exit 2; }

dir=$(mktemp -d /tmp/coalmine-slurm.XXXXXX)
pids=
finish() {
    code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        tail -n 20 "$dir"/*.log "$dir"/jobs/*.log >&2 2> /dev/null || true
    fi
    for pid in $pids; do kill "$pid" 2> /dev/null || true; done
    for pid in $pids; do wait "$pid" 2> /dev/null || true; done
    rm -rf "$dir"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Waits for a command to succeed.
await() {
    what=$1
    shift
    tries=0
    until "$@" > /dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || { echo "gave up waiting for $what" >&2; exit 1; }
        sleep 0.2
    done
}

chmod 755 "$dir"
mkdir -p "$dir/state" "$dir/spool" "$dir/jobs" "$dir/munge"
head -c 1024 /dev/urandom > "$dir/munge.key"
chmod 400 "$dir/munge.key"
munged --foreground --force --key-file="$dir/munge.key" --socket="$dir/munge/socket" \
    --pid-file="$dir/munge.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" \
    > "$dir/munged.out.log" 2>&1 &
pids="$!"
await munged test -S "$dir/munge/socket"

node=$(hostname -s)
user=$(id -un)
port=$((20000 + $$ % 20000))
cat > "$dir/slurm.conf" << CONF
ClusterName=coalmine
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=5
MailProg=/bin/true
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
export SLURM_CONF="$dir/slurm.conf"
slurmctld -D > "$dir/slurmctld.log" 2>&1 &
pids="$! $pids"
await slurmctld scontrol ping
slurmd -D > "$dir/slurmd.log" 2>&1 &
pids="$! $pids"
idle() { sinfo --noheader --format=%T | grep -q -x idle; }
await "an idle node" idle

cd "$dir/jobs"
echo "an array of four shards"
sbatch --wait --array=0-3 --cpus-per-task=1 "$here/slurm.sh" rollout-calm 0..203
"$COALMINE" merge shard-*.json
"$COALMINE" merge --format json shard-*.json > merged.json
"$COALMINE" sim rollout-calm --seeds 0..203 --format json > whole.json
without_clock() { sed 's/,"wall_s":[^,}]*//' "$1"; }
[ "$(without_clock merged.json)" = "$(without_clock whole.json)" ] || {
    echo "the shards do not add up to the whole:" >&2
    cat merged.json whole.json >&2
    exit 1
}

echo "a task that is cancelled, and goes on when it is submitted again"
mkdir ../again
cd ../again
job=$(sbatch --parsable --array=0-0 --cpus-per-task=1 "$here/slurm.sh" rollout-chaos 0..2000)
await "a checkpoint" test -f checkpoint-0.json
sleep 1
scancel "$job"
await "the end of the job" sh -c "! squeue --noheader --jobs=$job | grep -q ."
test ! -f shard-0.json || { echo "an interrupted task must leave no report" >&2; exit 1; }
sbatch --wait --array=0-0 --cpus-per-task=1 "$here/slurm.sh" rollout-chaos 0..2000
grep 'seeds were known from' task-0.log
"$COALMINE" merge shard-0.json
echo "passed: Slurm $(sinfo --version | cut -d' ' -f2)"
