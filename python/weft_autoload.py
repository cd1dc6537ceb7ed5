# SPDX-License-Identifier: Apache-2.0
"""What PyTorch calls when it is imported (entry point torch.backends). A module of its own, because every `import torch`
pays for it: it loads nothing of weft before the first process group of that name."""


def register() -> None:
    from torch import distributed

    if distributed.is_available():
        distributed.Backend.register_backend("weft", _create, extended_api=True, devices=["cpu"])


def _create(options, backend_options=None):
    from weft.torch import process_group

    return process_group.create(options, backend_options)
