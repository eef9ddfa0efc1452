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

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_NNODES" -- \
    asyncinfer infer -c examples/distributed/cluster.yaml
