#!/bin/sh
# A sweep on Slurm: one shard for each task of a job array, then one report of all of them.
#
#   cargo build --release -p coalmine
#   mkdir -p sweep && cd sweep
#   sbatch --array=0-7 ../deploy/sweep/slurm.sh rollout-chaos 0..1000000
#   … when all tasks are done:
#   ../target/release/coalmine merge shard-*.json
#
# The folder in which sbatch is called takes the checkpoints and the reports; all machines must see it. A task
# that is preempted, or runs out of time, saves what it knows and goes on from there when it is run again.
#
#SBATCH --job-name=coalmine-sweep
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=task-%a.log
set -eu

scenario=${1:?which scenario}
seeds=${2:?which seeds: A..B}
coalmine=${COALMINE:-$SLURM_SUBMIT_DIR/../target/release/coalmine}
task=$SLURM_ARRAY_TASK_ID

# Under srun, so that Slurm's SIGTERM reaches the sweep itself. The report appears under its name only when
# it is whole: what was interrupted has its checkpoint and no report.
code=0
srun --ntasks=1 "$coalmine" sim "$scenario" --seeds "$seeds" --shard env --jobs "${SLURM_CPUS_PER_TASK:-1}" \
    --checkpoint "checkpoint-$task.json" --format json > "shard-$task.tmp" || code=$?
if grep -q '^{' "shard-$task.tmp" && ! grep -q '"interrupted":true' "shard-$task.tmp"; then
    mv "shard-$task.tmp" "shard-$task.json"
fi
exit "$code"
