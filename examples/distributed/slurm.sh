#!/usr/bin/env bash
# Slurm with Ray: starts Ray on all nodes of the job, runs asyncinfer on the first one, and stops Ray.
#   sbatch examples/distributed/slurm.sh
# If the job is cancelled or runs out of time, submit it again: it goes on with the rows that are missing.
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
set -euo pipefail

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds until all nodes must have started; Ray's default is 30
# srun does not take the number of CPUs from sbatch, and Ray would count all CPUs of a node.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "${nodes[0]}:6379" --min-nodes "$SLURM_NNODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
    asyncinfer infer -c examples/distributed/cluster.yaml
