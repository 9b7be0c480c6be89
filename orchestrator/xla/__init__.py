"""Sweeps on TPU slices: one trial a slice, one actor a host, and the training in processes of their own.

    env         the processes of a slice and their environment: pure
    planning    what ``sweep tpu plan`` prints
    engine      a live sweep on slices, and beside them on GPUs
    roster      which slices are whole, and which are avoided
    gang        the processes of a trial as one
    pod, host   Ray: the only files that import it, and the actor's side
    process     the training process, as its host sees it
    trial       the training process itself, with ``accelerator`` and ``strategies``; it alone imports torch_xla

torch_xla needs an environment of its own, whose interpreter ``SWEEP_TPU_PYTHON`` names on each host: `make tpu-env`.
"""
