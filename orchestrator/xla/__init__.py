"""Sweeps on TPU slices: one trial a slice, one actor a host, and training in processes of its own.

    process_env         the processes of a slice, their environment, and the plan that ``sweep tpu plan`` prints; pure
    slice_engine        runs a sweep on slices, and on GPUs of the same cluster
    slice_inventory     which slices are complete, and which are excluded
    slice_processes     starts, polls and ends the processes of a trial together
    ray_slices          the only file that imports Ray
    training_process    the training processes, from their host's side
    slice_trial         the training process itself, with accelerator, strategy and global_batches: only these import
                        torch_xla
    no_ray_launch       one trial on a pod without Ray, and the gcloud command for it
    gke_manifest        a RayCluster on GKE

torch_xla needs a Python environment of its own, whose interpreter SWEEP_TPU_PYTHON names on each host: `make tpu-env`.
"""
